"""``POST /v1/emails``: send mail, and learn what became of it for each recipient."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from mtaframe import HttpAnswer, Mta
from mtaframe_plugins.http_api import reading
from mtaframe_plugins.http_api.answering import checked, row, rows
from mtaframe_plugins.http_api.door import Ask, Body, Call, Each, Problem, Texts
from mtaframe_plugins.http_api.mimepost.form import done, pairs
from mtaframe_plugins.http_api.ordering import Orders
from mtaframe_plugins.http_api.outgoing import Copies, Mailbox, Outgoing
from mtaframe_plugins.http_api.repeats import Repeats
from mtaframe_plugins.http_api.sending import Sent, send
from mtaframe_plugins.http_api.templates import Template


class Variable(Body):
    """One merge variable."""

    name: str = Field(description="As it stands in the tag.")
    value: Any = Field(default=None, description="Text, a number, true or false; in templates also lists and objects.")


Variables = Each[Variable] | dict[str, Any] | None


class To(Body):
    """One recipient."""

    email: str = Field(description="The address.")
    name: str | None = Field(default=None, description="The display name. (An extension.)")
    merge_vars: Variables = Field(default=None, description="Merge variables of this recipient.")


class AttachedFile(Body):
    """A file that goes with the mail."""

    name: str = Field(description="The name of the file.")
    type: str = Field(default="application/octet-stream", description="Its media type.")
    content: str = Field(description="Its octets in base64.")
    content_id: str | None = Field(
        default=None, description="For an image inside the HTML: what stands behind cid: there. (An extension.)"
    )


class Email(Body):
    """Mail to send: its HTML, its text, or a template."""

    subject: str = Field(description="The subject; merge tags are filled in.")
    from_email: str = Field(description="The sender: an address of one of the account's domains.")
    from_name: str | None = Field(default=None, description="The sender's name.")
    to: Each[To] = Field(min_length=1, description="Recipients; each gets a copy of its own and sees no other.")
    cc: Each[str] | None = Field(default=None, description="Each gets a copy of every recipient's mail, and is seen.")
    bcc: Each[str] | None = Field(default=None, description="The same, and is not seen.")
    html: str | None = Field(default=None, description="The HTML.")
    text: str | None = Field(default=None, description="The text, alone or beside the HTML. (An extension.)")
    template_uid: str | None = Field(default=None, description="A template, in place of HTML and text.")
    global_merge_vars: Variables = Field(default=None, description="Merge variables of everybody.")
    attachments: Each[AttachedFile] | None = Field(default=None, description="Files.")
    vars: Texts | None = Field(default=None, description="Custom data, which comes back in events.")
    reply_to: str | None = Field(default=None, description="Where replies go. (An extension.)")
    headers: Texts | None = Field(default=None, description="Further header fields. (An extension.)")
    stream: str | None = Field(default=None, description="The kind of mail, of the account's streams. (An extension.)")
    dialect: Literal["tags", "braces", "literal", "templates"] | None = Field(
        default=None, description="How merge tags are written. (An extension.)"
    )
    on_missing: Literal["keep", "empty", "reject"] | None = Field(
        default=None, description="What becomes of a tag without a value. (An extension.)"
    )
    wait: Literal["results", "accepted"] = Field(
        default="results", description="Whether the answer waits for the results. (An extension.)"
    )


class Result(Body):
    """What became of one recipient."""

    email: str
    kind: Literal["to", "cc", "bcc"]
    id: str
    status: Literal["delivered", "deferred", "failed", "discarded", "accepted"]
    code: int
    enhanced: str
    message: str
    by: str


class EmailSent(Body):
    """The answer: an id for each recipient, as MimePost has them, and each one's result."""

    success: int
    error_code: int
    message: str
    queue_ids: dict[str, Any]
    results: list[Result]


