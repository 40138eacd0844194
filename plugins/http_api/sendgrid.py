"""SendGrid's API, version 3: ``POST /v3/mail/send``. What it has in common with theirs is in docs/plugins/http_api.md.

The rule: each personalization is a message of its own, whose recipients see each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from mtaframe import HttpAnswer, Private
from mtaframe_plugins.http_api import reading
from mtaframe_plugins.http_api.answering import checked
from mtaframe_plugins.http_api.door import Ask, Body, Call, Door, Problem, Several, bearer
from mtaframe_plugins.http_api.ordering import Orders
from mtaframe_plugins.http_api.outgoing import Attachment, Copies, Mailbox, Outgoing
from mtaframe_plugins.http_api.templates import Template

LONGEST_TAG = 64
TAGS = 20_000
"""Characters that the names of all substitutions of a call may have: every text is looked through for them."""
Fields = tuple[tuple[str, str], ...]
INVALID = "The provided authorization grant is invalid, expired, or revoked"


class SendGridPerson(Body):
    """An address with its name."""

    email: str = Field(description="The address.")
    name: str | None = Field(default=None, description="The display name.")


People = list[SendGridPerson] | None


class SendGridPersonalization(Body):
    """One message: who gets it, and what differs from the others."""

    to: list[SendGridPerson] = Field(min_length=1, description="Recipients, who see each other.")
    cc: People = Field(default=None, description="Further ones, who are seen.")
    bcc: People = Field(default=None, description="Further ones, who are not.")
    sender: SendGridPerson | None = Field(default=None, alias="from", description="Another sender.")
    subject: str | None = Field(default=None, description="Another subject.")
    headers: dict[str, str] | None = Field(default=None, description="Header fields, before those of the mail.")
    substitutions: dict[str, Any] | None = Field(default=None, description="Text to replace, and by what.")
    dynamic_template_data: dict[str, Any] | None = Field(default=None, description="Variables of the template.")
    custom_args: dict[str, Any] | None = Field(default=None, description="Custom data, which comes back in events.")
    send_at: int | None = Field(default=None, description="When to send it (Unix time): not in the future.")


class SendGridContent(Body):
    """The mail as text or as HTML."""

    type: str = Field(description="text/plain or text/html.")
    value: str = Field(description="The text.")


class SendGridFile(Body):
    """A file that goes with the mail."""

    content: str = Field(description="Its octets in base64.")
    filename: str | None = Field(default=None, description="Its name.")
    type: str | None = Field(default=None, description="Its media type; if missing, what the name says.")
    disposition: str | None = Field(default=None, description="inline, for an image in the HTML, or attachment.")
    content_id: str | None = Field(default=None, description="What stands behind cid: in the HTML.")


class SendGridSwitch(Body):
    """Something that is on or off."""

    enable: bool | None = Field(default=None, description="Whether it is on.")


class SendGridSettings(Body):
    """How the mail is handled; what is not named here is passed over."""

    sandbox_mode: SendGridSwitch | None = Field(default=None, description="Check everything, send nothing.")


class SendGridMail(Body):
    """Mail to send. Settings of tracking and unsubscription are passed over."""

    personalizations: list[SendGridPersonalization] = Field(min_length=1, max_length=1000, description="The messages.")
    sender: SendGridPerson = Field(alias="from", description="The sender: an address of one of the account's domains.")
    subject: str | None = Field(default=None, description="The subject.")
    reply_to: SendGridPerson | None = Field(default=None, description="Where replies go.")
    reply_to_list: People = Field(default=None, description="Where replies go, if to several.")
    content: list[SendGridContent] | None = Field(default=None, description="The text and the HTML.")
    attachments: list[SendGridFile] | None = Field(default=None, description="Files.")
    template_id: str | None = Field(default=None, description="A template, in place of content.")
    headers: dict[str, str] | None = Field(default=None, description="Further header fields.")
    sections: dict[str, Any] | None = Field(default=None, description="Not offered.")
    categories: Several | None = Field(default=None, description='Custom data by the name "category".')
    custom_args: dict[str, Any] | None = Field(default=None, description="Custom data, which comes back in events.")
    send_at: int | None = Field(default=None, description="When to send it (Unix time): not in the future.")
    mail_settings: SendGridSettings | None = Field(default=None, description="How the mail is handled.")


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
        mails = outgoing(mail, await self._template(ask, mail))
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


def outgoing(mail: SendGridMail, template: Template | None) -> Sequence[Outgoing]:
    """One for all personalizations that differ in recipients and variables alone. Problem."""
    if mail.sections:
        raise Problem(400, "is not offered: write the text into the substitutions", "sections")
    _check_tags(mail)
    base = _base(mail, template)
    groups: dict[Outgoing, list[Copies]] = {}
    for number, each in enumerate(mail.personalizations):
        place = f"personalizations.{number}"
        one = replace(
            base,
            sender=_mailbox(each.sender, f"{place}.from") if each.sender else base.sender,
            subject=_subject(mail, template, each, place),
            fields=_fields(base.fields, each, place),
            custom_data=_custom_data(base.custom_data, each, place),
        )
        variables = reading.variables(
            (each.dynamic_template_data or {}) | reading.texts(each.substitutions, f"{place}.substitutions"),
            f"{place}.dynamic_template_data",
        )
        copies = Copies(
            _mailboxes(each.to, f"{place}.to"),
            _mailboxes(each.cc, f"{place}.cc"),
            _mailboxes(each.bcc, f"{place}.bcc"),
            variables,
        )
        groups.setdefault(replace(one, attachments=(), text=None, html=None), []).append(copies)
    return [
        replace(one, copies=tuple(all_copies), attachments=base.attachments, text=base.text, html=base.html)
        for one, all_copies in groups.items()
    ]


def _base(mail: SendGridMail, template: Template | None) -> Outgoing:
    text, html = (template.text, template.html) if template else _content(mail.content or ())
    if mail.reply_to and mail.reply_to_list:
        raise Problem(400, "give reply_to or reply_to_list, not both", "reply_to_list")
    custom = reading.texts(mail.custom_args, "custom_args")
    if mail.categories:
        custom.setdefault("category", ", ".join(mail.categories))
    is_dynamic = any(each.dynamic_template_data for each in mail.personalizations) or (
        mail.template_id or ""
    ).startswith("d-")
    dialect = "templates" if template and is_dynamic else "literal"
    return Outgoing(
        sender=_mailbox(mail.sender, "from"),
        subject="",
        copies=(),
        text=text,
        html=html,
        reply_to=(
            (_mailbox(mail.reply_to, "reply_to"),) if mail.reply_to
            else _mailboxes(mail.reply_to_list, "reply_to_list")
        ),
        fields=reading.fields((mail.headers or {}).items(), "headers"),
        attachments=tuple(_attachment(each, f"attachments.{at}") for at, each in enumerate(mail.attachments or ())),
        custom_data=reading.custom_data(custom, "custom_args"),
        dialect=(template.dialect if template else None) or dialect,
    )  # fmt: skip


def _content(given: Sequence[SendGridContent]) -> tuple[str | None, str | None]:
    found: dict[str, str] = {}
    for number, each in enumerate(given):
        kind = each.type.partition(";")[0].strip().lower()
        if kind not in ("text/plain", "text/html"):
            raise Problem(400, "is text/plain or text/html", f"content.{number}.type")
        if kind in found:
            raise Problem(400, "is there twice", f"content.{number}.type")
        found[kind] = each.value
    return found.get("text/plain"), found.get("text/html")


def _attachment(each: SendGridFile, field: str) -> Attachment:
    name = each.filename or ""
    is_inline = (each.disposition or "").lower() == "inline"
    kind = reading.media_type(each.type, name)
    return reading.attachment(name, kind, each.content, field, (each.content_id or None) if is_inline else None)


def _subject(mail: SendGridMail, template: Template | None, each: SendGridPersonalization, place: str) -> str:
    """The template's own goes before all others."""
    if template and template.subject:
        return template.subject
    if each.subject:
        return reading.subject(each.subject, f"{place}.subject")
    if not mail.subject:
        raise Problem(400, "is required", "subject")
    return reading.subject(mail.subject)


