"""What one plugin may ask another through ``mta.ask``, without knowing it.

A question is a frozen value of a subclass; whoever answers registers for that class, and where nobody does,
the question's own ``default`` is the answer.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

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
