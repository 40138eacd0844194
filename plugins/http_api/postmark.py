"""Postmark's API for sending: one message, a batch, and both with templates. docs/plugins/http_api.md compares.

The rule: each message has a row of its own; ErrorCode 0 says that nobody has to send it again. In a batch the rows
tell it, and the call is a 200; a call with one message has the row's status, too.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_pascal

from mtaframe import Account, HttpAnswer, HttpRequest, Token
from mtaframe_plugins.http_api import reading
from mtaframe_plugins.http_api.answering import RETRY, rows
from mtaframe_plugins.http_api.door import MISSING, NO_JSON, Ask, Body, Call, Door, Problem, problem_of
from mtaframe_plugins.http_api.ordering import Orders, Shelf
from mtaframe_plugins.http_api.outgoing import Attachment, Copies, Outgoing
from mtaframe_plugins.http_api.sending import Sent
from mtaframe_plugins.http_api.templates import Template

TEST = "POSTMARK_API_TEST"
"""The token that may do everything, and sends nothing."""
TESTER = Account("")
MOST = 500
"""Messages in a batch."""
USUAL_STREAMS = frozenset({"outbound", "broadcast"})
"""Those that every server of Postmark has: an account here need not."""

BAD_TOKEN, NOT_NOW, INVALID, BAD_JSON, INACTIVE, TOO_MANY, NO_TEMPLATE = 10, 100, 300, 402, 406, 410, 1101
"""ErrorCodes of Postmark's list; NOT_NOW is its "maintenance", whose meaning is to come again."""

NO_MAILBOX = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
"""By these the recipient's side says that there is no such mailbox, not that it is unwilling (RFC 3463 §3.2, §3.3)."""

Rows = list[Any]


class PostmarkFields(Body):
    """Names as Postmark writes them."""

    model_config = ConfigDict(alias_generator=to_pascal)


class PostmarkHeader(PostmarkFields):
    """A header field."""

    name: str = Field(description="Its name.")
    value: str | None = Field(default=None, description="What it holds.")


class PostmarkAttachment(PostmarkFields):
    """A file that goes with the mail."""

    name: str = Field(description="The name of the file.")
    content: str = Field(description="Its octets in base64.")
    content_type: str | None = Field(default=None, description="Its media type; if missing, what the name says.")
    content_id: str | None = Field(
        default=None, alias="ContentID", description="For an image in the HTML: what stands there, cid: and all."
    )


class PostmarkMessage(PostmarkFields):
    """What mail has with and without a template. Settings of tracking are passed over."""

    sender: str = Field(alias="From", description="The sender: an address of one of the account's domains.")
    to: str = Field(description="Recipients with commas between, who see each other.")
    cc: str | None = Field(default=None, description="Further ones, who are seen.")
    bcc: str | None = Field(default=None, description="Further ones, who are not.")
    reply_to: str | None = Field(default=None, description="Where replies go.")
    headers: list[PostmarkHeader] | None = Field(default=None, description="Further header fields.")
    attachments: list[PostmarkAttachment] | None = Field(default=None, description="Files.")
    metadata: dict[str, Any] | None = Field(default=None, description="Custom data, which comes back in events.")
    tag: str | None = Field(default=None, description='Custom data by the name "tag".')
    message_stream: str | None = Field(default=None, description="The kind of mail, of the account's streams.")


class PostmarkEmail(PostmarkMessage):
    """Mail with its own text."""

    subject: str | None = Field(default=None, description="The subject.")
    html_body: str | None = Field(default=None, description="The HTML.")
    text_body: str | None = Field(default=None, description="The text.")


class PostmarkTemplateEmail(PostmarkMessage):
    """Mail by a template."""

    template_id: int | None = Field(default=None, description="The number of the template.")
    template_alias: str | None = Field(default=None, description="The uid of the template.")
    template_model: dict[str, Any] | None = Field(default=None, description="The variables of the template.")


class PostmarkTemplateBatch(PostmarkFields):
    """Mails by templates."""

    messages: Rows = Field(description="Each as /email/withTemplate has it.")


class PostmarkSent(PostmarkFields):
    """What became of a message."""

    to: str
    submitted_at: str
    message_id: str = Field(alias="MessageID")
    error_code: int
    message: str


