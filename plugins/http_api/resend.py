"""Resend's API for sending: one mail, and a batch. docs/plugins/http_api.md tells what it has in common with theirs.

The rule: a batch is checked as a whole before anything of it is sent.
"""

import binascii
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from mtaframe import HttpAnswer, HttpRequest
from mtaframe_plugins.http_api import reading
from mtaframe_plugins.http_api.answering import checked, rows
from mtaframe_plugins.http_api.door import (
    MISSING,
    NO_JSON,
    Ask,
    Body,
    Call,
    Door,
    Problem,
    Several,
    bearer,
)
from mtaframe_plugins.http_api.ordering import Orders, Shelf
from mtaframe_plugins.http_api.outgoing import Attachment, Copies, Mailbox, Outgoing
from mtaframe_plugins.http_api.sending import Sent
from mtaframe_plugins.http_api.templates import Template

MOST = 100
"""Mails in a batch."""


class ResendAttachment(Body):
    """A file that goes with the mail."""

    content: Any = Field(default=None, description="Its octets: base64, or a list of numbers.")
    filename: str | None = Field(default=None, description="Its name.")
    content_type: str | None = Field(default=None, description="Its media type; if missing, what the name says.")
    content_id: str | None = Field(default=None, description="For an image in the HTML: what stands behind cid: there.")
    inline_content_id: str | None = Field(default=None, description="The same.")
    path: str | None = Field(default=None, description="Not offered: this server fetches nothing.")


class ResendTag(Body):
    """Custom data."""

    name: str = Field(description="Its name.")
    value: str | None = Field(default=None, description="What it is.")


class ResendTemplate(Body):
    """A template, in place of HTML and text."""

    id: str = Field(description="The uid or number of the template.")
    variables: dict[str, Any] | None = Field(default=None, description="Its variables.")


class ResendEmail(Body):
    """Mail to send."""

    sender: str = Field(alias="from", description="The sender: an address of one of the account's domains.")
    to: Several = Field(min_length=1, description="Recipients, who see each other.")
    cc: Several | None = Field(default=None, description="Further ones, who are seen.")
    bcc: Several | None = Field(default=None, description="Further ones, who are not.")
    reply_to: Several | None = Field(default=None, description="Where replies go.")
    subject: str | None = Field(default=None, description="The subject; a template may have its own.")
    html: str | None = Field(default=None, description="The HTML.")
    text: str | None = Field(default=None, description="The text.")
    template: ResendTemplate | None = Field(default=None, description="A template, in place of HTML and text.")
    headers: dict[str, str] | None = Field(default=None, description="Further header fields.")
    attachments: list[ResendAttachment] | None = Field(default=None, description="Files.")
    tags: list[ResendTag] | None = Field(default=None, description="Custom data, which comes back in events.")
    scheduled_at: str | None = Field(default=None, description="When to send it (ISO 8601): not in the future.")


class ResendSent(Body):
    """The mail's id."""

    id: str


class ResendBatchSent(Body):
    """The ids of the mails, in order; ``errors`` names those that nobody got."""

    data: list[ResendSent]


class Resend:
    """The calls, and the form of their answers."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def door(self) -> Door:
        calls = (
            Call("POST", "/emails", "Send mail, as Resend has it", self.email, ResendEmail, ResendSent),
            Call("POST", "/emails/batch", "Send mails", self.batch, list[ResendEmail], ResendBatchSent),
        )
        return Door("Resend", calls, secret, told, {"type": "http", "scheme": "bearer"})

    async def email(self, ask: Ask) -> HttpAnswer:
        mail = await self._mail(ask.data, self._orders.shelf(ask))
        self._orders.check(ask, [mail], "to")
        [results] = await self._orders.sent(ask, [mail])
        return HttpAnswer.json({"id": checked(results)[0].id, "results": rows(results)})

    async def batch(self, ask: Ask) -> HttpAnswer:
        emails: Sequence[ResendEmail] = ask.data
        if not 0 < len(emails) <= MOST:
            raise Problem(422, f"a batch has 1 to {MOST} mails")
        shelf = self._orders.shelf(ask)
        mails = [await self._mail(email, shelf, f"{place}.") for place, email in enumerate(emails)]
        self._orders.check(ask, mails, "to")
        sent = await self._orders.sent(ask, mails)
        checked([each for results in sent for each in results])
        answer: dict[str, Any] = {"data": [{"id": results[0].id} for results in sent]}
        if errors := _errors(sent):
            answer["errors"] = errors
        return HttpAnswer.json(answer)

    async def _mail(self, email: ResendEmail, shelf: Shelf, place: str = "") -> Outgoing:
        if email.scheduled_at:
            self._orders.check_due(_time(email.scheduled_at, f"{place}scheduled_at"), f"{place}scheduled_at")
        has_content = bool(email.html) or bool(email.text)
        template = None
        if email.template is not None:
            if has_content:
                text = "a template takes the place of html and text: give one or the other"
                raise Problem(422, text, f"{place}template")
            template = await shelf.template(f"{place}template.id", email.template.id)
        elif not has_content:
            raise Problem(422, MISSING, f"{place}html")
        else:
            self._orders.check_raw(f"{place}html", "template")
        return outgoing(email, template, place)


def secret(request: HttpRequest) -> str:
    """The token. Problem 401 if there is none, which is another one than for one that is wrong."""
    if not request.headers.get("authorization"):
        raise Problem(401, "Missing API key in the authorization header")
    return bearer(request)


def told(problem: Problem) -> HttpAnswer:
    """A problem by Resend's names."""
    status, name = _named(problem)
    text = "API key is invalid" if name == "invalid_api_key" else problem.sentence
    answer = {"statusCode": status, "name": name, "message": text, **problem.more}
    return HttpAnswer.json(answer, status, problem.headers)


