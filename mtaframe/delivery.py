"""One message to one recipient: the way it takes and how it ended."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from mtaframe.address import Address
from mtaframe.envelope import Envelope, Recipient
from mtaframe.message import Message
from mtaframe.redaction import NO_NOTES, Note, Notes, Redacted
from mtaframe.reply import Reply


@dataclass(frozen=True, slots=True, repr=False)
class Delivery(Redacted):
    """The copy for one recipient. ``reverse_path`` is its own, so that a plugin can do VERP."""

    _shown = ("id",)

    id: str
    envelope: Envelope
    recipient: Recipient
    reverse_path: Address | None
    message: Message
    notes: Notes = NO_NOTES

    def with_note(self, key: str, value: Note) -> "Delivery":
        return replace(self, notes=self.notes.but(key, value))

    def with_message(self, message: Message) -> "Delivery":
        """What ``replace`` does, in a third of its time: it is done for every copy."""
        return Delivery(self.id, self.envelope, self.recipient, self.reverse_path, message, self.notes)


class Tls(Enum):
    """How sure the way to the next hop must be: see docs/delivery.md."""

    __hash__ = object.__hash__  # the same, and not in Python: it is part of every look-up in the pool of connections

    OFF = "off"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True, repr=False)
class Source(Redacted):
    """An outgoing identity: the local IP ``address`` to send from and the ``ehlo`` name that goes with it."""

    _shown = ("name",)

    name: str
    address: str
    ehlo: str


@dataclass(frozen=True, slots=True, repr=False)
class Credentials(Redacted):
    """What a smart host wants for AUTH."""

    user: str
    password: str


@dataclass(frozen=True, slots=True, repr=False)
class Limits(Redacted):
    """Bounds of a route: connections per next hop and source, recipients per transaction. ValueError if one is none."""

    _shown = ("connections", "recipients")

    connections: int = 20
    recipients: int = 100

    def __post_init__(self) -> None:
        if self.connections < 1 or self.recipients < 1:
            raise ValueError("a route has at least one connection and one recipient at a time")


@dataclass(frozen=True, slots=True, repr=False)
class Route(Redacted):
    """Where a delivery goes. ``next_hop`` None is the recipient domain's MX; a path (``/run/…``) is a Unix socket.

    ``transport`` is ``smtp``, ``lmtp``, or one that a plugin registered. ``ca_file`` replaces the system's
    certificate authorities for this route.
    """

    _shown = ("transport", "pool", "source")

    next_hop: str | None = None
    port: int = 25
    transport: str = "smtp"
    pool: str | None = None
    source: Source | None = None
    tls: Tls = Tls.OPPORTUNISTIC
    credentials: Credentials | None = None
    ca_file: str | None = None
    limits: Limits = Limits()


class Outcome(Enum):
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    FAILED = "failed"
    DISCARDED = "discarded"

    @property
    def is_final(self) -> bool:
        return self is not Outcome.DEFERRED


@dataclass(frozen=True, slots=True, repr=False)
class Result(Redacted):
    """All that is known of one attempt.

    ``reply`` is fit for our client. ``by`` is the transport, or the plugin that stopped it. ``remote`` names
    the host that answered, if one did. ``began`` is when, ``took`` how many seconds. ``in_doubt``: deferred, though
    the next hop may have it, for its answer to the final dot has not come (RFC 1047). ``passed_on``: the next hop
    knows what DSNs the sender wants, so that reports of success are its duty (RFC 3461 §5.2.1).
    """

    _shown = ("outcome", "by", "reply")

    outcome: Outcome
    reply: Reply
    by: str
    remote: str | None = None
    route: Route | None = None
    began: datetime | None = None
    took: float = 0.0
    in_doubt: bool = False
    passed_on: bool = False