class Postmark:
    """The calls, and the form of their answers."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def door(self) -> Door:
        calls = (
            Call("POST", "/email", "Send mail, as Postmark has it", self.email, PostmarkEmail, PostmarkSent),
            Call("POST", "/email/batch", "Send mails, a row of the answer for each", self.batch, Rows,
                 list[PostmarkSent]),
            Call("POST", "/email/withTemplate", "Send mail by a template", self.email, PostmarkTemplateEmail,
                 PostmarkSent),
            Call("POST", "/email/batchWithTemplates", "Send mails by templates, a row of the answer for each",
                 self.template_batch, PostmarkTemplateBatch, list[PostmarkSent]),
        )  # fmt: skip
        scheme = {"type": "apiKey", "in": "header", "name": "X-Postmark-Server-Token"}
        return Door("Postmark", calls, secret, told, scheme, guest)

    async def email(self, ask: Ask) -> HttpAnswer:
        mail = await self._mail(ask, ask.data, self._orders.shelf(ask))
        if ask.account is TESTER:
            return HttpAnswer.json(_accepted(mail, self._orders.now))
        [results] = await self._orders.sent(ask, [mail])
        answer = row(mail, results, self._orders.now)
        status = 200 if not answer["ErrorCode"] else 503 if answer["ErrorCode"] == NOT_NOW else 422
        return HttpAnswer.json(answer, status, RETRY if status == 503 else {})

    async def batch(self, ask: Ask) -> HttpAnswer:
        return await self._rows(ask, ask.data, PostmarkEmail)

    async def template_batch(self, ask: Ask) -> HttpAnswer:
        return await self._rows(ask, ask.data.messages, PostmarkTemplateEmail)

    async def _rows(self, ask: Ask, given: Rows, model: type[PostmarkMessage]) -> HttpAnswer:
        """What is wrong with one message keeps no other."""
        if len(given) > MOST:
            raise Problem(400, f"{MOST} messages in a batch are enough", code=TOO_MANY)
        answers: dict[int, Mapping[str, Any]] = {}
        mails: dict[int, Outgoing] = {}
        shelf = self._orders.shelf(ask)
        for place, each in enumerate(given):
            try:
                mails[place] = await self._mail(ask, _read(model, each), shelf)
            except Problem as problem:
                answers[place] = _refused(problem, self._orders.now)
        self._orders.check(ask, list(mails.values()), "To")
        if ask.account is TESTER:
            answers |= {place: _accepted(mail, self._orders.now) for place, mail in mails.items()}
        elif mails:
            names = [_digest(given[place]) for place in mails]
            sent = await self._orders.sent(ask, list(mails.values()), names)
            for (place, mail), results in zip(mails.items(), sent, strict=True):
                answers[place] = row(mail, results, self._orders.now)
        return HttpAnswer.json([answers[place] for place in range(len(given))])

    async def _mail(self, ask: Ask, message: PostmarkMessage, shelf: Shelf) -> Outgoing:
        template = None
        if isinstance(message, PostmarkTemplateEmail):
            template = await _template(message, shelf)
        elif isinstance(message, PostmarkEmail):
            if not message.html_body and not message.text_body:
                raise Problem(400, "give HtmlBody or TextBody", "HtmlBody")
            self._orders.check_raw("HtmlBody", "TemplateAlias")
        mail = outgoing(message, template, ask.account.streams)
        if ask.account is not TESTER:
            self._orders.check(ask, [mail], "To", stream="MessageStream")
        return mail


async def _template(message: PostmarkTemplateEmail, shelf: Shelf) -> Template:
    if message.template_alias:
        return await shelf.template("TemplateAlias", message.template_alias)
    if message.template_id:
        return await shelf.template("TemplateId", str(message.template_id))
    raise Problem(400, "give TemplateAlias or TemplateId", "TemplateAlias")


def secret(request: HttpRequest) -> str:
    return str(request.headers.get("x-postmark-server-token", "")).strip()


def guest(text: str) -> tuple[Account, Token] | None:
    """Whoever tests a program, and has no account."""
    return (TESTER, Token("test", "", "")) if text.upper() == TEST else None


def told(problem: Problem) -> HttpAnswer:
    """A problem as ErrorCode and Message. What a caller must mend is a 422."""
    status = problem.status if problem.status in (401, 503) else 422
    return HttpAnswer.json(_error(problem), status, problem.headers)


def _error(problem: Problem) -> dict[str, Any]:
    if problem.status == 401:
        text = "No valid API token: X-Postmark-Server-Token has to be a valid token of this server"
        return {"ErrorCode": BAD_TOKEN, "Message": text}
    if problem.status == 404:
        return {"ErrorCode": NO_TEMPLATE, "Message": problem.sentence}
    if problem.text == NO_JSON:
        return {"ErrorCode": BAD_JSON, "Message": problem.text}
    default = NOT_NOW if problem.status == 503 else INVALID
    return {"ErrorCode": default if problem.code is None else problem.code, "Message": problem.sentence}


def row(mail: Outgoing, results: Sequence[Sent], at: datetime) -> Mapping[str, Any]:
    """One message's. Who is deferred comes first: the repeat passes over those who are final."""
    code, text = _verdict(results)
    named = {"MessageID": results[0].id, "ErrorCode": code, "Message": text}
    return {**_head(mail, at), **named, "results": rows(results)}


