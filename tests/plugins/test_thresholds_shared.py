"""Two processes, one state: limits are never passed together, accounts stand alike everywhere, and one tells of it."""

import asyncio
import logging
import random
from typing import Any

import pytest

from mtaframe import EventType, Standing
from mtaframe.testing import RecordingMta, VirtualClock, account, delivery, envelope, recipient, result
from mtaframe_plugins.thresholds import Thresholds
from mtaframe_plugins.thresholds.ladder import COUNTED, LIMITED, SUSPENDED, Rule
from mtaframe_plugins.thresholds.standing import cause_of, packed, step_of
from tests.plugins.shared_state import views
from tests.plugins.test_thresholds import BOUNCED, BOUNCES, DAY, DELIVERED, SHIPPED, Trial

E = EventType
POLICY = {"policy": [BOUNCES]}


class Process(Trial):
    """The plugin in one process of a server."""

    def __init__(self, state: Any, clock: VirtualClock, config: dict[str, Any]) -> None:
        self.clock = clock
        accounts = [account(name, streams=frozenset({"news"})) for name in ("shop", "other")]
        self.mta = RecordingMta(clock=clock, accounts=accounts, state=state)
        self.plugin = self.built(config)

    async def settled(self) -> None:
        while self.plugin._judging:
            await asyncio.gather(*self.plugin._judging)


class Server:
    """Two processes with one state."""

    def __init__(self, **config: Any) -> None:
        self.clock = VirtualClock()
        self.states = views(self.clock)
        self.one, self.other = (Process(state, self.clock, config) for state in self.states)
        self.both = (self.one, self.other)

    async def start(self) -> "Server":
        for process in self.both:
            await process.plugin.start()
        return self

    async def tell(self, *outcomes: Any) -> None:
        """Results of mail of shop's, each in one of the processes by turns."""
        for number, outcome in enumerate(outcomes):
            await self.both[number % 2].tell(outcome)
        await self.settled()

    async def settled(self) -> None:
        await self.one.settled()
        await self.other.settled()

    async def standings(self, name: str = "shop") -> list[Standing]:
        return [await process.standing(name) for process in self.both]

    def told(self) -> list[EventType]:
        return [event.type for process in self.both for event in process.mta.events]

    async def alike(self, command: str, *words: str) -> Any:
        first, second = [await getattr(process.plugin, command)(*words) for process in self.both]
        assert first == second
        return first


async def test_two_processes_together_never_pass_a_limit() -> None:
    server = await Server(limit=[{"per_hour": 101, "per_day": 150}]).start()
    for allowed in (101, 49, 0):
        answers = await asyncio.gather(*(process.rcpt() for _ in range(200) for process in server.both))
        assert answers.count("") == allowed
        server.clock.advance(3600)


async def test_what_the_stream_has_no_room_for_is_given_back_to_the_account() -> None:
    server = await Server(limit=[{"streams": ["news"], "per_hour": 5}, {"per_hour": 9}]).start()
    news = envelope(["a@example.net", "b@example.net"], account="shop", stream="news")
    answers = await asyncio.gather(*(process.plugin.on_data(news) for _ in range(10) for process in server.both))
    taken = [answer for answer in answers if not hasattr(answer, "reply")]
    assert len(taken) == 2
    assert {answer.reply.line.partition(";")[0] for answer in answers if hasattr(answer, "reply")} <= {
        "451 4.7.1 at most 5 recipients an hour",
        "451 4.7.1 at most 9 recipients an hour",
    }
    assert [await server.both[number % 2].rcpt() for number in range(6)].count("") == 5
    rows = {row["what"]: row["figure"] for row in await server.alike("explain", "shop")}
    assert (rows["recipients an hour"], rows["recipients of news an hour"]) == ("9", "4")


