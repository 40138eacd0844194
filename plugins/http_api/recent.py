"""What became of mail of late, for the email logs of the API: in RAM, of this process, and not for long.

The rule: nothing of it is written anywhere, and it goes by itself, by age and by number.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mtaframe import Redacted

Row = Mapping[str, str]
"""``at`` (RFC 3339, UTC), ``message_id``, ``recipient``, ``event``, ``details``."""

SWEEP = 60.0
"""Seconds between two looks for what is too old."""


@dataclass(frozen=True, slots=True, repr=False)
class Happening(Redacted):
    """One event of one recipient."""

    _shown = ("at", "account")

    at: datetime
    account: str
    message_id: str
    recipient: str
    kind: str
    details: str


class Recent:
    """The newest ``max_count`` of the last ``max_age`` seconds. It outlives a reload."""

    def __init__(self, max_age: float, max_count: int) -> None:
        self.max_age = max_age
        self._kept: deque[Happening] = deque(maxlen=max_count)
        self._timer: asyncio.TimerHandle | None = None
        self._heir: Recent | None = None
        """Who has taken over: what calls of before a reload still see belongs there."""

    def add(self, happening: Happening) -> None:
        if self._heir is not None:
            return self._heir.add(happening)
        self._kept.append(happening)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(min(SWEEP, self.max_age), self._sweep)

    def rows(self, accounts: Collection[str], now: datetime) -> Sequence[Row]:
        """Those of some accounts, the newest first."""
        self.forget(now)
        return [_row(one) for one in reversed(self._kept) if one.account in accounts]

    def forget(self, now: datetime) -> None:
        """What is too old."""
        oldest = now - timedelta(seconds=self.max_age)
        while self._kept and self._kept[0].at < oldest:
            self._kept.popleft()

    def take_over(self, other: "Recent") -> None:
        """What the one before a reload had."""
        self._kept = deque((*other._kept, *self._kept), maxlen=self._kept.maxlen)
        other.stop()
        other._kept.clear()
        other._heir = self
        if self._kept and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(min(SWEEP, self.max_age), self._sweep)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self._timer = None
        if not self._kept:
            return
        newest = self._kept[-1].at
        self.forget(datetime.now(newest.tzinfo))
        if self._kept:
            self._timer = asyncio.get_running_loop().call_later(min(SWEEP, self.max_age), self._sweep)


def newest_first(tables: Sequence[Sequence[Row]]) -> Sequence[Row]:
    """What all processes have."""
    return sorted((row for table in tables for row in table), key=lambda row: row["at"], reverse=True)


def _row(one: Happening) -> Row:
    return {
        "at": one.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "message_id": one.message_id,
        "recipient": one.recipient,
        "event": one.kind,
        "details": one.details,
    }
