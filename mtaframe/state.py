"""What outlives a message: counters, digests and documents. This backend keeps them in RAM.

The law: a counter is an integer and is named by account, stream, source, site and nothing below that; a digest is
16 octets; text has no place in either. Only account holders' own documents hold text.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from mtaframe.lifecycle import NAME, Clock, Counter

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
        """Add to several counters, now."""
        hour = self._hour(self._clock.now())
        for counter, amount in amounts.items():
            buckets = self._buckets[counter]
            buckets[hour] = buckets.get(hour, 0) + amount
            if len(buckets) * BUCKET > KEPT:
                del buckets[min(buckets)]

    async def sums(self, counters: Sequence[Counter], since: datetime) -> list[int]:
        """What each has counted since the hour of ``since``, in the order asked."""
        first = self._hour(since)
        return [
            sum(amount for hour, amount in self._buckets.get(counter, {}).items() if hour >= first)
            for counter in counters
        ]

    async def clear(self, counters: Iterable[Counter]) -> None:
        """Begin again at nothing."""
        for counter in counters:
            self._buckets.pop(counter, None)

    @staticmethod
    def _hour(at: datetime) -> int:
        return int(at.timestamp()) // BUCKET


class Digests:
    """Keyed digests with an integer and an end: who is on a list, without the list. By purpose."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[tuple[str, bytes], tuple[int, datetime]] = {}

    async def put(self, purpose: str, digest: bytes, value: int, until: datetime) -> None:
        """ValueError unless the digest has 16 octets and the purpose is a name."""
        if len(digest) != DIGEST_SIZE or not NAME.fullmatch(purpose):
            raise ValueError("a digest has 16 octets and its purpose is a name")
        self._entries[purpose, digest] = (int(value), until)

    async def get(self, purpose: str, digest: bytes) -> int | None:
        """The integer, or None if there is no such digest, or its time is over."""
        value, until = self._entries.get((purpose, digest), (None, None))
        if until is not None and until <= self._clock.now():
            del self._entries[purpose, digest]
            return None
        return value

    async def drop(self, purpose: str, digest: bytes) -> None:
        self._entries.pop((purpose, digest), None)


class Documents:
    """What account holders made themselves: listed, exported and erased per account."""

    def __init__(self) -> None:
        self._documents: dict[tuple[str, str, str], bytes] = {}

    async def put(self, account: str, kind: str, name: str, content: bytes) -> None:
        self._documents[account, kind, name] = content

    async def get(self, account: str, kind: str, name: str) -> bytes | None:
        return self._documents.get((account, kind, name))

    async def names(self, account: str, kind: str) -> list[str]:
        """In their order."""
        return sorted(name for owner, of, name in self._documents if (owner, of) == (account, kind))

    async def drop(self, account: str, kind: str | None = None, name: str | None = None) -> None:
        """One document, all of a kind, or all of the account."""
        for key in list(self._documents):
            if key[0] == account and kind in (None, key[1]) and name in (None, key[2]):
                del self._documents[key]


class MemoryState:
    """All three, in RAM: gone with the process."""

    def __init__(self, clock: Clock) -> None:
        self.counters = Counters(clock)
        self.digests = Digests(clock)
        self.documents = Documents()