def _fields(common: Fields, each: SendGridPersonalization, place: str) -> Fields:
    if not each.headers:
        return common
    own = reading.fields(each.headers.items(), f"{place}.headers")
    names = {name.lower() for name, _ in own}
    return (*(field for field in common if field[0].lower() not in names), *own)


def _custom_data(common: Private[str], each: SendGridPersonalization, place: str) -> Private[str]:
    if not each.custom_args:
        return common
    field = f"{place}.custom_args"
    return reading.custom_data({**common, **reading.texts(each.custom_args, field)}, field)


def _check_tags(mail: SendGridMail) -> None:
    names: set[str] = set()
    for number, each in enumerate(mail.personalizations):
        field = f"personalizations.{number}.substitutions"
        for name in each.substitutions or ():
            if not name or len(name) > LONGEST_TAG or reading.CONTROL.search(name):
                raise Problem(400, f"what is replaced is 1 to {LONGEST_TAG} characters on one line", field)
            names.add(name)
        if sum(map(len, each.substitutions or ())) > TAGS:
            raise Problem(400, f"{TAGS:,} characters to replace are enough", field)
    if sum(map(len, names)) > TAGS:
        raise Problem(400, f"{TAGS:,} characters to replace are enough", "personalizations")


def _times(mail: SendGridMail) -> Iterator[tuple[datetime, str]]:
    """When the mail is to go, and the field that says so."""
    found: dict[str, int | None] = {"send_at": mail.send_at}
    for number, each in enumerate(mail.personalizations):
        found[f"personalizations.{number}.send_at"] = each.send_at
    for field, seconds in found.items():
        if seconds is not None:
            yield datetime.fromtimestamp(max(0, min(seconds, 1 << 37)), UTC), field


def _mailbox(person: SendGridPerson, field: str) -> Mailbox:
    return reading.mailbox(person.email, f"{field}.email", person.name)


def _mailboxes(people: People, field: str) -> tuple[Mailbox, ...]:
    return tuple(_mailbox(person, f"{field}.{number}") for number, person in enumerate(people or ()))
