"""Tells when the folder of the configuration holds something else than before.

The rule: watch the directory, never a file, for a watch on a file misses the second atomic rename and every swap of
a symbolic link. An event says no more than "look again"; what counts is the digest of the contents.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError  # awatch can't say when it is armed

from mtaframe.config import ConfigError, snapshot

ANYWAY = 30.0
"""Seconds after which the folder is looked at without any event: some file systems send none."""

_GROUPED = 100  # milliseconds that one burst of events may last
_STEP = 40  # milliseconds without an event that end a burst
_SETTLED = 0.05  # seconds between two looks that must agree: no half-written file is acted on
_LOOKS = 20  # but a folder that never settles is not waited for
_AGAIN = 0.5  # seconds until a folder that isn't there, or can't be watched, is looked for again


async def watch(
    folder: Path, changed: Callable[[], Awaitable[None]], stop: asyncio.Event, *, known: str | None = None
) -> None:
    """Call ``changed`` after each change of a ``*.toml`` in the folder, until ``stop`` is set.

    ``known`` is the digest of the snapshot in use, so that nothing between that and now is missed; without it, what
    the folder holds now. A folder that is replaced or vanishes is a change too. An exception of ``changed`` ends it.
    """
    folder = folder.absolute()  # noqa: ASYNC240  (asks for the working directory only)
    last = known if known is not None else _digest(folder)
    async with contextlib.aclosing(_occasions(folder, stop)) as occasions:
        async for _ in occasions:
            now = await _settled(folder, last)
            if now != last:
                last = now
                await changed()


async def _occasions(folder: Path, stop: asyncio.Event) -> AsyncGenerator[None, None]:
    """When to look again: once a watch is armed, after each event, and now and then anyway."""
    while not stop.is_set():
        watched = _identity(folder)
        try:
            with RustNotify([str(folder), str(folder.parent)], False, False, 0, False, True) as watcher:
                yield
                while not stop.is_set() and _identity(folder) == watched:
                    paths = await _events(watcher, stop)
                    if not paths or any(folder in (path, path.parent) for path in paths):
                        yield
                    if folder in paths:  # replaced, perhaps by one that has the same number
                        break
        except (OSError, WatchfilesRustInternalError):
            yield
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _AGAIN)


async def _events(watcher: RustNotify, stop: asyncio.Event) -> set[Path]:
    """The paths of one burst of events; none after a while without, or at the end."""
    ending = _Ending(stop)
    waiting = asyncio.create_task(asyncio.to_thread(watcher.watch, _GROUPED, _STEP, int(ANYWAY * 1000), ending))
    try:
        seen = await asyncio.shield(waiting)
    except asyncio.CancelledError:
        ending.cancelled = True
        await waiting
        raise
    return {Path(path) for _, path in seen} if isinstance(seen, set) else set()


class _Ending:
    """What the thread asks at each step whether it shall end."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self.cancelled = False

    def is_set(self) -> bool:
        return self.cancelled or self._stop.is_set()


async def _settled(folder: Path, last: str) -> str:
    """The digest once two looks agree: an editor may be in the middle of its work."""
    now = _digest(folder)
    for _ in range(_LOOKS):
        if now == last:
            break
        await asyncio.sleep(_SETTLED)
        before, now = now, _digest(folder)
        if now == before:
            break
    return now


def _digest(folder: Path) -> str:
    try:
        return snapshot(folder).digest
    except ConfigError as error:
        return hashlib.blake2b(str(error).encode(errors="surrogateescape"), digest_size=16).hexdigest()


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
