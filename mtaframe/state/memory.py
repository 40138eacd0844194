"""State in RAM: gone with the process. What outlives it is built on this, and keeps the same promises.

The law: ``changed`` is called with everything that becomes different, so that a backend can write it down.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from mtaframe.lifecycle import Clock
from mtaframe.state.digests import Digests, Print
from mtaframe.state.keys import Keyring
from mtaframe.storage import NAME, Counter, Told

BUCKET = 3600
"""Seconds: a window is exact to the hour."""
KEPT = 45 * 86400
"""Seconds that a counter remembers."""


class Counters:
    """Integers over time. ``changed`` gets a counter, an hour since 1970, and what it holds now; None if nothing."""

    def __init__(
        self, clock: Clock, kept: float = KEPT, changed: Callable[[Counter, int, int | None], None] = lambda *_: None
    ) -> None:
        self._clock = clock
        self._hours = int(kept) // BUCKET
        self._changed = changed
        self._buckets: defaultdict[Counter, dict[int, int]] = defaultdict(dict)
        self._pruned = self._hour(clock.now())

    def fill(self, rows: Iterable[tuple[Counter, int, int]]) -> None:
        """Take over what an earlier process counted: (counter, hour, amount), in the order of the hours."""
        for counter, hour, amount in rows:
            self._buckets[counter][hour] = amount

    def rows(self) -> Iterator[tuple[Counter, int, int]]:
        """All that is remembered."""
        return ((counter, hour, amount) for counter, hours in self._buckets.items() for hour, amount in hours.items())

    async def add(self, amounts: Mapping[Counter, int]) -> None:
        self._add(amounts)

    def _add(self, amounts: Mapping[Counter, int]) -> None:
        hour = self._hour(self._clock.now())
        if hour != self._pruned:
            self.prune()
        for counter, amount in amounts.items():
            buckets = self._buckets[counter]
            buckets[hour] = buckets.get(hour, 0) + amount
            self._changed(counter, hour, buckets[hour])

    def prune(self) -> None:
        """Forget the hours that are too long ago."""
        self._pruned = self._hour(self._clock.now())
        for counter in list(self._buckets):
            for hour in [hour for hour in self._buckets[counter] if hour <= self._pruned - self._hours]:
                self._forget(counter, hour)

    def _forget(self, counter: Counter, hour: int) -> None:
        del self._buckets[counter][hour]
        self._changed(counter, hour, None)
        if not self._buckets[counter]:
            del self._buckets[counter]

    async def sums(self, counters: Sequence[Counter], since: datetime, until: datetime | None = None) -> list[int]:
        if until is None:
            return [self._sum(counter, since) for counter in counters]
        hours = range(self._hour(since), self._hour(until))
        of_each = (self._buckets.get(counter, {}) for counter in counters)
        return [sum(amount for hour, amount in buckets.items() if hour in hours) for buckets in of_each]

    def _sum(self, counter: Counter, since: datetime) -> int:
        first = self._hour(since)
        return sum(amount for hour, amount in self._buckets.get(counter, {}).items() if hour >= first)

    async def clear(self, counters: Iterable[Counter]) -> None:
        for counter in counters:
            for hour in list(self._buckets.get(counter, ())):
                self._forget(counter, hour)

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

    def totals(self, days: int) -> dict[Counter, int]:
        """What each has counted since the beginning of the day (UTC) so many days ago; 0 is today."""
        first = self._hour(midnight(self._clock.now())) - days * 24
        totals = {
            one: sum(amount for hour, amount in hours.items() if hour >= first) for one, hours in self._buckets.items()
        }
        return {counter: total for counter, total in totals.items() if total}

    def follow(self, names: str, told: Told) -> Callable[[], None]:
        return lambda: None  # there are no others

    @staticmethod
    def _hour(at: datetime) -> int:
        return int(at.timestamp()) // BUCKET


class Registers:
    """Integers that stay. ``changed`` gets a register, and its new value."""

    def __init__(self, changed: Callable[[Counter, int], None] = lambda *_: None) -> None:
        self._changed = changed
        self._values: dict[Counter, int] = {}

    def fill(self, rows: Iterable[tuple[Counter, int]]) -> None:
        """Take over what an earlier process left."""
        self._values.update(rows)

    def rows(self) -> Iterator[tuple[Counter, int]]:
        """All that are not 0."""
        return iter(self._values.items())

    def value(self, register: Counter) -> int:
        return self._values.get(register, 0)

    def all(self, name: str | None = None) -> Mapping[Counter, int]:
        return {register: value for register, value in self._values.items() if name in (None, register.name)}

    async def change(self, register: Counter, before: int, after: int) -> bool:
        if self.value(register) != before:
            return False
        self._set(register, after)
        self._changed(register, after)
        return True

    def _set(self, register: Counter, value: int) -> None:
        if value:
            self._values[register] = value
        else:
            self._values.pop(register, None)


class Sequences:
    """Numbers that are given out once; ``first`` is that of a sequence which is not known yet."""

    def __init__(self, first: int = 1) -> None:
        self.first = first
        self._last: dict[Counter, int] = {}

    async def next(self, sequence: Counter, count: int = 1) -> int:
        return self._given(sequence, count)

    def _given(self, sequence: Counter, count: int) -> int:
        """The first of so many."""
        first = self._last.get(sequence, self.first - 1) + 1
        self._last[sequence] = first + count - 1
        return first


class DigestTable:
    """Digests in a dictionary."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[tuple[str, str, bytes], tuple[int, float]] = {}
        self._tidied = clock.now().timestamp() // BUCKET

    async def put(self, purpose: str, key_id: str, digest: bytes, value: int, until: float) -> None:
        now = self._clock.now().timestamp()
        if now // BUCKET != self._tidied:
            self._tidied = now // BUCKET
            self._entries = {key: entry for key, entry in self._entries.items() if entry[1] > now}
        self._entries[purpose, key_id, digest] = (value, until)

    async def get(self, purpose: str, prints: Sequence[Print]) -> int | None:
        for key_id, digest in prints:
            value, until = self._entries.get((purpose, key_id, digest), (None, 0.0))
            if value is not None and until > self._clock.now().timestamp():
                return value
            self._entries.pop((purpose, key_id, digest), None)
        return None

    async def agree(self, purpose: str, prints: Sequence[Print], value: int, until: float) -> int:
        known = await self.get(purpose, prints)  # neither waits for anything
        if known is None:
            await self.put(purpose, *prints[0], value, until)
        return value if known is None else known

    async def drop(self, purpose: str, prints: Sequence[Print]) -> None:
        for key_id, digest in prints:
            self._entries.pop((purpose, key_id, digest), None)

    async def counts(self) -> dict[tuple[str, str], int]:
        """How many there are by purpose and key."""
        counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        for purpose, key_id, _ in self._entries:
            counts[purpose, key_id] += 1
        return dict(counts)


