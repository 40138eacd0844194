"""State that outlives the process: numbers live in RAM and are written behind, digests and documents are in the file.

The law: a number of a sequence is given out only once the file knows that it may be, so never twice.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from mtaframe.ledger import KEPT as LEDGER_KEPT
from mtaframe.lifecycle import Clock
from mtaframe.state import memory
from mtaframe.state.database import Database, Row
from mtaframe.state.digests import Digests, Print
from mtaframe.state.journal import Journal
from mtaframe.state.keys import Keyring
from mtaframe.state.memory import Counters, Registers, named
from mtaframe.state.owned import StateError
from mtaframe.state.place import Place
from mtaframe.state.rows import row as columns
from mtaframe.state.sealing import Seal
from mtaframe.state.storage import TROUBLES, Storage, told
from mtaframe.storage import Counter

log = logging.getLogger("mtaframe.state")

AHEAD = 100
"""Numbers of a sequence that the file knows to be given out before they are; a crash leaves so many out."""
UNKNOWN = 1000
"""Where nobody knows which numbers were given out, they begin at so many for each second since 1970."""
TIDY = 3600.0
"""Seconds between two looks for what is too old."""
_MOST = 2**63 - 1


class Sequences(memory.Sequences):
    """Numbers that are given out once, also over a crash."""

    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self._storage = storage
        self._booked: dict[Counter, int] = {}
        self._sure: dict[Counter, int] = {}
        """Up to where it is in the file."""

    def fill(self, rows: Iterable[tuple[Counter, int]]) -> None:
        for sequence, booked in rows:
            self._last[sequence] = self._booked[sequence] = self._sure[sequence] = booked

    def rows(self) -> Iterator[tuple[Counter, int]]:
        return iter(self._booked.items())

    async def next(self, sequence: Counter, count: int = 1) -> int:
        first = self._given(sequence, count)
        if self._last[sequence] > self._sure.get(sequence, 0):
            await self._book(sequence)
        return first

    async def _book(self, sequence: Counter) -> None:
        if self._last[sequence] > self._booked.get(sequence, 0):
            self._put(sequence, self._last[sequence] + AHEAD)
        booked = self._booked[sequence]
        await self._storage.written()
        self._sure[sequence] = max(self._sure.get(sequence, 0), booked)

    def close(self) -> None:
        """No number needs to be left out."""
        for sequence, last in self._last.items():
            self._put(sequence, last)

    def _put(self, sequence: Counter, booked: int) -> None:
        self._booked[sequence] = booked
        self._storage.put("sequences", columns(sequence), (booked,))


class DigestTable:
    """Digests in the file."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._turn = asyncio.Lock()

    async def put(self, purpose: str, key_id: str, digest: bytes, value: int, until: float) -> None:
        self._storage.put("digests", (purpose, key_id, digest), (_fitting(value), until))
        await self._storage.written()

    async def get(self, purpose: str, prints: Sequence[Print]) -> int | None:
        now = self._clock.now().timestamp()
        for key_id, digest in prints:
            for value, until in (await self._storage.rows("digests", (purpose, key_id, digest))).values():
                if until > now:
                    return int(value)
        return None

    async def agree(self, purpose: str, prints: Sequence[Print], value: int, until: float) -> int:
        """One after the other as far as RAM knows it; the disk is waited for by all together."""
        async with self._turn:
            known = await self.get(purpose, prints)
            if known is not None:
                return known
            self._storage.put("digests", (purpose, *prints[0]), (_fitting(value), until))
        await self._storage.written()
        return value

    async def drop(self, purpose: str, prints: Sequence[Print]) -> None:
        for key_id, digest in prints:
            self._storage.put("digests", (purpose, key_id, digest), None)
        await self._storage.written()

    async def counts(self) -> dict[tuple[str, str], int]:
        await self._storage.written()
        found = await self._storage.asked(lambda database: database.counts("digests", ("purpose", "key_id")))
        return {(purpose, key_id): count for (purpose, key_id), count in found.items()}


