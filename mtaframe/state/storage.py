"""Writes the journal into the file, a batch at a time, in a thread of its own, for as long as the disk lets it.

The law: the disk never stops mail. Whatever is wrong with it is said once, loudly; everything goes on in RAM, nobody
waits for what can't be done, and what was not written is written as soon as that works again.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from mtaframe.state.database import Database, Row
from mtaframe.state.journal import Journal
from mtaframe.state.owned import StateError
from mtaframe.state.place import Place, is_damage

log = logging.getLogger("mtaframe.state")

T = TypeVar("T")

PACE = 0.05
"""Seconds in which changes gather that nobody waits for: so much is lost if this process is killed."""
RETRY = 5.0
"""Seconds until the next try, where the disk has failed."""
PATIENCE = 5.0
"""Seconds that somebody waits for a disk that does not answer."""

TROUBLES = (sqlite3.Error, OSError, StateError, TimeoutError)


class NoFileError(FileNotFoundError):
    """RAM has all that there is."""


class Storage:
    """``trouble`` says why nothing can be written now."""

    def __init__(self, place: Place, journal: Journal) -> None:
        self.trouble: str | None = None
        self._place = place
        self._journal = journal
        self._thread = ThreadPoolExecutor(1, "state")
        self._changed = asyncio.Event()
        self._urgent = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._is_damaged = False
        self._must_open = False
        self._is_stuck = False
        self._given: asyncio.Future[Any] | None = None
        """What the thread was given last."""
        self._writing: tuple[asyncio.Future[None], tuple[str, ...]] | None = None
        """A batch that the thread was given, and which tables it is the whole of."""
        self._writer: asyncio.Task[None] | None = None

    def start(self, error: BaseException | None) -> None:
        """Begin to write. ``error`` is why the file could not be opened, or not for writing."""
        if self._place.set_aside is not None:
            _tell_set_aside(self._place)
        if error is not None:
            self._failed(error)
            self._must_open = True
        self._writer = asyncio.get_running_loop().create_task(self._write_on())

    async def close(self) -> None:
        """Write what is left, and close the file."""
        if self._writer is None:
            return
        self._writer.cancel()
        await asyncio.wait([self._writer])
        self._writer = None
        if not self._journal.is_empty:
            await self._write()
        if not self._journal.is_empty:
            log.error("state lost: what has changed since the disk failed goes with this process")
        with suppress(*TROUBLES):
            await self.in_thread(self._place.close)
        self._thread.shutdown(wait=False)

    def put(self, table: str, key: Row, rest: Row | None) -> None:
        """From now on the row is so; None: there is no such row."""
        self._journal.put(table, key, rest)
        self._changed.set()

    def written(self) -> asyncio.Future[None]:
        """Done once all that was put survives a crash, or nothing can make it."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.trouble is not None:
            future.set_result(None)
        else:
            self._waiting.append(future)
            self._changed.set()
            self._urgent.set()
        return future

    async def rows(self, table: str, first: Row, *, must_have_all: bool = False) -> dict[Row, Row]:
        """The rows whose key begins so. Without a disk, those that RAM knows; if that won't do, one of TROUBLES."""
        known = self._journal.changes(table, first)
        found: dict[Row, Row | None] = {}
        if first not in known:
            try:
                if self._is_stuck:
                    raise TimeoutError
                found = await self.asked(lambda database: database.changes(table, first))
            except TROUBLES as error:
                if self.trouble is None:
                    self._failed(error)
                if must_have_all and not isinstance(error, NoFileError):
                    raise
        return {key: rest for key, rest in {**found, **known}.items() if rest is not None}

    async def asked(self, function: Callable[[Database], T]) -> T:
        """What the file answers. One of TROUBLES if it can't."""
        return await self.in_thread(partial(self._ask, function))

    def _ask(self, function: Callable[[Database], T]) -> T:
        if self._place.database is None:
            raise NoFileError("there is no file")
        return function(self._place.database)

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Run it where the file is. TimeoutError if that takes too long; it goes on there all the same."""
        return await _in_time(self._give(function))

    def _give(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        running = self._given = asyncio.get_running_loop().run_in_executor(self._thread, function)
        running.add_done_callback(_looked_at)
        return running

    # the writer

    async def _write_on(self) -> None:
        while True:
            await self._changed.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(PACE):
                    await self._urgent.wait()
            await self._write()
            if self.trouble is not None:
                await asyncio.sleep(RETRY)
                self._changed.set()

    async def _write(self) -> None:
        """Try once."""
        self._changed.clear()
        self._urgent.clear()
        waiting, self._waiting = self._waiting, []
        try:
            await self._caught_up()
            if self._must_open:
                await self._open_again()
            await self._write_batch(durable=bool(waiting))
            self._say(None)
        except TROUBLES as error:
            self._failed(error)
        finally:
            for future in [*waiting, *(self._waiting if self.trouble else ())]:
                if not future.done():
                    future.set_result(None)

    async def _caught_up(self) -> None:
        """TimeoutError while the thread is still at what was too slow: one batch there is enough, not one per try."""
        if self._given is not None and not self._given.done():
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait([self._given])
        self._settle()

    async def _write_batch(self, *, durable: bool) -> None:
        batch, whole = self._journal.take()

        def write(database: Database) -> None:
            self._place.check()
            database.write(batch, durable=durable, emptied=whole)

        running = self._give(partial(self._ask, write))
        self._writing = running, whole
        try:
            await _in_time(running)
        finally:
            self._settle()

    def _settle(self) -> None:
        """The batch is in the file, or still to be written; as long as nobody knows which it is under way."""
        if self._writing is None or not self._writing[0].done():
            return
        running, whole = self._writing
        self._writing = None
        if running.exception() is None:
            self._journal.done()
        else:
            self._journal.undo(whole)

    async def _open_again(self) -> None:
        damaged, place = self._is_damaged, self._place
        kept = await self.in_thread(lambda: place.let_go(damaged=damaged))
        self._is_damaged = False
        if kept is not None:
            self._journal.begin_anew(kept)
        await self.in_thread(place.open_again)
        if place.set_aside is not None:
            _tell_set_aside(place)
        self._must_open = False

    def _failed(self, error: BaseException) -> None:
        """The disk is not what it was; the writer sees what can be done."""
        self._is_damaged = self._is_damaged or is_damage(error)
        self._is_stuck = isinstance(error, TimeoutError)
        self._must_open = self._must_open or not (self._is_stuck or _is_full(error))
        self._say(told(error, self._place))
        self._changed.set()

    def _say(self, trouble: str | None) -> None:
        if trouble == self.trouble:
            return
        self.trouble = trouble
        if trouble is None:
            self._is_stuck = False
            log.warning("state is written again folder=%s", self._place.folder)
        else:
            log.error("state is not written, everything goes on in RAM: %s", trouble)


async def _in_time(running: "asyncio.Future[T]") -> T:
    """TimeoutError if it takes too long."""
    async with asyncio.timeout(PATIENCE):
        return await asyncio.shield(running)


def told(error: BaseException, place: Place) -> str:
    """What is wrong with the disk, and what to do about it."""
    name = getattr(error, "sqlite_errorname", "")
    if isinstance(error, StateError):
        return str(error)
    if _is_full(error):
        return f"the disk of {place.folder} is full: make room"
    if isinstance(error, TimeoutError):
        return f"the disk of {place.folder} does not answer: see what keeps it"
    if is_damage(error):
        return f"{place.path} is damaged: it is set aside, and a new one is begun"
    if name.startswith("SQLITE_READONLY"):
        return f"{place.path} can't be written: mend the file system, and see whom the file belongs to"
    reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return f"{place.path} can't be used ({reason.lower()}): see to it that {place.folder} is there and writable"


def _is_full(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"


def _tell_set_aside(place: Place) -> None:
    log.error(
        "state was damaged: it is kept as %s, and a new one has begun; what only it held (digests, documents) is "
        "missing, so look whether it can be mended",
        place.set_aside,
    )
    place.set_aside = None


def _looked_at(future: "asyncio.Future[Any]") -> None:
    """What nobody waits for any more may be a fault."""
    if not future.cancelled():
        future.exception()
