"""The number of each event among those of its account, by which a receiver can put them in order.

The rule: no number is given twice. A number is in the counter of ``mta.state`` before an event with it is sent, and
whoever begins anew begins behind the counter.
"""

import logging
from collections import Counter as Tally
from collections.abc import Iterable
from datetime import UTC, datetime

from mtaframe import Counter, State

log = logging.getLogger("mtaframe.webhooks")

_EVER = datetime.fromtimestamp(0, UTC)


class Numbers:
    """The last number of each account; the empty name stands for no account."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._last: dict[str, int] = {}
        self._unbooked: Tally[str] = Tally()

    async def begin(self, accounts: Iterable[str]) -> None:
        """Behind what the counters say."""
        names = ["", *accounts]
        sums = await self._state.counters.sums([_counter(name) for name in names], _EVER)
        self._last = dict(zip(names, sums, strict=True))

    def join(self, other: "Numbers") -> None:
        """Know the accounts that another one knows; what is known here stays."""
        self._last = other._last | self._last

    def next(self, account: str | None) -> int:
        name = account or ""
        number = self._last[name] = self._last.get(name, 0) + 1
        self._unbooked[name] += 1
        return number

    async def book(self) -> None:
        """Put what has been given out into the counters."""
        if not self._unbooked:
            return
        amounts, self._unbooked = self._unbooked, Tally()
        try:
            await self._state.counters.add({_counter(name): amount for name, amount in amounts.items()})
        except Exception as error:
            self._unbooked.update(amounts)
            log.warning("numbers of events are not in the state fault=%s", type(error).__name__)


def _counter(account: str) -> Counter:
    return Counter("webhooks.sequence", account=account)