def _named(problem: Problem) -> tuple[int, str]:
    status, field = problem.status, problem.field or ""
    if status == 401:
        return (401, "missing_api_key") if problem.code is None else (403, "invalid_api_key")
    if field == "Idempotency-Key":
        return (400, "invalid_idempotency_key") if status == 400 else (409, "invalid_idempotent_request")
    if status == 404:
        return 404, "not_found"
    if status not in (400, 422):
        return status, "application_error"
    if problem.text == NO_JSON:
        return 400, "validation_error"
    if problem.text.startswith(MISSING):
        return 422, "missing_required_field"
    return 422, "invalid_attachment" if "attachments" in field.split(".") else "validation_error"


def outgoing(email: ResendEmail, template: Template | None, place: str = "") -> Outgoing:
    """The mail of a request; ``place`` goes before the names of its fields. Problem."""
    subject = (template.subject if template else None) or email.subject
    if subject is None:
        raise Problem(422, MISSING, f"{place}subject")
    copies = Copies(
        _mailboxes(email.to, f"{place}to"),
        _mailboxes(email.cc, f"{place}cc"),
        _mailboxes(email.bcc, f"{place}bcc"),
        reading.variables((email.template.variables if email.template else None) or {}, f"{place}template.variables"),
    )
    if not copies.to:
        raise Problem(422, MISSING, f"{place}to")
    files = email.attachments or ()
    return Outgoing(
        sender=reading.sender(email.sender, f"{place}from"),
        subject=reading.subject(subject, f"{place}subject"),
        copies=(copies,),
        text=template.text if template else email.text or None,
        html=template.html if template else email.html or None,
        reply_to=_mailboxes(email.reply_to, f"{place}reply_to"),
        fields=reading.fields((email.headers or {}).items(), f"{place}headers"),
        attachments=tuple(_attachment(each, f"{place}attachments.{at}") for at, each in enumerate(files)),
        custom_data=reading.custom_data({tag.name: tag.value or "" for tag in email.tags or ()}, f"{place}tags"),
        dialect=(template.dialect or "templates") if template else "literal",
    )


def _attachment(each: ResendAttachment, field: str) -> Attachment:
    if each.path:
        raise Problem(422, "is not offered, for this server fetches nothing: give content", f"{field}.path")
    if each.content is None:
        raise Problem(422, MISSING, f"{field}.content")
    name = each.filename or ""
    content = each.content if isinstance(each.content, str) else _base64(each.content, f"{field}.content")
    content_id = each.content_id or each.inline_content_id or None
    return reading.attachment(name, reading.media_type(each.content_type, name), content, field, content_id)


def _base64(given: Any, field: str) -> str:
    """Octets as numbers, or in the object that JavaScript makes of a buffer."""
    if isinstance(given, Mapping):
        given = given.get("data")
    if not isinstance(given, list) or not all(type(each) is int for each in given):
        raise Problem(422, "is base64, or a list of numbers", field)
    try:
        return binascii.b2a_base64(bytes(given), newline=False).decode()
    except ValueError:
        raise Problem(422, "is base64, or a list of numbers from 0 to 255", field) from None


def _errors(sent: Sequence[Sequence[Sent]]) -> Sequence[Mapping[str, Any]]:
    """The mails that nobody got, though others of the batch went."""
    return [
        {"index": place, "message": results[0].result.reply.line}
        for place, results in enumerate(sent)
        if all(each.status == "failed" for each in results)
    ]


def _time(text: str, field: str) -> datetime:
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Problem(422, "is no time of ISO 8601", field) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _mailboxes(given: Sequence[str] | None, field: str) -> tuple[Mailbox, ...]:
    found: list[Mailbox] = []
    for number, text in enumerate(given or ()):
        found += reading.mailboxes(text, f"{field}.{number}" if len(given or ()) > 1 else field)
    return tuple(found)
