"""The trace that a message carries: our Received field on top, and the check for loops (RFC 5321 §4.4, §6.3)."""

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from mtaframe.envelope import Envelope, Origin
from mtaframe.message import Message

HOPS_LIMIT = 50
"""Received fields after which a message is in a loop."""

_NO_ATOM = re.compile(r"[^A-Za-z0-9.:_\[\]-]")


def received(envelope: Envelope, hostname: str) -> str:
    """The value of our Received field. It names no recipient: a "for" clause would tell one of another."""
    session = envelope.session
    client = f" ([{_tagged(session.client)}])" if session.client else ""
    ehlo = _NO_ATOM.sub("?", session.ehlo)[:255] or "unknown"
    tls = f" ({session.tls})" if session.tls else ""
    return (
        f"from {ehlo}{client}{_origin(session.origin)}"
        f"\r\n by {hostname} (mtaframe) with {session.protocol}{tls} id {envelope.id};\r\n {date(envelope.received_at)}"
    )


def _origin(origin: Origin | None) -> str:
    """Whom the client has it from, as a comment: it is hearsay (RFC 5321 §4.4 wants the client itself)."""
    if origin is None:
        return ""
    names = [_NO_ATOM.sub("?", name)[:255] for name in (origin.ehlo, origin.name) if name]
    return f"\r\n (for {' '.join([*names, f'[{_tagged(origin.client)}]'])})"


def _tagged(client: str) -> str:
    """An IP address as an address literal holds it (RFC 5321 §4.1.3)."""
    return f"IPv6:{client}" if ":" in client else client


def hops(message: Message) -> int:
    """How many servers have passed the message on."""
    return len(message.all("Received"))


def has_passed(message: Message, hostname: str) -> bool:
    """Whether a Received field says that the message was here before."""
    ours = f" by {hostname} (mtaframe) "
    return any(ours in " ".join(field.value.split()) for field in message.all("Received"))


def date(at: datetime) -> str:
    """A date-time as RFC 5322 §3.3 writes it, in UTC."""
    return _date(int(at.timestamp()))


@lru_cache(maxsize=4)
def _date(seconds: int) -> str:
    """Of many messages in the same second."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC))
