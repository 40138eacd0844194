"""The mail of a Postmark message."""

from collections.abc import Mapping
from typing import Any

from mtaframe_plugins.http_api import reading
from mtaframe_plugins.http_api.door import MISSING, Problem
from mtaframe_plugins.http_api.outgoing import Attachment, Copies, Outgoing
from mtaframe_plugins.http_api.postmark.models import (
    PostmarkAttachment,
    PostmarkEmail,
    PostmarkMessage,
    PostmarkTemplateEmail,
)
from mtaframe_plugins.http_api.templates import Template

USUAL_STREAMS = frozenset({"outbound", "broadcast"})
"""Those that every server of Postmark has: an account here need not."""


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
