"""Deadlines that nearly nobody reaches: one timer of the event loop for all of them.

The law: nothing rings early, and what was stopped never rings. It may ring a hundredth of a second late. A timer of
the loop's own costs ten times what an entry here does.
"""

import asyncio
import time
from collections.abc import Callable
from math import inf

from mtaframe.lifecycle import Clock

RESOLUTION = 0.01
"""Seconds between two looks at what is due, so that thousands of deadlines in a row cost little."""
_EARLY = 0.001
"""The loop counts milliseconds."""


class Alarms:
    """Functions that wait to be called. Moments are the clock's monotonic seconds when they are set."""

    __slots__ = ("_clock", "_looks_at", "_timer", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[Callable[[], object], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = inf

    def ring_at(self, moment: float, ring: Callable[[], object]) -> None:
        """Call ``ring`` then, unless it is stopped before."""
        now = time.monotonic()
        at = now + moment - self._clock.monotonic()
        self._waiting[ring] = at
        if at < self._looks_at:
            self._look_at(at, now)

    def stop(self, ring: Callable[[], object]) -> None:
        """It has not to be called any more, if it had."""
        self._waiting.pop(ring, None)

    def limit(self, moment: float) -> "Limit":
        """``with alarms.limit(moment):`` what takes longer is cancelled then, and ends in a TimeoutError."""
        return Limit(self, moment)

    def _look_at(self, at: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = at
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at - now), self._look)

    def _look(self) -> None:
        """What was set last may be due first, so all are looked at: it is seldom done."""
        self._timer, self._looks_at = None, inf
        now = time.monotonic()
        due = [ring for ring, at in self._waiting.items() if at <= now + _EARLY]
        if len(due) < len(self._waiting):
            soonest = min(at for at in self._waiting.values() if at > now + _EARLY)
            self._look_at(max(soonest, now + RESOLUTION), now)
        for ring in due:
            if self._waiting.pop(ring, None) is not None:
                ring()


class Limit:
    """What ``asyncio.timeout`` does, in a tenth of its time."""

    __slots__ = ("_alarms", "_before", "_is_over", "_moment", "_task")

    def __init__(self, alarms: Alarms, moment: float) -> None:
        self._alarms = alarms
        self._moment = moment
        self._is_over = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._before = task, task.cancelling()
        self._alarms.ring_at(self._moment, self._end)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._alarms.stop(self._end)
        # a cancellation by somebody else goes on, even where ours came first
        if self._is_over and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _end(self) -> None:
        self._is_over = True
        self._task.cancel()
