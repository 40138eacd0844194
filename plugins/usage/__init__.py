"""usage: meters each account's mail, in recipients by stream, day and outcome. See docs/plugins/usage.md.

The law: a recipient is charged once, when its fate at the remote side is known, however often it was tried; what is
kept are integers by account and stream, and nothing of a recipient.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from mtaframe import (
    AccountUsage,
    CommandError,
    Counter,
    Delivery,
    Envelope,
    Event,
    EventType,
    MonthlyUsage,
    Mta,
    Plugin,
    Question,
    Result,
    command,
    event_type,
    hookimpl,
)
from mtaframe_plugins.usage.days import after, days_of, days_of_month, midnight, month_of, whole_month
from mtaframe_plugins.usage.meter import CHARGED, COUNTED, Meter
from mtaframe_plugins.usage.table import rows_of

__all__ = ["Usage"]

T = EventType
AT_ONCE = 500
"""Counters that are asked for in one go: their owner does nothing else meanwhile, some ten milliseconds for a month."""
GIVEN_UP_BY = "hold"
"""Who ends what was held and could not be delivered in time: the remote side has said nothing of it."""
_LATER = frozenset({T.OPEN, T.CLICK, T.UNSUBSCRIBE, T.SPAM, T.SPAMTRAP, T.BOUNCE_SOFT, T.BOUNCE_HARD})
"""What comes as an event and was told by no result. (Mail that was refused at RCPT has none: its block counts, too.)"""


class Usage(Plugin):
    """How many recipients each account has, and what becomes of them."""

    def __init__(self, config: object, mta: Mta) -> None:
        super().__init__(config, mta)
        self._meter = Meter(mta.state, mta.clock)
        self._unfollow: Callable[[], None] | None = None

    async def start(self) -> None:
        self._unfollow = self.mta.state.counters.follow(CHARGED, self._heard)

    async def stop(self) -> None:
        self._follow_no_more()

    def adopt(self, old: "Usage") -> None:
        """What is known of this month goes on."""
        old._follow_no_more()
        self._meter = old._meter

    def _follow_no_more(self) -> None:
        unfollow, self._unfollow = self._unfollow, None
        if unfollow is not None:
            unfollow()

    def _heard(self, amounts: Mapping[Counter, int]) -> None:
        self._meter.heard(amounts)

    def answers(self) -> Mapping[type[Question[Any]], Callable[[Any], Awaitable[Any]]]:
        return {AccountUsage: self._usage, MonthlyUsage: self._month}

    # What is counted

    @hookimpl
    async def on_data(self, envelope: Envelope) -> None:
        """A message was taken in, for so many recipients."""
        if (account := self._account(envelope)) is not None:
            stream, recipients = self._stream(account, envelope.stream), len(envelope.recipients)
            await self._meter.count(account, stream, T.REQUEST, recipients)

    @hookimpl
    async def on_result(self, delivery: Delivery, result: Result) -> None:
        """One recipient's attempt has ended; it is charged if the remote side has said its last word."""
        envelope = delivery.envelope
        if (account := self._account(envelope)) is not None:
            kind = event_type(result)
            is_charged = result.by != GIVEN_UP_BY and (
                kind in (T.DELIVERED, T.BOUNCE_SOFT, T.BOUNCE_HARD)
                or (kind is T.BLOCK_HARD and result.remote is not None)
            )
            await self._meter.count(account, self._stream(account, envelope.stream), kind, 1, is_charged)

    @hookimpl
    async def on_event(self, event: Event) -> None:
        account, data = event.account, event.data
        if account is None or account not in self.mta.accounts or "unreported" in data:
            return
        if event.type in _LATER or ("by" in data and event.type in (T.BLOCK_SOFT, T.BLOCK_HARD)):
            await self._meter.count(account, self._stream(account, data.get("stream")), event.type)

    def _account(self, envelope: Envelope) -> str | None:
        """Whose mail it is; a report is nobody's, and names that no file has would be counted for ever."""
        is_known = envelope.account in self.mta.accounts and envelope.session.protocol != "DSN"
        return envelope.account if is_known else None

    def _stream(self, account: str, stream: object) -> str:
        is_known = isinstance(stream, str) and stream in self.mta.accounts[account].streams
        return str(stream) if is_known else ""

    # What is asked

    async def _month(self, question: MonthlyUsage) -> int:
        names = [question.account]
        if question.with_sub_accounts:
            names += self.mta.accounts.below(question.account)
        return sum([await self._meter.charged(name) for name in names])

    async def _usage(self, question: AccountUsage) -> Mapping[date, Mapping[str, int]]:
        counters = [Counter(name, question.account, question.stream) for name in COUNTED.values()]
        found = await self._by_day(counters, days_of(question.since, question.until, self._now()))
        kinds = [kind.value for kind in COUNTED]
        tables = {day: dict(zip(kinds, counts, strict=True)) for day, counts in found.items()}
        kept = {day: {kind: count for kind, count in table.items() if count} for day, table in tables.items()}
        return {day: table for day, table in kept.items() if table}

    async def _by_day(self, counters: Sequence[Counter], days: Sequence[date]) -> Mapping[date, Sequence[int]]:
        """What each counted on each of these days."""
        return {day: await self._between(counters, day, day) for day in days}

    async def _between(self, counters: Sequence[Counter], first: date, last: date) -> Sequence[int]:
        """What each counted from the one day to the other, both included."""
        begin, end, now = midnight(first), midnight(after(last)), self._now()
        if begin > now:
            return [0] * len(counters)
        sums: list[int] = []
        for at in range(0, len(counters), AT_ONCE):
            part = counters[at : at + AT_ONCE]
            sums += await self.mta.state.counters.sums(part, begin, end if end <= now else None)
        return sums

    def _now(self) -> datetime:
        return self.mta.clock.now().astimezone(UTC)

    # Commands

    @command
    async def months(
        self, *, month: str | None = None, account: str | None = None, by_day: bool = False
    ) -> Sequence[Mapping[str, Any]]:
        """Every account's recipients of a month: its own, those of each stream, and those of its sub-accounts with it.

        ``month`` Which one, as in 2026-11. Without: this one.
        ``account`` This account and those below it. Without: all.
        ``by_day`` Each day by itself.
        """
        try:
            first = month_of(month, self._now())
        except ValueError as error:
            raise CommandError(str(error)) from None
        if account is not None and account not in self.mta.accounts:
            raise CommandError("there is no such account in conf/accounts.toml")
        named = sorted(self.mta.accounts) if account is None else [account, *sorted(self.mta.accounts.below(account))]
        scopes = [(name, stream) for name in named for stream in ("", *sorted(self.mta.accounts[name].streams))]
        names = (CHARGED, *COUNTED.values())
        counters = [Counter(name, *scope) for scope in scopes for name in names]
        begin, end = whole_month(first)
        if by_day:
            found = await self._by_day(counters, days_of_month(first, self._now()))
        else:
            found = {first: await self._between(counters, begin, end)}
        rows: list[Mapping[str, Any]] = []
        for day, counts in found.items():
            period = {"day": day.isoformat()} if by_day else {"month": f"{first:%Y-%m}"}
            size = len(names)
            table = {scope: counts[at * size : (at + 1) * size] for at, scope in enumerate(scopes)}
            rows += [{**period, **row} for row in rows_of(table, self.mta.accounts, named)]
        return rows

    @command
    async def last(self) -> Mapping[str, str]:
        """The day on which each account last had anything; accounts without are left out."""
        return {name: day.isoformat() for name, day in self._meter.last_days(self.mta.accounts).items()}