class Documents:
    """What account holders made themselves: listed, exported and erased per account."""

    def __init__(self) -> None:
        self._documents: dict[tuple[str, str, str], bytes] = {}

    async def put(self, account: str, kind: str, name: str, content: bytes) -> None:
        named(account, kind)
        self._documents[account, kind, name] = content

    async def change(
        self, account: str, kind: str, name: str, before: bytes | None, after: bytes | None, most: int | None = None
    ) -> bool:
        """Put ``after`` in the place of ``before``; False if that is not what is there, or there are as many as may be.

        None: no such document.
        """
        named(account, kind)
        key = account, kind, name
        if self._documents.get(key) != before:
            return False
        if before is None and most is not None and len(await self.names(account, kind)) >= most:
            return False
        if after is None:
            self._documents.pop(key, None)
        else:
            self._documents[key] = after
        return True

    async def get(self, account: str, kind: str, name: str) -> bytes | None:
        return self._documents.get((account, kind, name))

    async def names(self, account: str, kind: str) -> list[str]:
        return sorted(name for owner, of, name in self._documents if (owner, of) == (account, kind))

    async def drop(self, account: str, kind: str | None = None, name: str | None = None) -> None:
        for key in list(self._documents):
            if key[0] == account and kind in (None, key[1]) and name in (None, key[2]):
                del self._documents[key]

    async def of(self, account: str) -> list[tuple[str, str, bytes]]:
        """(kind, name, content) of all that an account has."""
        return sorted((kind, name, text) for (owner, kind, name), text in self._documents.items() if owner == account)

    async def counts(self) -> dict[tuple[str, str], int]:
        """How many there are by account and key."""
        counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        for account, _, _ in self._documents:
            counts[account, ""] += 1
        return dict(counts)


class MemoryState:
    """All of it, in RAM."""

    trouble = None
    folder = None
    ledger = None

    def __init__(self, clock: Clock, kept: float = KEPT) -> None:
        self.keyring = Keyring.random()
        self.ledger_key = self.keyring.newest("ledger")[1]
        self.counters = Counters(clock, kept)
        self.registers = Registers()
        self.sequences = Sequences()
        self.digests = Digests(self.keyring, DigestTable(clock))
        self.documents = Documents()

    def ledger_rows(self) -> list[tuple[bytes, int, float]]:
        return []

    async def shrink(self) -> None:
        """Nothing of what was dropped is left anywhere."""

    async def keys_needed(self) -> dict[tuple[str, str], int]:
        return {}

    async def forget_key(self, purpose: str, key_id: str) -> None:
        """There is none but those of this process."""

    async def close(self) -> None:
        """There is nothing to end."""


def named(*names: str) -> None:
    """ValueError unless they are names: accounts, kinds, purposes."""
    if not all(map(NAME.fullmatch, names)):
        raise ValueError("an account, a kind or a purpose is a name in lower case")


def midnight(now: datetime) -> datetime:
    """When this day began, UTC."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
