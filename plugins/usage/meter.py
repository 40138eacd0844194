"""What is counted: integers in the state of the house, and what this month is charged, in RAM.

The rule: counting asks nobody. The state gathers what is added, and tells the other processes within a tenth of a
second; each of them has this month's charges of an account in RAM from the first time that somebody asks.
"""

from collections.abc import Iterable, Mapping
from datetime import date

from mtaframe import PURGES, Clock, Counter, EventType, State
from mtaframe_plugins.usage.days import midnight

CHARGED = "usage.charged"
LAST = "usage.last"
_EPOCH = date(1970, 1, 1).toordinal()
COUNTED = {
    kind: f"usage.{kind.value}"
    for kind in (
        EventType.REQUEST,
        EventType.DELIVERED,
        EventType.DEFERRED,
        EventType.BOUNCE_SOFT,
        EventType.BOUNCE_HARD,
        EventType.BLOCK_SOFT,
        EventType.BLOCK_HARD,
        EventType.OPEN,
        EventType.CLICK,
        EventType.UNSUBSCRIBE,
        EventType.SPAM,
        EventType.SPAMTRAP,
    )
}
"""The counter of each type of event."""


class Meter:
    """All accounts. It outlives the plugin's instance."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._now = (0, 0)
        """The day, and how many purges there were."""
        self._begun = (date.min, 0)
        """The first day of the month, and how many purges there were, since when charges are known."""
        self._charged: dict[str, int] = {}
        """What each account is charged this month, of those that were asked for."""
        self._active: dict[str, int] = {}
        """The day on which this process last saw anything of an account."""
        self._counters: dict[tuple[str, str, str], tuple[Counter, ...]] = {}

    async def count(
        self, account: str, stream: str, kind: EventType, recipients: int = 1, is_charged: bool = False
    ) -> None:
        """So many recipients more, of the account and of its stream, if it has a name."""
        counters = self._of(account, stream, COUNTED[kind])
        amounts = dict.fromkeys(counters, recipients)
        today = self._today()
        if is_charged:
            amounts |= dict.fromkeys(self._of(account, stream, CHARGED), recipients)
            self._charge(account, recipients)
        await self._state.counters.add(amounts)
        register = Counter(LAST, account)
        if self._active.get(account) != today or not self._state.registers.value(register):
            self._active[account] = today
            await self._seen(register, today)

    def heard(self, amounts: Mapping[Counter, int]) -> None:
        """Other processes have charged this."""
        self._today()
        for counter, amount in amounts.items():
            if counter.name == CHARGED and not counter.stream:
                self._charge(counter.account, amount)

    async def charged(self, account: str) -> int:
        """The recipients of this month that the account is charged for."""
        self._today()
        if account not in self._charged:
            begun = self._begun
            [charged] = await self._state.counters.sums([Counter(CHARGED, account)], midnight(begun[0]))
            self._today()
            if begun != self._begun:
                return charged
            self._charged[account] = charged
        return self._charged[account]

    def last_days(self, accounts: Iterable[str]) -> Mapping[str, date]:
        """When each last had anything, of those that ever had."""
        days = {name: self._state.registers.value(Counter(LAST, name)) for name in accounts}
        return {name: date.fromordinal(day) for name, day in days.items() if day}

    def _charge(self, account: str, recipients: int) -> None:
        if account in self._charged:
            self._charged[account] += recipients

    def _today(self) -> int:
        """The day's number (UTC); with a new month, and with a purge, what was charged before is forgotten."""
        now = _EPOCH + int(self._clock.now().timestamp()) // 86400, self._state.registers.value(PURGES)
        if now != self._now:
            self._now, begun = now, (date.fromordinal(now[0]).replace(day=1), now[1])
            if begun != self._begun:
                self._begun = begun
                self._charged.clear()
        return now[0]

    async def _seen(self, register: Counter, today: int) -> None:
        registers = self._state.registers
        while (before := registers.value(register)) < today:
            await registers.change(register, before, today)

    def _of(self, account: str, stream: str, name: str) -> tuple[Counter, ...]:
        found = self._counters.get((account, stream, name))
        if found is None:
            whole = Counter(name, account)
            found = (whole, Counter(name, account, stream)) if stream else (whole,)
            self._counters[account, stream, name] = found
        return found
