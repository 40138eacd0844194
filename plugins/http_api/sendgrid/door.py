"""SendGrid's API, version 3: ``POST /v3/mail/send``. docs/plugins/http_api.md compares it with theirs."""

from collections.abc import Iterator
from datetime import UTC, datetime

from mtaframe import HttpAnswer, Private
from mtaframe_plugins.http_api.answering import checked
from mtaframe_plugins.http_api.door import Ask, Call, Door, Problem, bearer
from mtaframe_plugins.http_api.ordering import Orders
from mtaframe_plugins.http_api.sendgrid.mails import outgoing
from mtaframe_plugins.http_api.sendgrid.models import SendGridMail
from mtaframe_plugins.http_api.templates import Template

INVALID = "The provided authorization grant is invalid, expired, or revoked"


class SendGrid:
    """The call, and the form of its answers."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def door(self) -> Door:
        calls = (Call("POST", "/v3/mail/send", "Send mail, as SendGrid has it", self.send, SendGridMail, status=202),)
        return Door("SendGrid", calls, bearer, told, {"type": "http", "scheme": "bearer"})

    async def send(self, ask: Ask) -> HttpAnswer:
        """202 and nothing but an id, once nobody is left to try again."""
        mail: SendGridMail = ask.data
        if ask.request.headers.get("on-behalf-of"):
            raise Problem(403, "a token acts for its own account alone: use one of the sub-account's", "On-Behalf-Of")
        for at, field in _times(mail):
            self._orders.check_due(at, field)
        people = [each for one in mail.personalizations for each in (one.to, one.cc, one.bcc)]
        self._orders.check_count(sum(map(len, filter(None, people))), "personalizations")
        template = await self._template(ask, mail)
        mails = outgoing(mail, template)
        self._orders.check_dialect(mails[0].dialect, template, "template_id")
        self._orders.check(ask, mails, "personalizations")
        if mail.mail_settings and mail.mail_settings.sandbox_mode and mail.mail_settings.sandbox_mode.enable:
            return HttpAnswer(200)
        results = checked([sent for each in await self._orders.sent(ask, mails) for sent in each])
        return HttpAnswer(202, headers=Private({"X-Message-Id": results[0].id}))

    async def _template(self, ask: Ask, mail: SendGridMail) -> Template | None:
        if not mail.template_id:
            if not mail.content:
                raise Problem(400, "give content, or a template_id", "content")
            self._orders.check_raw("content", "template_id")
            return None
        if mail.content:
            raise Problem(400, "a template takes the place of content: give one or the other", "content")
        return await self._orders.template(ask, "template_id", mail.template_id, mail.template_id.removeprefix("d-"))


def told(problem: Problem) -> HttpAnswer:
    """A problem in the list of errors. There is no 422 here, and no 404: what a caller must mend is a 400."""
    status = 400 if problem.status in (404, 422) else problem.status
    text = INVALID if status == 401 else problem.text
    answer = {"errors": [{"message": text, "field": problem.field, "help": None}], **problem.more}
    return HttpAnswer.json(answer, status, problem.headers)


def _times(mail: SendGridMail) -> Iterator[tuple[datetime, str]]:
    """When the mail is to go, and the field that says so."""
    found: dict[str, int | None] = {"send_at": mail.send_at}
    for number, each in enumerate(mail.personalizations):
        found[f"personalizations.{number}.send_at"] = each.send_at
    for field, seconds in found.items():
        if seconds is not None:
            yield datetime.fromtimestamp(max(0, min(seconds, 1 << 37)), UTC), field
