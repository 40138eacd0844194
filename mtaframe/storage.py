"""What outlives a message, and how a plugin keeps it: the parts of ``mta.state``.

The law: integers are named by account, stream, source, site and nothing below that; a digest is 16 octets under a
key of its own; only account holders' own documents hold text. All of it is one for all processes of the server.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

NAME = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,99}")

Told = Callable[[Mapping["Counter", int]], None]


@dataclass(frozen=True, slots=True)
class Counter:
    """What an integer is about. ValueError for anything but names: no field can hold an address or other text."""

    name: str
    account: str = ""
    stream: str = ""
    source: str = ""
    site: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError("a counter's name is a name in lower case")
        for part in ("account", "stream", "source", "site"):
            value = getattr(self, part)
            if value != "" and not NAME.fullmatch(value):
                raise ValueError(f"a counter's {part} is a name in lower case")


PURGES = Counter("state.purges")
"""The register that counts how often an account was purged: with another number, figures in RAM are to be read anew."""


class Counters(Protocol):
    """Integers over time, exact to the hour, for 45 days."""

    async def add(self, amounts: Mapping[Counter, int]) -> None:
        """Add to several counters, now. Other processes know it within a tenth of a second."""

    async def sums(self, counters: Sequence[Counter], since: datetime, until: datetime | None = None) -> Sequence[int]:
        """What each has counted since the hour of ``since``, in the order asked.

        ``until`` ends it with the hour before that one, which is over: of what is counted meanwhile it has nothing.
        """

    async def clear(self, counters: Iterable[Counter]) -> None:
        """Begin again at nothing."""

    async def take(
        self, counter: Counter, count: int, *, per_hour: int | None = None, per_day: int | None = None
    ) -> Literal["hour", "day"] | None:
        """Add ``count``, unless the counter would pass a limit of this hour or this day (UTC): then which one.

        A limit is never exceeded, however many processes count. What was taken and not used is given back by
        ``add`` of a negative number.
        """

    def follow(self, names: str, told: Told) -> Callable[[], None]:
        """Be told what other processes add to counters whose name begins so. The answer ends it.

        Whoever adds that, and its own, to what ``sums`` answered last, misses nothing and has nothing twice.
        """


class Registers(Protocol):
    """Integers that stay until they are changed, and are known in every process without asking; 0 at first."""

    def value(self, register: Counter) -> int: ...

    def all(self, name: str | None = None) -> Mapping[Counter, int]:
        """Those that are not 0, of that name or of any."""

    async def change(self, register: Counter, before: int, after: int) -> bool:
        """Set it to ``after`` if it is ``before``; False if it is something else, for somebody was faster.

        When the answer comes, every process knows.
        """


class Sequences(Protocol):
    """Numbers that are given out once, from 1 up."""

    async def next(self, sequence: Counter, count: int = 1) -> int:
        """The first of so many numbers, which nobody else gets."""


class Digests(Protocol):
    """Who is on a list, without the list: digests with an integer and an end, by purpose."""

    async def put(self, purpose: str, what: bytes, value: int, until: datetime) -> None:
        """Remember ``value`` for what hashes to this: 16 octets under the purpose's key are all that is kept."""

    async def get(self, purpose: str, what: bytes) -> int | None:
        """The integer, or None if there is none, or its time is over. Every key that is still alive is tried."""

    async def agree(self, purpose: str, what: bytes, value: int, until: datetime) -> int:
        """The integer that is known, else ``value``, which is remembered in the same step.

        Whoever asks at the same moment, in whatever process, is told the same one.
        """

    async def drop(self, purpose: str, what: bytes) -> None: ...


class Documents(Protocol):
    """What account holders made themselves: listed, exported and erased per account.

    An exception where the disk would have to be asked, and can't be: what nobody can tell is not told to be nothing.
    """

    async def put(self, account: str, kind: str, name: str, content: bytes) -> None: ...

    async def change(
        self, account: str, kind: str, name: str, before: bytes | None, after: bytes | None, most: int | None = None
    ) -> bool:
        """Put ``after`` in the place of ``before``, in one step for all processes; None: no such document.

        False, and nothing is changed, where the document is not as it was before, or where a new one would be one more
        of its kind than ``most``.
        """

    async def get(self, account: str, kind: str, name: str) -> bytes | None: ...

    async def names(self, account: str, kind: str) -> Sequence[str]:
        """In their order."""

    async def drop(self, account: str, kind: str | None = None, name: str | None = None) -> None:
        """One document, all of a kind, or all of the account."""


class State(Protocol):
    """What outlives a message; text about a recipient has no place in it."""

    @property
    def counters(self) -> Counters: ...

    @property
    def registers(self) -> Registers: ...

    @property
    def sequences(self) -> Sequences: ...

    @property
    def digests(self) -> Digests: ...

    @property
    def documents(self) -> Documents: ...
