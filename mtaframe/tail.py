"""Attempts and events as they happen, for whoever looks: the lines that the log writes, and none of its own.

The law: what is shown is what may be logged. Nothing is kept, and nothing is made where nobody looks.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

LINES = 1000
"""Lines that wait for somebody who looks."""
WATCHED = ("mtaframe.dispatch", "mtaframe.events")
"""The loggers of attempts and of events; the latter is silent unless somebody looks."""


class Tail(logging.Handler):
    """Hands each line to ``shown`` while it is on."""

    def __init__(self, shown: Callable[[float, str], None]) -> None:
        super().__init__(logging.INFO)
        self._shown = shown
        self._levels: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self._shown(record.created, record.getMessage())

    def turn(self, on: bool) -> None:
        """Begin or end to look."""
        if on == bool(self._levels):
            return
        for name in WATCHED:
            logger = logging.getLogger(name)
            if on:
                self._levels[name] = logger.level
                logger.addHandler(self)
                logger.setLevel(min(logger.getEffectiveLevel(), logging.INFO))
            else:
                logger.removeHandler(self)
                logger.setLevel(self._levels[name])
        if not on:
            self._levels.clear()


class Lookers:
    """Whoever looks, at the end where the lines of all workers come together. ``turn`` has the workers look."""

    def __init__(self, turn: Callable[[bool], None]) -> None:
        self._turn = turn
        self._queues: set[asyncio.Queue[dict[str, Any]]] = set()

    def __bool__(self) -> bool:
        return bool(self._queues)

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """As they come, until nobody reads any more."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(LINES)
        self._queues.add(queue)
        try:
            self._turn(True)
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)
            self._turn(bool(self._queues))

    def seen(self, at: float, line: str) -> None:
        for queue in self._queues:
            if not queue.full():  # who reads too slowly misses some
                queue.put_nowait({"at": at, "line": line})
