"""Words with sane defaults, so that a test names only what it is about. Pure: the same call, the same value.

Each takes the fields of its word as keywords; addresses and recipients may be plain text.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mtaframe.account import Account
from mtaframe.address import Address
from mtaframe.delivery import Delivery, Outcome, Result, Route
from mtaframe.envelope import Envelope, Recipient, Session
from mtaframe.event import Event, EventType
from mtaframe.message import Message, field_octets
from mtaframe.redaction import Private
from mtaframe.reply import Reply

WHEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""When everything happens; a VirtualClock begins at the same time."""

SENDER = "alice@example.com"
RECIPIENT = "bob@example.net"


def address(mailbox: str = RECIPIENT) -> Address:
    return Address.parse(mailbox)


def session(**changes: Any) -> Session:
    """A client on this machine that said EHLO to the listener "test"."""
    defaults: dict[str, Any] = {
        "id": "s1",
        "client": "127.0.0.1",
        "listener": "test",
        "ehlo": "client.example.com",
        "protocol": "ESMTP",
        "trusted": True,
    }
    return Session(**(defaults | changes))


def recipient(mailbox: str | Address | Recipient = RECIPIENT, **changes: Any) -> Recipient:
    """``merge_vars`` and ``notes`` may be plain mappings."""
    if isinstance(mailbox, Recipient):
        return mailbox
    named = mailbox if isinstance(mailbox, Address) else address(mailbox)
    return Recipient(named, **_private(changes, "merge_vars", "notes"))


def envelope(
    recipients: Sequence[str | Address | Recipient] = (RECIPIENT,),
    *,
    reverse_path: str | Address | None = SENDER,
    **changes: Any,
) -> Envelope:
    """From Alice to Bob. ``reverse_path`` None is the null one."""
    defaults: dict[str, Any] = {
        "id": "m1",
        "session": session(),
        "received_at": WHEN,
        "reverse_path": address(reverse_path) if isinstance(reverse_path, str) else reverse_path,
        "recipients": tuple(recipient(mailbox) for mailbox in recipients),
    }
    return Envelope(**(defaults | _private(changes, "notes")))


def message(
    content: str | bytes | None = None, *, fields: Mapping[str, str | None] | None = None, body: str = "Hello.\n"
) -> Message:
    """A message from its text (line ends become CR LF) or its exact octets; else from ``fields`` and ``body``.

    ``fields`` change or, with None, take away From, To, Subject, Date and Message-ID, and add others behind them.
    """
    if isinstance(content, bytes):
        return Message.parse(content)
    if content is not None:
        return Message.parse(_octets(content))
    defaults: dict[str, str | None] = {
        "From": f"Alice <{SENDER}>",
        "To": f"Bob <{RECIPIENT}>",
        "Subject": "Test",
        "Date": "Sun, 01 Mar 2026 12:00:00 +0000",
        "Message-ID": "<m1@example.com>",
    }
    chosen = defaults | dict(fields or {})
    header = b"".join(field_octets(name, value) for name, value in chosen.items() if value is not None)
    return Message(header, _octets(body))


def delivery(to: str | Address | Recipient | None = None, **changes: Any) -> Delivery:
    """One copy, to ``to`` or else to the first recipient of ``envelope``."""
    mail: Envelope = changes.get("envelope") or envelope([to or RECIPIENT])
    defaults: dict[str, Any] = {
        "id": "d1",
        "envelope": mail,
        "recipient": mail.recipients[0] if to is None else recipient(to),
        "reverse_path": mail.reverse_path,
        "message": changes.get("message") or message(),
    }
    return Delivery(**(defaults | _private(changes, "notes")))


def deliveries(*to: str | Address | Recipient, **changes: Any) -> tuple[Delivery, ...]:
    """One copy of one message for each recipient, with the ids d1, d2, …; what a transport is given."""
    common = {"envelope": envelope(to), "message": message()} | changes
    return tuple(delivery(each, id=f"d{number}", **common) for number, each in enumerate(to, 1))


def route(**changes: Any) -> Route:
    """The recipient's MX by SMTP; with ``next_hop`` and ``port``, a ScriptedMx."""
    return Route(**changes)


def reply(line: str = "250 2.0.0 ok") -> Reply:
    """A reply as it stands on the wire: ``reply("450 4.2.0 later")``."""
    return Reply.parse(int(line[:3]), line[4:])


def result(outcome: Outcome = Outcome.DELIVERED, **changes: Any) -> Result:
    """How an attempt by SMTP ended, with a reply that fits the outcome."""
    lines = {
        Outcome.DELIVERED: "250 2.0.0 ok",
        Outcome.DISCARDED: "250 2.0.0 message discarded",
        Outcome.DEFERRED: "451 4.0.0 later",
        Outcome.FAILED: "550 5.1.1 no such user",
    }
    defaults: dict[str, Any] = {"reply": reply(lines[outcome]), "by": "smtp", "route": route(), "began": WHEN}
    return Result(outcome, **(defaults | changes))


def event(kind: EventType = EventType.DELIVERED, **changes: Any) -> Event:
    """Something that became known of the message m1. ``data`` may be a plain mapping."""
    defaults: dict[str, Any] = {"id": "e1", "type": kind, "at": WHEN, "message_id": "m1", "recipient": address()}
    return Event(**(defaults | _private(changes, "data")))


def account(name: str = "acme", **changes: Any) -> Account:
    """An account that sends from example.com."""
    return Account(**({"name": name, "domains": frozenset({"example.com"})} | changes))


def _octets(text: str) -> bytes:
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode()


def _private(changes: dict[str, Any], *names: str) -> dict[str, Any]:
    wrapped = {name: Private(changes[name]) for name in names if isinstance(changes.get(name), dict)}
    return changes | wrapped