def _verdict(results: Sequence[Sent]) -> tuple[int, str]:
    """ErrorCode and Message for what became of all recipients."""
    deferred = [sent for sent in results if sent.status == "deferred"]
    if deferred:
        line = deferred[0].result.reply.line
        return NOT_NOW, f"{len(deferred)} of {len(results)} not final yet ({line}): send the same again"
    failed = [sent for sent in results if sent.status == "failed"]
    if not failed:
        return 0, "OK"
    names = ", ".join(sent.address.mailbox for sent in failed)
    is_inactive = all(sent.result.reply.status in NO_MAILBOX for sent in failed)
    if len(failed) < len(results):
        why = "will not deliver to these inactive addresses" if is_inactive else "refused for"
        return 0, f"Message OK, but {why}: {names}."
    if is_inactive:
        return INACTIVE, f"There is no such mailbox, says its server. Found inactive addresses: {names}."
    return INVALID, failed[0].result.reply.line


def _head(mail: Outgoing, at: datetime) -> dict[str, Any]:
    to = ", ".join(mailbox.address.mailbox for copies in mail.copies for mailbox in copies.to)
    return {"To": to, "SubmittedAt": at.isoformat()}


def _accepted(mail: Outgoing, at: datetime) -> Mapping[str, Any]:
    """What the test token is told."""
    return {**_head(mail, at), "MessageID": str(uuid.uuid4()), "ErrorCode": 0, "Message": "Test job accepted"}


def _refused(problem: Problem, at: datetime) -> Mapping[str, Any]:
    """A row of a message that is wrong."""
    return {"To": "", "SubmittedAt": at.isoformat(), "MessageID": "", **_error(problem)}


def _digest(given: Any) -> bytes:
    """What tells messages apart, whatever batch they come in."""
    return hashlib.blake2b(json.dumps(given, sort_keys=True).encode()).digest()


def _read(model: type[PostmarkMessage], given: Any) -> PostmarkMessage:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise problem_of(error) from None


def outgoing(message: PostmarkMessage, template: Template | None, streams: frozenset[str]) -> Outgoing:
    """The mail of a message. Problem."""
    to = reading.mailboxes(message.to, "To")
    if not to:
        raise Problem(400, MISSING, "To")
    subject, text, html, model = _content(message, template)
    custom = reading.texts(message.metadata, "Metadata")
    if message.tag:
        custom.setdefault("tag", message.tag)
    stream = message.message_stream or None
    if stream in USUAL_STREAMS and stream not in streams:
        stream = None
    cc, bcc = reading.mailboxes(message.cc or "", "Cc"), reading.mailboxes(message.bcc or "", "Bcc")
    return Outgoing(
        sender=reading.sender(message.sender, "From"),
        subject=subject,
        copies=(Copies(to, cc, bcc, reading.variables(model, "TemplateModel")),),
        text=text,
        html=html,
        reply_to=reading.mailboxes(message.reply_to or "", "ReplyTo"),
        fields=reading.fields(((each.name, each.value or "") for each in message.headers or ()), "Headers"),
        attachments=tuple(_attachment(each, f"Attachments.{at}") for at, each in enumerate(message.attachments or ())),
        custom_data=reading.custom_data(custom, "Metadata"),
        dialect=(template.dialect or "templates") if template else "literal",
        stream=stream,
    )


def _content(
    message: PostmarkMessage, template: Template | None
) -> tuple[str, str | None, str | None, Mapping[str, Any]]:
    """Subject, text, HTML and variables."""
    if template is not None and isinstance(message, PostmarkTemplateEmail):
        return template.subject or "", template.text, template.html, message.template_model or {}
    assert isinstance(message, PostmarkEmail)
    return reading.subject(message.subject or "", "Subject"), message.text_body or None, message.html_body or None, {}


def _attachment(each: PostmarkAttachment, field: str) -> Attachment:
    kind = reading.media_type(each.content_type, each.name)
    return reading.attachment(each.name, kind, each.content, field, each.content_id or None)
