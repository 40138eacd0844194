"""Attempts and events as they happen, for whoever looks: the lines that the log writes, and none of its own.

The law: what is shown is what may be logged. Nothing is kept, and nothing is made where nobody looks.
"""

import logging
from collections.abc import Callable

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