class Emails:
    """The calls about sending."""

    def __init__(self, mta: Mta, orders: Orders, repeats: Repeats) -> None:
        self._mta = mta
        self._orders = orders
        self._repeats = repeats

    def calls(self) -> Sequence[Call]:
        return (
            Call("POST", "/v1/emails", "Send mail", self.send, Email, EmailSent),
            Call("POST", "/v1/emails/batch", "Send mail; one line of JSON for each recipient, as its result comes",
                 self.batch, Email, Result, is_streamed=True),
        )  # fmt: skip

    async def send(self, ask: Ask) -> HttpAnswer:
        """Wait for the results, unless the caller does not want to and may do without."""
        mail, must_wait = await self._outgoing(ask)
        caller = await self._repeats.checked(ask)
        results = checked(await send(self._mta, caller, mail, must_wait=must_wait))
        text = "Mails accepted" if must_wait else "Mails held in memory, not delivered yet"
        return done(text, status=200 if must_wait else 202, queue_ids=queue_ids(results, mail), results=rows(results))

    async def batch(self, ask: Ask) -> HttpAnswer:
        """The same, answered line by line; the last line sums up."""
        mail, must_wait = await self._outgoing(ask)
        caller = await self._repeats.checked(ask)
        lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        counts: dict[str, int] = {}

        def told(sent: Sent) -> None:
            counts[sent.status] = counts.get(sent.status, 0) + 1
            lines.put_nowait(_line(row(sent)))

        async def sending() -> None:
            try:
                results = await send(self._mta, caller, mail, told if must_wait else None, must_wait=must_wait)
                if not must_wait:
                    for sent in results:
                        told(sent)
                lines.put_nowait(_line({"done": True, **counts}))
            finally:
                lines.put_nowait(None)

        async def answered() -> AsyncIterator[bytes]:
            task = asyncio.create_task(sending())
            try:
                while (line := await lines.get()) is not None:
                    yield line
                await task
            finally:
                task.cancel()

        return HttpAnswer(body=answered(), content_type="application/x-ndjson")

    async def _outgoing(self, ask: Ask) -> tuple[Outgoing, bool]:
        email: Email = ask.data
        self._orders.check_wait(email.wait)
        self._orders.check_count(len(email.to) * (1 + len(email.cc or ()) + len(email.bcc or ())), "to")
        template = await self._template(ask, email)
        mail = outgoing(email, template)
        self._orders.check_dialect(mail.dialect, template, "dialect")
        self._orders.check(ask, [mail], "to")
        return mail, email.wait == "results"

    async def _template(self, ask: Ask, email: Email) -> Template | None:
        has_content = email.html is not None or email.text is not None
        if email.template_uid is None:
            if not has_content:
                raise Problem(400, "give html, text, or a template_uid", "html")
            self._orders.check_raw("html", "template_uid")
            return None
        if has_content:
            raise Problem(400, "a template takes the place of html and text: give one or the other", "template_uid")
        return await self._orders.template(ask, "template_uid", email.template_uid)


def outgoing(email: Email, template: Template | None) -> Outgoing:
    """The mail of a request. Problem."""
    cc, bcc = _plain(email.cc, "cc"), _plain(email.bcc, "bcc")
    copies = []
    for number, to in enumerate(email.to):
        mailbox = reading.mailbox(to.email, f"to.{number}.email", to.name)
        copies.append(Copies((mailbox,), cc, bcc, reading.variables(pairs(to.merge_vars), f"to.{number}.merge_vars")))
    return Outgoing(
        sender=reading.mailbox(email.from_email, "from_email", email.from_name),
        subject=reading.subject(email.subject),
        copies=tuple(copies),
        text=template.text if template else email.text,
        html=template.html if template else email.html,
        reply_to=reading.mailboxes(email.reply_to, "reply_to") if email.reply_to else (),
        fields=reading.fields((email.headers or {}).items(), "headers"),
        attachments=tuple(
            reading.attachment(each.name, each.type, each.content, f"attachments.{number}", each.content_id)
            for number, each in enumerate(email.attachments or ())
        ),
        variables=reading.variables(pairs(email.global_merge_vars), "global_merge_vars"),
        custom_data=reading.custom_data(email.vars or {}, "vars"),
        dialect=email.dialect or (template.dialect if template else None),
        on_missing=email.on_missing,
        stream=email.stream,
    )


def queue_ids(results: Sequence[Sent], mail: Outgoing) -> Mapping[str, Any]:
    """MimePost's: by each To address its id, and those of its cc and bcc."""
    found: dict[str, Any] = {}
    heads = [copies.to[0].address.mailbox for copies in mail.copies]
    for sent in results:
        entry = found.setdefault(heads[sent.place], {})
        if sent.kind == "to":
            entry["status"] = sent.id
        else:
            entry.setdefault(sent.kind, {})[sent.address.mailbox] = sent.id
    return found


def _plain(addresses: Sequence[str] | None, field: str) -> tuple[Mailbox, ...]:
    return tuple(reading.mailbox(text, f"{field}.{number}") for number, text in enumerate(addresses or ()))


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"
