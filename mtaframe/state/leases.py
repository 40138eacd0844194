"""Leases on limits: what a worker may take without asking, and what the owner knows to be held by whom.

The law: what was taken and what is held never pass a limit together, in whatever hour it is now; so a lease needs no
end. It is good for the limits that it was granted under, and for no others.
"""

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from mtaframe.storage import Counter

MOST = 64
"""Units that a worker is given at a time, beyond what it needs now."""

Limits = tuple[int | None, int | None]
"""Of an hour, and of a day."""
Used = tuple[int, int]
"""In this hour, and on this day."""


def refusal(limits: Limits, used: Used, count: int) -> Literal["hour", "day"] | None:
    """Which limit ``count`` more would pass."""
    per_hour, per_day = limits
    if per_day is not None and used[1] + count > per_day:
        return "day"
    if per_hour is not None and used[0] + count > per_hour:
        return "hour"
    return None


def share(limits: Limits, used: Used, workers: int) -> int:
    """How much of what is left one worker may hold; all together at most half of it."""
    left = min(limit - now for limit, now in zip(limits, used, strict=True) if limit is not None)
    return min(MOST, left // (2 * workers))


@dataclass(slots=True)
class Lease:
    """``is_idle``: nothing was taken since it was last looked at."""

    limits: Limits
    left: int
    is_idle: bool = False


class Leases:
    """What a worker has in hand; ``spent`` and ``unused`` are what its owner is still to be told."""

    def __init__(self) -> None:
        self._in_hand: dict[Counter, Lease] = {}
        self.spent: Tally[Counter] = Tally()
        self.unused: Tally[Counter] = Tally()

    def __len__(self) -> int:
        return len(self._in_hand)

    def spend(self, counter: Counter, count: int, limits: Limits) -> bool:
        """False if there is no lease that is good for this."""
        lease = self._in_hand.get(counter)
        if lease is None or lease.left < count or lease.limits != limits:
            return False
        lease.left -= count
        lease.is_idle = False
        self.spent[counter] += count
        return True

    def keep(self, counter: Counter, lease: Lease) -> None:
        self.end(counter)
        self._in_hand[counter] = lease

    def end(self, counter: Counter) -> None:
        """What is left of it is unused."""
        lease = self._in_hand.pop(counter, None)
        if lease is not None:
            self.unused[counter] += lease.left

    def end_all(self) -> None:
        for counter in list(self._in_hand):
            self.end(counter)

    def end_idle(self) -> None:
        """Those that were not used since this was called before."""
        for counter, lease in list(self._in_hand.items()):
            if lease.is_idle:
                self.end(counter)
            lease.is_idle = True


class Holdings:
    """What the owner knows to be in the hands of its workers."""

    def __init__(self) -> None:
        self._held: defaultdict[Counter, Tally[object]] = defaultdict(Tally)

    def grant(self, worker: object, counter: Counter, count: int) -> None:
        self._held[counter][worker] += count

    def settle(self, worker: object, counts: Mapping[Counter, int]) -> None:
        """So much is in its hands no more: it was spent, or came back."""
        for counter, count in counts.items():
            holders = self._held[counter]
            holders[worker] -= count
            if not holders[worker]:
                del holders[worker]
            if not holders:
                del self._held[counter]

    def held(self, counter: Counter) -> int:
        return self._held[counter].total() if counter in self._held else 0

    def holders(self, counter: Counter) -> Collection[object]:
        return list(self._held.get(counter, ()))

    def of(self, worker: object) -> dict[Counter, int]:
        """All that it holds."""
        return {counter: holders[worker] for counter, holders in self._held.items() if worker in holders}
