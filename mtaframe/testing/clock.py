"""A clock that stands still until the test turns it."""

import time
from datetime import UTC, datetime, timedelta


class VirtualClock:
    """Implements ``mtaframe.Clock``; begins at noon of 1 March 2026, UTC, unless told otherwise.

    ``monotonic`` begins at the real clock's seconds, because deadlines are also given to the event loop, whose
    own time goes on: a deadline of ten virtual seconds lets ten real seconds of I/O pass. It begins at a multiple of
    1/1024 s, so that sums with whole seconds are exact, and a test may compare them with ``==``.
    """

    def __init__(self, start: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)) -> None:
        if start.tzinfo is None:
            raise ValueError("a clock starts at an aware time")
        self._now = start.astimezone(UTC)
        self._monotonic = round(time.monotonic() * 1024) / 1024

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass. It never goes back."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
