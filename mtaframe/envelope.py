"""Who talks to us and what they want sent: session, recipient, envelope (RFC 5321 §2.3.1)."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar, cast

from mtaframe.address import Address
from mtaframe.redaction import NO_NOTES, Note, Notes, Private, Redacted
from mtaframe.variable import Variable

NO_VARIABLES: Private[Variable] = Private()

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Origin(Redacted):
    """Whom a client has the mail from, as it told by XFORWARD; what it left out is empty.

    ``client`` is an IP address. It informs, no more: nobody is trusted for it.
    """

    client: str = ""
    name: str = ""
    ehlo: str = ""
    protocol: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Session(Redacted):
    """One connection.

    ``client`` is the IP address, or empty on a Unix socket. ``protocol`` is the name for the Received field
    (RFC 3848: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, LMTP …), or DSN for our own reports. ``tls`` is the TLS version
    or None. ``account`` is set by AUTH. ``trusted``: the client's address is in the listener's ``trusted`` networks.
    ``origin`` is set where a client that may do so told whom it speaks for.
    """

    _shown = ("id", "listener", "protocol", "account")

    id: str
    client: str
    listener: str
    ehlo: str = ""
    protocol: str = "SMTP"
    tls: str | None = None
    account: str | None = None
    trusted: bool = False
    origin: Origin | None = None
    notes: Notes = NO_NOTES

    def with_note(self, key: str, value: Note) -> "Session":
        return replace(self, notes=self.notes.but(key, value))


@dataclass(frozen=True, slots=True, repr=False)
class Recipient(Redacted):
    """One RCPT. ``notify`` and ``original`` are NOTIFY, in upper case, and ORCPT of RFC 3461 (``original`` decoded).

    ``message_id`` is what events call the message of this recipient, where a submitter has given it a name of its own.
    """

    address: Address
    notify: frozenset[str] = frozenset()
    original: str | None = None
    merge_vars: Private[Variable] = NO_VARIABLES
    notes: Notes = NO_NOTES
    message_id: str | None = None

    def with_note(self, key: str, value: Note) -> "Recipient":
        return replace(self, notes=self.notes.but(key, value))


@dataclass(frozen=True, slots=True, repr=False)
class Envelope(Redacted):
    """One transaction. ``reverse_path`` None is the null one, ``<>``; ``size`` is what MAIL declared, or 0.

    ``body`` is 7BIT or 8BITMIME (RFC 6152); ``ret`` (FULL or HDRS) and ``envid`` come from RFC 3461. ``account``
    is that of AUTH; else, on trusted listeners, the one that owns the reverse-path's domain, then the From
    domain; else the listener's.
    """

    _shown = ("id", "account", "stream")

    id: str
    session: Session
    reverse_path: Address | None
    received_at: datetime
    recipients: tuple[Recipient, ...] = ()
    account: str | None = None
    stream: str | None = None
    size: int = 0
    body: str = "7BIT"
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
    requiretls: bool = False
    notes: Notes = NO_NOTES
    _derived: dict[Callable[..., Any], Any] | None = field(default=None, init=False, compare=False)

    def with_note(self, key: str, value: Note) -> "Envelope":
        return replace(self, notes=self.notes.but(key, value))

    def message_id(self, recipient: Recipient) -> str:
        """What events call the message of this recipient."""
        return recipient.message_id or self.id

    def with_recipients(self, recipients: "tuple[Recipient, ...]") -> "Envelope":
        """What ``replace`` does, in a third of its time: it is done for every message."""
        return Envelope(
            self.id, self.session, self.reverse_path, self.received_at, recipients, self.account, self.stream,
            self.size, self.body, self.smtputf8, self.ret, self.envid, self.requiretls, self.notes,
        )  # fmt: skip

    def derived(self, work: "Callable[[Envelope], T]") -> T:
        """What ``work`` makes of this envelope: done once for all copies of the message, and kept no longer than it.

        From before_sign on, every copy has this same envelope: here stands what one copy found out for the next.
        """
        if self._derived is None:
            object.__setattr__(self, "_derived", {})
        made = cast("dict[Callable[..., Any], Any]", self._derived)
        if work not in made:
            made[work] = work(self)
        return cast("T", made[work])


@dataclass(frozen=True, slots=True, repr=False)
class Mail(Redacted):
    """One MAIL command, as the door parsed it. ``prdr``: each recipient is to be answered alone (PRDR)."""

    _shown = ("size", "body")

    reverse_path: Address | None
    size: int = 0
    body: str = "7BIT"
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
    requiretls: bool = False
    prdr: bool = False
