"""What one plugin may ask another through ``mta.ask``, without knowing it.

A question is a frozen value of a subclass; whoever answers registers for that class, and where nobody does,
the question's own ``default`` is the answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Generic, TypeVar

from mtaframe.address import Address
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
class OwnDomain(Question[bool]):
    """Has this account proven that the domain (in its xn-- form) is its own? What its file says is not asked."""

    _shown = ("account",)

    account: str
    domain: str

    @property
    def default(self) -> bool:
        return False


@dataclass(frozen=True, slots=True, repr=False)
class SandboxAddress(Question[bool]):
    """Is this an address of the account holder's own, verified, which may be mailed before anything is approved?"""

    _shown = ("account",)

    account: str
    address: Address

    @property
    def default(self) -> bool:
        return False


@dataclass(frozen=True, slots=True, repr=False)
class AccountUsage(Question[Mapping[date, Mapping[str, int]]]):
    """What became of an account's mail, in recipients by UTC day and event type, as ``EventType`` names them.

    From ``since`` to ``until``, both included; ``stream`` "" is the account as a whole. Days and types without
    anything are left out. Nothing at all, if nobody counts.
    """

    _shown = ("account",)

    account: str
    since: date
    until: date
    stream: str = ""

    @property
    def default(self) -> Mapping[date, Mapping[str, int]]:
        return {}


@dataclass(frozen=True, slots=True, repr=False)
class MonthlyUsage(Question[int]):
    """How many recipients of this calendar month (UTC) are charged to the account? 0, if nobody counts.

    ``with_sub_accounts``: together with those of all accounts below it.
    """

    _shown = ("account",)

    account: str
    with_sub_accounts: bool = False

    @property
    def default(self) -> int:
        return 0


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


@dataclass(frozen=True, slots=True, repr=False)
class ProvenSelector(Question[str | None]):
    """Under which selector has the account, or one above it, published our key for a domain (in its xn-- form)?

    None: it has not proven the domain, or may not use it yet.
    """

    _shown = ("account",)

    account: str
    domain: str

    @property
    def default(self) -> str | None:
        return None


@dataclass(frozen=True, slots=True, repr=False)
class ProvenKey(Question[tuple[str, str] | None]):
    """Which key signs for domains that account holders prove: the name of its record, and its ``p=``. None: none."""

    @property
    def default(self) -> tuple[str, str] | None:
        return None


@dataclass(frozen=True, slots=True, repr=False)
class CheckTemplate(Question[str | None]):
    """What keeps this text from being filled in by the merge tags of a dialect (None: the account's own)?

    The answer says it without a word of the text; None if nothing does, or nobody fills in tags.
    """

    _shown = ("account",)

    account: str
    text: str
    is_html: bool
    dialect: str | None = None

    @property
    def default(self) -> str | None:
        return None
