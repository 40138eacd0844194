"""Where the ledger's entries stand, once for all processes of the server, and who still works on what.

A *claim* says that a process follows an attempt which outlived its client's patience; whoever comes with the same
mail meanwhile waits for it. The claims of a process that dies are void: its mail is tried again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal, Protocol

from mtaframe.ledger.entry import Entry
from mtaframe.lifecycle import Clock

KEPT = 6 * 86400.0
"""Seconds after which an entry is forgotten: a day more than upstreams try, and than the longest ``give_up``."""
LIMIT = 1_000_000
"""Entries; the oldest go first."""

CLAIMED: Literal["claimed"] = "claimed"
Found = Entry | Literal["claimed"] | None


class Table(Protocol):
    """Where entries outlive the process: fixed-width rows, nothing else."""

    def write(self, rows: Mapping[bytes, tuple[int, float]]) -> Awaitable[None]:
        """(packed, since) by fingerprint, from now on; done once they survive a crash, or nothing can make them."""

    def forget(self, fingerprints: Iterable[bytes]) -> None: ...


class Book(Protocol):
    """What a process asks: the book itself, or the way to the process that has it."""

    def may_hold(self, fingerprints: Sequence[bytes]) -> bool:
        """False if there is certainly nothing about any of them."""

    @property
    def is_empty(self) -> bool: ...

    async def look_up(self, fingerprints: Sequence[bytes]) -> Sequence[Found]: ...

    async def take(self, fingerprints: Sequence[bytes]) -> Sequence[Found]:
        """The same, and in one step claim those of which nothing is known."""

    def write(self, entries: Mapping[bytes, Entry]) -> Awaitable[None]:
        """Remember; the answer is done once that holds for every process, and over a crash."""

    def forget(self, fingerprints: Iterable[bytes]) -> None: ...

    def claim(self, fingerprints: Collection[bytes]) -> Awaitable[None]: ...

    def release(self, fingerprint: bytes, entry: Entry | None, *, is_told: bool = False) -> None:
        """An attempt is over; a final result becomes an entry, and ends the claims of all who follow one.

        One that ``is_told`` to its client is for those who wait for it now, and is not remembered.
        """

    async def awaited(self, fingerprint: bytes) -> Entry | None:
        """Wait until it is claimed no more; None if nothing final came of it."""


class LocalBook:
    """The book. ``changed`` is called with fingerprints that came (+1) and went (-1)."""

    def __init__(
        self, clock: Clock, table: Table | None = None, changed: Callable[[bytes, int], None] = lambda *_: None
    ) -> None:
        self._clock = clock
        self._table = table
        self._changed = changed
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._claims: dict[bytes, tuple[list[object], asyncio.Future[Entry | None]]] = {}
        """Who follows an attempt, once for each, and what those wait for who come with the same mail."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def claims(self) -> int:
        return len(self._claims)

    @property
    def is_empty(self) -> bool:
        return not self._entries and not self._claims

    def fill(self, rows: Iterable[tuple[bytes, int, float]]) -> None:
        """Take over what an earlier process left: (fingerprint, packed, since), oldest first."""
        for fingerprint, packed, since in rows:
            self._put(fingerprint, Entry.unpacked(packed, since))

    def may_hold(self, fingerprints: Sequence[bytes]) -> bool:
        return any(one in self._entries or one in self._claims for one in fingerprints)

    async def look_up(self, fingerprints: Sequence[bytes]) -> list[Found]:
        return self.found(fingerprints)

    def found(self, fingerprints: Sequence[bytes]) -> list[Found]:
        return [CLAIMED if one in self._claims else self._entry(one) for one in fingerprints]

    async def take(self, fingerprints: Sequence[bytes]) -> list[Found]:
        return self.taken(fingerprints)

    def taken(self, fingerprints: Sequence[bytes], owner: object = None) -> list[Found]:
        found = self.found(fingerprints)
        self.claim([one for one, known in zip(fingerprints, found, strict=True) if known is None], owner)
        return found

    def _entry(self, fingerprint: bytes) -> Entry | None:
        found = self._entries.get(fingerprint)
        if found is not None and self._now() - found.since > KEPT:
            self.forget((fingerprint,))
            return None
        return found

    def write(self, entries: Mapping[bytes, Entry]) -> Awaitable[None]:
        """Entries stand in the order of their times; the time of an earlier one is kept."""
        while self._entries and next(iter(self._entries.values())).since < self._now() - KEPT:
            self._drop_oldest()
        for fingerprint, entry in entries.items():
            before = self._entries.get(fingerprint)
            since = before.since if before else entry.since
            self._put(fingerprint, Entry(entry.outcome, entry.code, entry.status, since))
        if self._table is None:
            return _done()
        return self._table.write({one: (self._entries[one].packed, self._entries[one].since) for one in entries})

    def _put(self, fingerprint: bytes, entry: Entry) -> None:
        if fingerprint not in self._entries:
            self._changed(fingerprint, 1)
            if len(self._entries) >= LIMIT:
                self._drop_oldest()
        self._entries[fingerprint] = entry

    def _drop_oldest(self) -> None:
        self.forget((next(iter(self._entries)),))

    def forget(self, fingerprints: Iterable[bytes]) -> None:
        gone = [one for one in fingerprints if self._entries.pop(one, None) is not None]
        for fingerprint in gone:
            self._changed(fingerprint, -1)
        if gone and self._table is not None:
            self._table.forget(gone)

    def claim(self, fingerprints: Collection[bytes], owner: object = None) -> Awaitable[None]:
        for fingerprint in fingerprints:
            if fingerprint not in self._claims:
                self._changed(fingerprint, 1)
                self._claims[fingerprint] = ([], asyncio.get_running_loop().create_future())
            self._claims[fingerprint][0].append(owner)
        return _done()

    def release(self, fingerprint: bytes, entry: Entry | None, owner: object = None, *, is_told: bool = False) -> None:
        if entry is not None and not is_told:
            self.write({fingerprint: entry})
        if (claim := self._claims.get(fingerprint)) is None:
            return
        owners, result = claim
        if owner in owners:
            owners.remove(owner)
        if entry is not None or not owners:
            del self._claims[fingerprint]
            self._changed(fingerprint, -1)
            result.set_result(entry or self._entry(fingerprint))

    def void(self, owner: object) -> None:
        """A process has died: nobody follows what it claimed."""
        for fingerprint, (owners, _) in list(self._claims.items()):
            for _ in range(owners.count(owner)):
                self.release(fingerprint, None, owner)

    async def awaited(self, fingerprint: bytes) -> Entry | None:
        claim = self._claims.get(fingerprint)
        return await asyncio.shield(claim[1]) if claim is not None else self._entry(fingerprint)

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _done() -> Awaitable[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future
