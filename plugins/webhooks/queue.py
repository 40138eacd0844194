"""What waits for one URL, in RAM: events not tried yet, in their order, and failed ones until their next attempt.

Pure bookkeeping: whoever calls says what time it is.
"""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from dataclasses import dataclass
from math import inf

from mtaframe import Redacted
from mtaframe_plugins.webhooks.notice import Notice


@dataclass(slots=True, repr=False)
class Item(Redacted):
    """One event for one URL. ``number`` counts up per URL; times are in the clock's monotonic seconds."""

    _shown = ("number", "attempts")

    notice: Notice
    number: int
    expires_at: float
    attempts: int = 0
    due_at: float = 0.0
    has_failed: bool = False


class Queue:
    """``waiting``: not tried yet. ``parked``: failed at least once."""

    def __init__(self) -> None:
        self._waiting: deque[Item] = deque()
        self._parked: dict[int, Item] = {}
        self._numbers: list[int] = []
        self._due: list[tuple[float, int]] = []
        self.expired = 0
        """How many have become too old here."""
        self.is_new_first = False
        """Whether what was not tried yet goes before what has failed."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._parked)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def parked(self) -> int:
        return len(self._parked)

    def add(self, item: Item) -> None:
        self._waiting.append(item)

    def park(self, item: Item, due_at: float) -> None:
        """Until its next attempt; where that comes too late, until it is too old."""
        item.due_at = min(due_at, item.expires_at)
        self._parked[item.number] = item
        insort(self._numbers, item.number)
        insort(self._due, (item.due_at, item.number))

    def take(self, now: float) -> Item | None:
        """The next one to send: what is due again goes first, for it is older."""
        while (item := self._next(now)) is not None:
            if item.expires_at > now:
                return item
            self.expired += 1
        return None

    def ready(self, now: float) -> int:
        """How many could be sent now."""
        return len(self._waiting) + bisect_right(self._due, (now, inf))

    def next_due(self, now: float) -> float | None:
        """When the next one is due that is not yet."""
        index = bisect_right(self._due, (now, inf))
        return self._due[index][0] if index < len(self._due) else None

    def trim(self, limit: int) -> int:
        """Drop the oldest retries, then the oldest others, until no more than ``limit`` are left; how many."""
        dropped = 0
        while len(self) > limit:
            if self._numbers:
                self._unpark(self._numbers[0])
            else:
                self._waiting.popleft()
            dropped += 1
        return dropped

    def expire(self, now: float) -> None:
        """Forget what is too old."""
        while self._waiting and self._waiting[0].expires_at <= now:
            self._waiting.popleft()
            self.expired += 1
        due = self._due[: bisect_right(self._due, (now, inf))]
        for number in [number for _, number in due if self._parked[number].expires_at <= now]:
            self._unpark(number)
            self.expired += 1

    def hasten(self, now: float) -> int:
        """Let every parked one be due now, its schedule begun anew; how many they are."""
        for item in self._parked.values():
            item.due_at, item.attempts = now, 0
        self._due = [(now, number) for number in self._numbers]
        return len(self._numbers)

    def clear(self) -> int:
        """Forget all; how many they were."""
        count = len(self)
        for kept in (self._waiting, self._parked, self._numbers, self._due):
            kept.clear()
        return count

    def _next(self, now: float) -> Item | None:
        if self._due and self._due[0][0] <= now and not (self.is_new_first and self._waiting):
            return self._unpark(self._due[0][1])
        return self._waiting.popleft() if self._waiting else None

    def _unpark(self, number: int) -> Item:
        item = self._parked.pop(number)
        del self._numbers[bisect_left(self._numbers, number)]
        del self._due[bisect_left(self._due, (item.due_at, number))]
        return item
