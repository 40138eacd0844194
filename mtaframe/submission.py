"""What a submission server mends in mail that programs hand in (RFC 6409 §8)."""

import hashlib
from datetime import datetime

from mtaframe.message import Message
from mtaframe.trace import date

_CHANGES_ON_THE_WAY = ("Received", "Return-Path")


def mended(message: Message, hostname: str, at: datetime) -> Message:
    """The message without Bcc, with Date and Message-ID.

    A missing Message-ID is derived from the content, so that a repeat of the same octets gets the same one.
    """
    content = message
    message = message.without("Bcc", "Resent-Bcc")
    if not message.has("Message-ID"):
        message = message.append("Message-ID", message_id(content, hostname))
    if not message.has("Date"):
        message = message.append("Date", date(at))
    return message


def message_id(message: Message, hostname: str) -> str:
    """``<digest@hostname>`` of everything but the fields that relays add."""
    kept = message.without(*_CHANGES_ON_THE_WAY)
    digest = hashlib.blake2b(kept.header, digest_size=20)
    digest.update(kept.body)
    return f"<{digest.hexdigest()}@{hostname}>"
