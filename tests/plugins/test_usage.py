"""What is metered: recipients by account, stream, day and outcome, charged once, alike in every process."""

import asyncio
from datetime import UTC, date, datetime
from typing import Any

import pytest

from mtaframe import (
    AccountUsage,
    CommandError,
    EventType,
    MonthlyUsage,
    Outcome,
    Plugin,
    Reply,
)
from mtaframe.state import MemoryState
from mtaframe.state.commands import answer
from mtaframe.storage import State
from mtaframe.testing import RecordingMta, VirtualClock, account, delivery, envelope, event, result, session
from mtaframe_plugins.usage import Usage
from tests.core.state_server import serving
from tests.plugins.shared_state import views

E = EventType
TODAY = date(2026, 3, 1)
DELIVERED = result(Outcome.DELIVERED)
LATER = result(Outcome.DEFERRED)
BOUNCED = result(Outcome.FAILED, reply=Reply(550, "5.1.1", "no such user"), remote="mx.example.net")
FULL = result(Outcome.FAILED, reply=Reply(552, "5.2.2", "full"), remote="mx.example.net")
BLOCKED = result(Outcome.FAILED, reply=Reply(550, "5.7.1", "blocked"), remote="mx.example.net")
STOPPED = result(Outcome.FAILED, reply=Reply(550, "5.7.1", "no"), by="spam_filter")


class Meter:
    """The plugin in one process: a family of three, one of which keeps streams apart."""

    def __init__(self, clock: VirtualClock | None = None, state: State | None = None) -> None:
        self.clock = clock or VirtualClock()
        accounts = [
            account("group", quota=100),
            account("shop", parent="group", streams=frozenset({"news", "receipts"})),
            account("club", parent="group"),
            account("other"),
        ]
        self.mta = RecordingMta(clock=self.clock, accounts=accounts, state=state)
        self.plugin = Usage(Usage.Config(), self.mta)

    async def tell(self, *results: Any, name: str | None = "shop", **changes: Any) -> None:
        for one in results:
            await self.plugin.on_result(delivery(envelope=envelope(account=name, **changes)), one)

    async def usage(self, name: str = "shop", since: date = TODAY, until: date = TODAY, stream: str = "") -> Any:
        return await self.plugin.answers()[AccountUsage](AccountUsage(name, since, until, stream))

    async def month(self, name: str = "shop", with_sub_accounts: bool = False) -> int:
        answer: int = await self.plugin.answers()[MonthlyUsage](MonthlyUsage(name, with_sub_accounts))
        return answer

    async def rows(self, **options: Any) -> list[dict[str, Any]]:
        rows = await self.plugin.months(**options)
        return [{key: value for key, value in row.items() if value not in (0, "", None)} for row in rows]


async def test_one_message_to_a_hundred_recipients_is_a_hundred() -> None:
    meter = Meter()
    mail = envelope([f"r{number}@example.net" for number in range(100)], account="shop")
    await meter.plugin.on_data(mail)
    for to in mail.recipients:
        await meter.plugin.on_result(delivery(to, envelope=mail), DELIVERED)
    assert await meter.usage() == {TODAY: {"request": 100, "delivered": 100}}
    assert await meter.month() == 100


@pytest.mark.parametrize(
    ("ended", "kind", "charged"),
    [
        (DELIVERED, "delivered", 1),
        (LATER, "deferred", 0),
        (BOUNCED, "bounce_hard", 1),
        (FULL, "bounce_soft", 1),
        (BLOCKED, "block_hard", 1),
        (STOPPED, "block_hard", 0),
        (result(Outcome.FAILED, reply=Reply(554, "5.4.7", "given up"), by="hold"), "bounce_soft", 0),
        (result(Outcome.DISCARDED, by="spam_filter"), "block_hard", 0),
    ],
)
async def test_charged_is_what_the_remote_side_has_decided(ended: Any, kind: str, charged: int) -> None:
    meter = Meter()
    assert await meter.month() == 0
    await meter.tell(ended)
    assert await meter.usage() == {TODAY: {kind: 1}}
    assert await meter.month() == charged


async def test_a_repeat_of_deferred_mail_is_charged_once() -> None:
    meter = Meter()
    await meter.tell(LATER, LATER, LATER, DELIVERED)
    assert (await meter.usage(), await meter.month()) == ({TODAY: {"deferred": 3, "delivered": 1}}, 1)


async def test_streams_are_counted_beside_their_account() -> None:
    meter = Meter()
    await meter.tell(DELIVERED, stream="news")
    await meter.tell(DELIVERED, stream="receipts")
    await meter.tell(DELIVERED)
    await meter.tell(DELIVERED, stream="invented")
    assert await meter.usage() == {TODAY: {"delivered": 4}}
    assert await meter.usage(stream="news") == {TODAY: {"delivered": 1}}


