"""What one plugin may ask another through ``mta.ask``, without knowing it.

A question is a frozen value of a subclass; whoever answers registers for that class, and where nobody does,
the question's own ``default`` is the answer.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from mtaframe.endpoint import Endpoint, EndpointFault
from mtaframe.event import EventType
from mtaframe.redaction import Redacted

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Question(Redacted, Generic[T]):
    """Subclass it with the fields that matter, and say what holds when nobody answers."""

    @property
    def default(self) -> T:
        raise TypeError(f"{type(self).__name__} has no default")


class Standing(Enum):
    """How an account is seen by who enforces the sending policy, from best to worst."""

    GOOD = "good"
    WARNED = "warned"
    LIMITED = "limited"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True, repr=False)
class AccountStanding(Question[Standing]):
    """How is this account seen? Good, if nobody looks."""

    _shown = ("account",)

    account: str

    @property
    def default(self) -> Standing:
        return Standing.GOOD


@dataclass(frozen=True, slots=True, repr=False)
class RestingSources(Question[frozenset[str]]):
    """Which sources send nothing now? None, if nobody knows of sources."""

    @property
    def default(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True, slots=True, repr=False)
class RestSource(Question[bool]):
    """Let a source rest for so many seconds, please. The answer: whether it does."""

    source: str
    seconds: float

    @property
    def default(self) -> bool:
        return False


@dataclass(frozen=True, slots=True, repr=False)
class Endpoints(Question[tuple[Endpoint, ...] | None]):
    """Which webhooks does this account have? None, if nobody keeps webhooks, or they can't be read now."""

    _shown = ("account",)

    account: str

    @property
    def default(self) -> tuple[Endpoint, ...] | None:
        return None


@dataclass(frozen=True, slots=True, repr=False)
class SaveEndpoint(Question[Endpoint | EndpointFault | None]):
    """Make a webhook (``id`` None) or change one, please. The answer: as it is now; None if that id is none."""

    _shown = ("account", "id")

    account: str
    id: int | None
    url: str
    description: str
    events: frozenset[EventType]
    is_active: bool

    @property
    def default(self) -> Endpoint | EndpointFault | None:
        return EndpointFault("this server keeps no webhooks")


@dataclass(frozen=True, slots=True, repr=False)
class DropEndpoint(Question[bool]):
    """Delete a webhook, please; nothing more goes to it. The answer: whether there was one that could be deleted."""

    _shown = ("account", "id")

    account: str
    id: int

    @property
    def default(self) -> bool:
        return False


@dataclass(frozen=True, slots=True, repr=False)
class TryEndpoint(Question[int | str]):
    """Post an event about no real mail there at once, please. The answer: the HTTP status, or why there is none."""

    _shown = ("account",)

    account: str
    url: str

    @property
    def default(self) -> int | str:
        return "this server keeps no webhooks"
