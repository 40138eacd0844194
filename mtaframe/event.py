"""What becomes known about a message beside the attempts themselves; names as in docs/events.md."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from mtaframe.address import Address
from mtaframe.redaction import Private, Redacted

Fact = str | int | float | bool | None
NO_DATA: Private[Fact] = Private()


class EventType(Enum):
    """*bounce*: the remote side refused. *block*: we, or the remote's reputation rules, stopped it."""

    REQUEST = "request"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCE_SOFT = "bounce_soft"
    BOUNCE_HARD = "bounce_hard"
    BLOCK_SOFT = "block_soft"
    BLOCK_HARD = "block_hard"
    OPEN = "open"
    CLICK = "click"
    UNSUBSCRIBE = "unsubscribe"
    SPAM = "spam"
    SPAMTRAP = "spamtrap"
    ACCOUNT_WARNED = "account_warned"
    ACCOUNT_LIMITED = "account_limited"
    ACCOUNT_SUSPENDED = "account_suspended"
    ACCOUNT_RESUMED = "account_resumed"
    SOURCE_LISTED = "source_listed"
    SOURCE_RESTED = "source_rested"


@dataclass(frozen=True, slots=True, repr=False)
class Event(Redacted):
    """``message_id`` is our id of the envelope; ``data`` is plain data that the docs list per type."""

    _shown = ("id", "type", "account", "message_id")

    id: str
    type: EventType
    at: datetime
    account: str | None = None
    message_id: str | None = None
    recipient: Address | None = None
    data: Private[Fact] = NO_DATA