@pytest.mark.parametrize(
    ("kind", "data", "counted"),
    [
        (E.OPEN, {}, True),
        (E.CLICK, {"stream": "news"}, True),
        (E.UNSUBSCRIBE, {"stream": "invented"}, True),
        (E.SPAM, {"stream": 7}, True),
        (E.BOUNCE_HARD, {}, True),
        (E.BOUNCE_HARD, {"unreported": "not wanted"}, False),
        (E.BLOCK_HARD, {"by": "admission"}, True),
        (E.BLOCK_HARD, {}, False),
        (E.REQUEST, {}, False),
        (E.ACCOUNT_WARNED, {}, False),
    ],
)
async def test_what_becomes_known_later_is_counted_and_never_charged(kind: E, data: Any, counted: bool) -> None:
    meter = Meter()
    await meter.plugin.on_event(event(kind, account="shop", data=data))
    assert await meter.usage() == ({TODAY: {kind.value: 1}} if counted else {})
    assert await meter.usage(stream="news") == ({TODAY: {"click": 1}} if kind is E.CLICK else {})
    assert await meter.month() == 0


async def test_nobodys_mail_reports_and_unknown_accounts_are_not_counted() -> None:
    meter = Meter()
    for name, client in [(None, session()), ("gone", session()), ("shop", session(protocol="DSN"))]:
        await meter.tell(DELIVERED, name=name, session=client)
        await meter.plugin.on_data(envelope(account=name, session=client))
    await meter.plugin.on_event(event(E.OPEN, account="gone"))
    assert [await meter.month(name) for name in ("shop", "gone")] == [0, 0]
    assert [await meter.usage(name) for name in ("shop", "gone")] == [{}, {}]


async def test_a_day_is_one_in_utc_and_days_without_anything_are_left_out() -> None:
    meter = Meter(VirtualClock(datetime(2026, 2, 27, 23, 59, tzinfo=UTC)))
    await meter.tell(DELIVERED)
    meter.clock.advance(60)
    await meter.tell(DELIVERED, BOUNCED)
    meter.clock.advance(2 * 86400)
    await meter.tell(DELIVERED)
    assert await meter.usage(since=date(2026, 2, 1), until=date(2030, 1, 1)) == {
        date(2026, 2, 27): {"delivered": 1},
        date(2026, 2, 28): {"delivered": 1, "bounce_hard": 1},
        date(2026, 3, 2): {"delivered": 1},
    }
    assert await meter.usage(since=date(2026, 2, 28), until=date(2026, 3, 1)) == {
        date(2026, 2, 28): {"delivered": 1, "bounce_hard": 1}
    }
    assert await meter.usage(since=date(2026, 3, 2), until=date(2026, 3, 1)) == {}
    assert await meter.usage(since=date(1, 1, 1), until=date(2026, 2, 27)) == {date(2026, 2, 27): {"delivered": 1}}


async def test_what_is_counted_while_a_past_month_is_read_is_none_of_it() -> None:
    clock = VirtualClock(datetime(2026, 2, 28, 23, tzinfo=UTC))
    one, other = (Meter(clock, state) for state in views(clock))
    await one.tell(DELIVERED)
    clock.advance(86400)

    async def busy() -> None:
        while True:
            await other.tell(DELIVERED)

    mail = asyncio.create_task(busy())
    for _ in range(9):
        assert [row["charged"] for row in await one.rows(month="2026-02", account="shop")] == [1]
        assert await one.usage(since=date(2026, 2, 1), until=date(2026, 2, 28)) == {date(2026, 2, 28): {"delivered": 1}}
    mail.cancel()


async def test_a_month_begins_at_nothing() -> None:
    meter = Meter(VirtualClock(datetime(2026, 2, 28, 23, tzinfo=UTC)))
    await meter.tell(DELIVERED, DELIVERED)
    assert await meter.month() == 2
    meter.clock.advance(3600)
    assert await meter.month() == 0
    await meter.tell(DELIVERED)
    assert await meter.month() == 1
    assert [row["charged"] for row in await meter.rows(month="2026-02", account="shop")] == [2]


async def test_a_family_is_charged_together_where_that_is_asked() -> None:
    meter = Meter()
    for name, count in [("group", 1), ("shop", 2), ("club", 4), ("other", 8)]:
        await meter.tell(*[DELIVERED] * count, name=name)
    assert [await meter.month("group"), await meter.month("group", True), await meter.month("club", True)] == [1, 7, 4]