class Documents:
    """Documents in the file, sealed. One of TROUBLES where nobody can tell what the file has."""

    def __init__(self, storage: Storage, keyring: Keyring) -> None:
        self._storage = storage
        self._seal = Seal(keyring)
        self._changing = asyncio.Lock()
        """Held from a look at what is there to what is done about it."""

    async def put(self, account: str, kind: str, name: str, content: bytes) -> None:
        named(account, kind)
        async with self._changing:
            self._put(account, kind, name, content)
        await self._storage.written()

    async def change(
        self, account: str, kind: str, name: str, before: bytes | None, after: bytes | None, most: int | None = None
    ) -> bool:
        named(account, kind)
        async with self._changing:
            if await self.get(account, kind, name) != before:
                return False
            if before is None and most is not None and len(await self.names(account, kind)) >= most:
                return False
            self._put(account, kind, name, after)
        await self._storage.written()
        return True

    def _put(self, account: str, kind: str, name: str, content: bytes | None) -> None:
        """From now on it is so; None: there is no such document."""
        newest, *older = self._keys(account, kind, name)
        sealed = None if content is None else (self._seal.content(newest[2], account, kind, name, content),)
        self._storage.put("documents", newest, sealed)
        for key in older:
            self._storage.put("documents", key, None)

    async def get(self, account: str, kind: str, name: str) -> bytes | None:
        for key in self._keys(account, kind, name):
            for (sealed,) in (await self._rows(key)).values():
                with _damage_told(account, kind):
                    return self._seal.opened_content(key[2], account, kind, name, sealed)
        return None

    async def names(self, account: str, kind: str) -> list[str]:
        return sorted(name for _, name, _ in await self._opened((account, kind)))

    async def drop(self, account: str, kind: str | None = None, name: str | None = None) -> None:
        async with self._changing:
            if kind is not None and name is not None:
                self._put(account, kind, name, None)
            else:
                for key in await self._rows((account,) if kind is None else (account, kind)):
                    self._storage.put("documents", key, None)
        await self._storage.written()

    async def of(self, account: str) -> list[tuple[str, str, bytes]]:
        return sorted(await self._opened((account,)))

    async def counts(self) -> dict[tuple[str, str], int]:
        await self._storage.written()
        found = await self._storage.asked(lambda database: database.counts("documents", ("account", "key_id")))
        return {(account, key_id): count for (account, key_id), count in found.items()}

    def _keys(self, account: str, kind: str, name: str) -> list[Row]:
        """Where it may be: under the newest key, or an older one."""
        return [(account, kind, key_id, self._seal.name(key_id, account, kind, name)) for key_id in self._seal.key_ids]

    async def _rows(self, first: Row) -> Mapping[Row, Row]:
        """Those whose key begins so. Whoever took what RAM knows for all would remember it, and write over the rest."""
        return await self._storage.rows("documents", first, must_have_all=True)

    async def _opened(self, first: Row) -> list[tuple[str, str, bytes]]:
        """(kind, name, content) of the rows whose key begins so."""
        found = []
        for (account, kind, key_id, sealed_name), (sealed,) in (await self._rows(first)).items():
            with _damage_told(account, kind):
                name = self._seal.opened_name(key_id, account, kind, sealed_name)
                found.append((kind, name, self._seal.opened_content(key_id, account, kind, name, sealed)))
        return found


class LedgerTable:
    """Entries of the ledger: in RAM, to be written anew if need be, and in the file."""

    def __init__(self, storage: Storage, key_id: str) -> None:
        self._storage = storage
        self._key_id = key_id
        self.entries: dict[bytes, tuple[int, float]] = {}

    def fill(self, rows: Iterable[tuple[bytes, int, float]]) -> None:
        """Oldest first."""
        self.entries.update((fingerprint, (packed, since)) for fingerprint, packed, since in rows)

    def rows(self) -> Iterator[tuple[Row, Row]]:
        return (((self._key_id, fingerprint), rest) for fingerprint, rest in self.entries.items())

    def write(self, rows: Mapping[bytes, tuple[int, float]]) -> asyncio.Future[None]:
        for fingerprint, rest in rows.items():
            self.entries[fingerprint] = rest
            self._storage.put("ledger", (self._key_id, fingerprint), rest)
        return self._storage.written()

    def forget(self, fingerprints: Iterable[bytes]) -> None:
        for fingerprint in fingerprints:
            if self.entries.pop(fingerprint, None) is not None:
                self._storage.put("ledger", (self._key_id, fingerprint), None)

    def prune(self, oldest: float) -> None:
        """Forget what is from before ``oldest``."""
        self.forget([fingerprint for fingerprint, (_, since) in self.entries.items() if since < oldest])


