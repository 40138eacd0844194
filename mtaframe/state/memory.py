"""State in RAM: gone with the process. The other backends keep this one's promises (``mtaframe.storage``)."""

import hashlib
import os
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from mtaframe.lifecycle import Clock
from mtaframe.storage import NAME, Counter, Told

BUCKET = 3600
"""Seconds: a window is exact to the hour."""
KEPT = 45 * 86400
"""Seconds that a counter remembers."""
DIGEST_SIZE = 16


class Counters:
    """Integers over time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: defaultdict[Counter, dict[int, int]] = defaultdict(dict)

    async def add(self, amounts: Mapping[Counter, int]) -> None:
        self._add(amounts)

    def _add(self, amounts: Mapping[Counter, int]) -> None:
        hour = self._hour(self._clock.now())
        for counter, amount in amounts.items():
            buckets = self._buckets[counter]
            buckets[hour] = buckets.get(hour, 0) + amount
            if len(buckets) * BUCKET > KEPT:
                del buckets[min(buckets)]

    async def sums(self, counters: Sequence[Counter], since: datetime) -> list[int]:
        return [self._sum(counter, since) for counter in counters]

    def _sum(self, counter: Counter, since: datetime) -> int:
        first = self._hour(since)
        return sum(amount for hour, amount in self._buckets.get(counter, {}).items() if hour >= first)

    async def clear(self, counters: Iterable[Counter]) -> None:
        for counter in counters:
            self._buckets.pop(counter, None)

    async def take(
        self, counter: Counter, count: int, *, per_hour: int | None = None, per_day: int | None = None
    ) -> Literal["hour", "day"] | None:
        now = self._clock.now()
        if per_day is not None and max(0, self._sum(counter, midnight(now))) + count > per_day:
            return "day"
        if per_hour is not None and max(0, self._sum(counter, now)) + count > per_hour:
            return "hour"
        self._add({counter: count})
        return None

    def follow(self, names: str, told: Told) -> Callable[[], None]:
        return lambda: None  # there are no others

    @staticmethod
    def _hour(at: datetime) -> int:
        return int(at.timestamp()) // BUCKET


class Registers:
    """Integers that stay."""

    def __init__(self) -> None:
        self._values: dict[Counter, int] = {}

    def value(self, register: Counter) -> int:
        return self._values.get(register, 0)

    def all(self, name: str | None = None) -> Mapping[Counter, int]:
        return {register: value for register, value in self._values.items() if name in (None, register.name)}

    async def change(self, register: Counter, before: int, after: int) -> bool:
        if self.value(register) != before:
            return False
        self._set(register, after)
        return True

    def _set(self, register: Counter, value: int) -> None:
        if value:
            self._values[register] = value
        else:
            self._values.pop(register, None)


class Sequences:
    """Numbers that are given out once."""

    def __init__(self) -> None:
        self._last: Tally[Counter] = Tally()

    async def next(self, sequence: Counter, count: int = 1) -> int:
        self._last[sequence] += count
        return self._last[sequence] - count + 1


class Digests:
    """Keyed digests with an integer and an end; the key dies with the process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = os.urandom(32)
        self._entries: dict[bytes, tuple[int, datetime]] = {}

    async def put(self, purpose: str, what: bytes, value: int, until: datetime) -> None:
        self._entries[self._digest(purpose, what)] = (int(value), until)

    async def get(self, purpose: str, what: bytes) -> int | None:
        digest = self._digest(purpose, what)
        value, until = self._entries.get(digest, (None, None))
        if until is not None and until <= self._clock.now():
            del self._entries[digest]
            return None
        return value

    async def drop(self, purpose: str, what: bytes) -> None:
        self._entries.pop(self._digest(purpose, what), None)

    def _digest(self, purpose: str, what: bytes) -> bytes:
        if not NAME.fullmatch(purpose):
            raise ValueError("a purpose is a name")
        return hashlib.blake2b(purpose.encode() + b"\0" + what, key=self._key, digest_size=DIGEST_SIZE).digest()


class Documents:
    """What account holders made themselves: listed, exported and erased per account."""

    def __init__(self) -> None:
        self._documents: dict[tuple[str, str, str], bytes] = {}

    async def put(self, account: str, kind: str, name: str, content: bytes) -> None:
        self._documents[account, kind, name] = content

    async def get(self, account: str, kind: str, name: str) -> bytes | None:
        return self._documents.get((account, kind, name))

    async def names(self, account: str, kind: str) -> list[str]:
        return sorted(name for owner, of, name in self._documents if (owner, of) == (account, kind))

    async def drop(self, account: str, kind: str | None = None, name: str | None = None) -> None:
        for key in list(self._documents):
            if key[0] == account and kind in (None, key[1]) and name in (None, key[2]):
                del self._documents[key]


class MemoryState:
    """All of it, in RAM."""

    def __init__(self, clock: Clock) -> None:
        self.counters = Counters(clock)
        self.registers = Registers()
        self.sequences = Sequences()
        self.digests = Digests(clock)
        self.documents = Documents()


def midnight(now: datetime) -> datetime:
    """When this day began, UTC."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