async def test_every_process_knows_what_the_others_charge() -> None:
    clock = VirtualClock()
    one, other = (Meter(clock, state) for state in views(clock))
    for meter in (one, other):
        await meter.plugin.start()
    await one.tell(DELIVERED)
    assert [await one.month(), await other.month()] == [1, 1]
    await one.tell(DELIVERED, stream="news")
    await other.tell(DELIVERED)
    assert [await one.month(), await other.month()] == [3, 3]
    assert await one.usage() == await other.usage() == {TODAY: {"delivered": 3}}


async def test_a_reload_keeps_this_month_and_hears_of_others_once() -> None:
    clock = VirtualClock()
    one, other = (Meter(clock, state) for state in views(clock))
    await one.plugin.start()
    assert await one.month() == 0
    after = Usage(Usage.Config(), one.mta)
    await after.start()
    await other.tell(DELIVERED)
    after.adopt(one.plugin)
    await other.tell(DELIVERED)
    await one.plugin.stop()
    assert await after.answers()[MonthlyUsage](MonthlyUsage("shop")) == 2
    await after.stop()
    await other.tell(DELIVERED)
    assert await after.answers()[MonthlyUsage](MonthlyUsage("shop")) == 2, "who has stopped hears no more"


async def test_the_command_shows_accounts_streams_and_families() -> None:
    meter = Meter()
    await meter.tell(DELIVERED, BOUNCED, stream="news")
    await meter.tell(LATER, name="club")
    await meter.plugin.on_data(envelope(account="other"))
    family = {"month": "2026-03", "account": "group", "of": "family", "charged": 2, "delivered": 1, "deferred": 1}
    shop = {"month": "2026-03", "account": "shop", "parent": "group", "charged": 2, "delivered": 1, "bounce_hard": 1}
    assert await meter.rows() == [
        {"month": "2026-03", "account": "club", "parent": "group", "of": "account", "deferred": 1},
        family | {"bounce_hard": 1, "quota": 100},
        {"month": "2026-03", "account": "other", "of": "account", "request": 1},
        shop | {"of": "account"},
        shop | {"of": "stream", "stream": "news"},
    ]
    assert [row["account"] for row in await meter.rows(account="shop")] == ["shop", "shop"]
    meter.clock.advance(86400)
    await meter.tell(DELIVERED, name="other")
    days = [(row["day"], row["account"], row.get("charged")) for row in await meter.rows(account="other", by_day=True)]
    assert days == [("2026-03-01", "other", None), ("2026-03-02", "other", 1)]


async def test_each_day_of_a_month_is_shown_for_as_long_as_the_month_is() -> None:
    clock = VirtualClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    meter = Meter(clock, MemoryState(clock, 400 * 86400))
    await meter.tell(DELIVERED, name="other")
    clock.advance(120 * 86400)
    [row] = await meter.rows(month="2026-03")
    assert [row["charged"]] == [day["charged"] for day in await meter.rows(month="2026-03", by_day=True)] == [1]


@pytest.mark.parametrize(
    "options", [{"month": "november"}, {"month": "2026-13"}, {"month": "9999-12"}, {"account": "nobody"}]
)
async def test_the_command_says_what_is_wrong(options: dict[str, str]) -> None:
    with pytest.raises(CommandError, match=r"a month is written as 2026-11|there is no such account"):
        await Meter().plugin.months(**options)


async def test_an_account_that_was_purged_begins_at_nothing_everywhere() -> None:
    async with serving(2) as (server, workers):
        one, other = (Meter(server.clock, worker) for worker in workers)
        for meter in (one, other):
            await meter.plugin.start()
        await one.tell(DELIVERED, DELIVERED)
        assert [await one.month(), await other.month("club")] == [2, 0]
        await answer(server.state, "state.purge", {"account": "shop"}, server.desk.change)
        assert [await one.month(), await other.month()] == [0, 0]
        await one.tell(DELIVERED)
        await server.quiet()
        assert [await one.month(), await other.month()] == [1, 1]
        assert await other.plugin.last() == {"shop": server.clock.now().date().isoformat()}


async def test_the_last_day_of_an_account_is_known_for_good() -> None:
    meter = Meter()
    await meter.tell(DELIVERED)
    meter.clock.advance(400 * 86400)
    await meter.tell(LATER, name="club")
    assert await Meter(meter.clock, meter.mta.state).plugin.last() == {"shop": "2026-03-01", "club": "2027-04-05"}


def test_what_it_answers_is_what_is_asked() -> None:
    assert set(Meter().plugin.answers()) == {AccountUsage, MonthlyUsage}
    assert isinstance(Meter().plugin, Plugin)
    assert (AccountUsage("shop", TODAY, TODAY).default, MonthlyUsage("shop").default) == ({}, 0)