class SqliteState:
    """The parts of the state, and the file behind them. ``begin`` comes first, ``close`` last."""

    def __init__(self, place: Place, keyring: Keyring, clock: Clock, kept: float, ledger_key_id: str) -> None:
        self._place = place
        self._clock = clock
        whole = {
            "counters": self._counter_rows,
            "registers": self._register_rows,
            "sequences": self._sequence_rows,
            "ledger": self._ledger_rows,
        }
        self._storage = Storage(place, Journal(whole))
        self._ledger_key_id = ledger_key_id
        self.keyring = keyring
        self.ledger_key = dict(keyring.keys["ledger"])[ledger_key_id]
        self.counters = Counters(clock, kept, self._counted)
        self.registers = Registers(self._registered)
        self.sequences = Sequences(self._storage)
        self.digests = Digests(keyring, DigestTable(self._storage, clock))
        self.documents = Documents(self._storage, keyring)
        self.ledger = LedgerTable(self._storage, ledger_key_id)
        self._tidying: asyncio.Task[None] | None = None

    @property
    def folder(self) -> Path:
        return self._place.folder

    @property
    def trouble(self) -> str | None:
        return self._storage.trouble

    def ledger_rows(self) -> list[tuple[bytes, int, float]]:
        return [(fingerprint, *rest) for fingerprint, rest in self.ledger.entries.items()]

    def begin(self, loaded: Mapping[str, Sequence[Row]] | None, error: BaseException | None) -> None:
        """Take over what the file had. ``error``: why it could not be read (then None is loaded) or written."""
        if loaded is not None:
            self.counters.fill((Counter(*name), hour, amount) for *name, hour, amount in loaded["counters"])
            self.registers.fill((Counter(*name), value) for *name, value in loaded["registers"])
            self.sequences.fill((Counter(*name), booked) for *name, booked in loaded["sequences"])
            self.ledger.fill(row[1:] for row in loaded["ledger"] if row[0] == self._ledger_key_id)
        else:
            self.sequences.first = int(self._clock.now().timestamp()) * UNKNOWN
        self._storage.start(error)
        self._prune()
        self._tidying = asyncio.get_running_loop().create_task(self._tidy_on())

    async def shrink(self) -> None:
        await self._storage.written()
        try:
            await self._storage.asked(Database.shrink)
        except sqlite3.Error as error:
            text = f"it is erased, but its octets may still be in the file: {told(error, self._place)}; then try again"
            raise StateError(text) from None
        except TROUBLES:
            pass  # too slow, and under way; or ``trouble`` says what it is

    async def keys_needed(self) -> dict[tuple[str, str], int]:
        await self._storage.written()
        return await self._storage.asked(Database.keys_needed)

    async def forget_key(self, purpose: str, key_id: str) -> None:
        if key_id in (self.keyring.newest(purpose)[0], self._ledger_key_id):
            raise StateError(f"the server still makes new rows under {purpose}.{key_id}: restart it first")
        await self._storage.written()
        await self._storage.asked(lambda database: database.forget_key(purpose, key_id))
        await self.shrink()

    async def close(self) -> None:
        if self._tidying is not None:
            self._tidying.cancel()
        self.sequences.close()
        await self._storage.close()

    # what is too old

    async def _tidy_on(self) -> None:
        while True:
            await self._tidy()
            await asyncio.sleep(TIDY)

    def _prune(self) -> None:
        self.counters.prune()
        self.ledger.prune(self._clock.now().timestamp() - LEDGER_KEPT)

    async def _tidy(self) -> None:
        self._prune()
        await self._storage.written()
        now = self._clock.now().timestamp()
        with suppress(*TROUBLES):
            await self._storage.asked(partial(Database.forget_ended, now=now))
            await self._storage.asked(Database.check_in)

    # rows for the journal

    def _counted(self, counter: Counter, hour: int, amount: int | None) -> None:
        self._storage.put("counters", (*columns(counter), hour), None if amount is None else (_fitting(amount),))

    def _registered(self, register: Counter, value: int) -> None:
        self._storage.put("registers", columns(register), (_fitting(value),) if value else None)

    def _counter_rows(self) -> Iterator[tuple[Row, Row]]:
        return (((*columns(counter), hour), (_fitting(amount),)) for counter, hour, amount in self.counters.rows())

    def _register_rows(self) -> Iterator[tuple[Row, Row]]:
        return ((columns(register), (_fitting(value),)) for register, value in self.registers.rows())

    def _sequence_rows(self) -> Iterator[tuple[Row, Row]]:
        return ((columns(sequence), (booked,)) for sequence, booked in self.sequences.rows())

    def _ledger_rows(self) -> Iterator[tuple[Row, Row]]:
        return self.ledger.rows()


def _fitting(number: int) -> int:
    """As much of it as a column can hold."""
    return max(-_MOST, min(int(number), _MOST))


@contextmanager
def _damage_told(account: str, kind: str) -> Iterator[None]:
    """A document that can't be opened counts as none, and is told."""
    try:
        yield
    except ValueError as error:
        log.error("a document can't be opened account=%s kind=%s: %s", account, kind, error)