async def test_a_place_that_one_process_took_can_be_given_back_by_another() -> None:
    server = await Server(limit=[{"per_hour": 1}]).start()
    joined = await server.one.plugin.on_rcpt(envelope([], account="shop"), recipient())
    assert await server.other.rcpt() != ""
    later = result(by="thresholds", route=None)
    await server.other.plugin.on_result(delivery(joined, envelope=envelope([joined], account="shop")), later)
    assert [await server.one.rcpt(), await server.other.rcpt() != ""] == ["", True]


async def test_an_account_is_judged_by_what_all_processes_count_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each process alone has seen too little to say anything."""
    caplog.set_level(logging.INFO, "mtaframe.thresholds")
    server = await Server(**POLICY).start()
    await server.tell(*[DELIVERED] * 150, *[BOUNCED] * 8)
    assert await server.standings() == [Standing.LIMITED] * 2, "8 of 158"
    assert server.told() == [E.ACCOUNT_WARNED, E.ACCOUNT_LIMITED]
    assert len(caplog.records) == 2
    for process in server.both:
        answers = [await process.rcpt() for _ in range(60)]
        assert answers.count("") == (60 if process is server.one else 40), "a hundred an hour for both"
    assert answers[-1].startswith("451 4.7.1 account limited: bounces 5.06 % (at most 5 % in 7d): at most 100 ")
    [row] = await server.alike("show")
    assert (row["sent"], row["bounces"], row["standing"]) == (158, "5.06 %", "limited")


async def test_a_standing_is_the_same_everywhere_and_so_are_its_words() -> None:
    server = await Server(**POLICY).start()
    await server.tell(*[DELIVERED] * 90, *[BOUNCED] * 11)
    suspended = "550 5.7.1 account suspended: bounces 10.89 % (at most 5 % in 7d)"
    assert [await process.rcpt() for process in server.both] == [suspended] * 2
    assert server.told().count(E.ACCOUNT_SUSPENDED) == 1
    [why, *_] = await server.alike("explain", "shop")
    assert why["figure"] == "bounces 10.89 % (at most 5 % in 7d)"
    server.clock.advance(30 * DAY)
    newcomer = Process(server.states[1], server.clock, POLICY)
    assert [await process.rcpt() for process in (*server.both, newcomer)] == [suspended] * 3


async def test_resume_and_suspend_hold_everywhere_at_once() -> None:
    server = await Server(**POLICY).start()
    await server.tell(*[BOUNCED] * 100)
    assert await server.standings() == [Standing.SUSPENDED] * 2
    await server.one.plugin.resume("shop")
    await server.settled()
    assert await server.standings() == [Standing.GOOD] * 2
    assert await server.alike("show") == []
    await server.tell(*[DELIVERED] * 95, *[BOUNCED] * 4)
    assert await server.standings() == [Standing.GOOD] * 2, "the hundred from before do not count in either"
    await server.other.plugin.suspend("shop")
    assert [await process.rcpt() for process in server.both] == ["550 5.7.1 account suspended"] * 2
    [why, *_] = await server.alike("explain", "shop")
    assert why["figure"].startswith("by the operator")
    assert server.told().count(E.ACCOUNT_RESUMED) == 1
    assert [event.data["by"] for event in server.other.mta.events][-1] == "operator"


async def test_suspend_holds_also_where_figures_move_the_account_at_the_same_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = await Server(**POLICY).start()
    registers = server.states[0].registers
    change = registers.change

    async def slow(register: Any, before: int, after: int) -> bool:
        monkeypatch.setattr(registers, "change", change)
        await server.other.tell(DELIVERED, 95)
        await server.other.tell(BOUNCED, 5)
        return await change(register, before, after)

    monkeypatch.setattr(registers, "change", slow)
    assert await server.one.plugin.suspend("shop") == "shop is suspended"
    assert await server.standings() == [Standing.SUSPENDED] * 2


async def test_a_step_is_left_below_the_lower_mark_only_whichever_process_looks() -> None:
    """Between the two marks each process would say something else, if it went by what itself has seen."""
    server = await Server(**POLICY).start()
    await server.tell(*[DELIVERED] * 949, *[BOUNCED] * 51)
    before = len(server.told())
    newcomer = Process(server.states[0], server.clock, POLICY)
    for _ in range(36):
        await server.tell(*[DELIVERED] * 10)
        assert await newcomer.standing() is Standing.LIMITED
        assert await server.standings() == [Standing.LIMITED] * 2
    assert len(server.told()) == before, "51 of 1360: nobody went to and fro"
    await server.tell(DELIVERED)
    assert await server.standings() == [Standing.WARNED] * 2
    assert len(server.told()) == before + 1


async def test_however_two_processes_take_turns_they_end_where_one_would() -> None:
    for seed in range(5):
        luck = random.Random(seed)
        server, alone = await Server(**SHIPPED).start(), Trial(**SHIPPED)
        outcomes = luck.choices([DELIVERED, BOUNCED], [94, 6], k=400)
        for start in range(0, 400, 20):
            some = outcomes[start : start + 20]
            await asyncio.gather(*(luck.choice(server.both).tell(outcome) for outcome in some))
            for outcome in some:
                await alone.tell(outcome)
            await server.settled()
        [row], [expected] = await server.alike("show"), await alone.plugin.show()
        figures = ("sent", "bounces", "blocks")
        assert [row[name] for name in figures] == [expected[name] for name in figures]
        assert len(set(await server.standings())) == 1
        ups = [E.ACCOUNT_WARNED, E.ACCOUNT_LIMITED, E.ACCOUNT_SUSPENDED]
        assert all(server.told().count(kind) <= server.told().count(E.ACCOUNT_RESUMED) + 1 for kind in ups)


@pytest.mark.parametrize("turns", range(8))
async def test_what_others_count_while_the_figures_are_read_counts_once(turns: int) -> None:
    server = await Server(**SHIPPED).start()
    await server.tell(*[DELIVERED] * 10)
    server.clock.advance(3600)
    await server.other.standing()
    reading = asyncio.create_task(server.one.standing())
    for _ in range(turns):
        await asyncio.sleep(0)
    await server.other.tell(DELIVERED, 5)
    await reading
    await server.settled()
    book = server.one.plugin._books.current("shop")
    assert book is not None
    assert {hours: tally[0] for hours, tally in book.tallies.items()} == {168: 15, 24: 15}


async def test_a_reload_hears_others_once_and_the_end_hears_no_more() -> None:
    server = await Server(**POLICY).start()
    followers = server.states[0].counters.followers
    await server.one.standing()
    old = server.one.plugin
    new = server.one.built(POLICY)
    await new.start()
    new.adopt(old)
    server.one.plugin = new
    await old.stop()
    assert len(followers) == 1
    await server.other.tell(DELIVERED, 7)
    [row] = await new.show()
    assert row["sent"] == 7
    await new.stop()
    assert followers == {}


def test_a_step_and_its_cause_are_one_integer_that_a_database_can_hold() -> None:
    config = Thresholds.Config.model_validate(SHIPPED)
    rules = [Rule(row, config) for row in config.policy]
    tally = [2000, 1999, 201, 700, 0, 43, 9, 3]
    tallies = dict.fromkeys((rule.hours for rule in rules), tally)
    assert len(tally) == len(COUNTED)
    for rule in rules:
        found = rule.finding(tallies)
        value = packed(SUSPENDED, found)
        assert 0 < value < 2**63
        again = cause_of(value, rules)
        assert again is not None
        assert (step_of(value), again.words) == (SUSPENDED, found.words)
        assert cause_of(value, [other for other in rules if other is not rule]) is None, "that rule is no more"
    assert (step_of(packed(LIMITED)), cause_of(packed(LIMITED), rules)) == (LIMITED, None)


def test_a_cause_never_looks_as_if_it_were_within_its_limit() -> None:
    config = Thresholds.Config.model_validate(POLICY | {"suspend_at": "100 %"})
    [rule] = [Rule(row, config) for row in config.policy]
    just_above = rule.found(50_000_001, 1_000_000_000)
    again = cause_of(packed(SUSPENDED, just_above), [rule])
    assert again is not None
    assert again.figure > again.limit
