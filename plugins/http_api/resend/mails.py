"""The mail of a Resend request."""

import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from mtaframe_plugins.http_api import reading
from mtaframe_plugins.http_api.door import (
    MISSING,
    Problem,
)
from mtaframe_plugins.http_api.outgoing import Attachment, Copies, Mailbox, Outgoing
from mtaframe_plugins.http_api.resend.models import ResendAttachment, ResendEmail
from mtaframe_plugins.http_api.templates import Template


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


def _mailboxes(given: Sequence[str] | None, field: str) -> tuple[Mailbox, ...]:
    if sum(map(len, given or ())) > reading.LONGEST_LIST:
        raise Problem(422, "is too long", field)
    found: list[Mailbox] = []
    for number, text in enumerate(given or ()):
        found += reading.mailboxes(text, f"{field}.{number}" if len(given or ()) > 1 else field)
    return tuple(found)
