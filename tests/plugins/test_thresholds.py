"""The ladder on one account's figures: each mark at its own number, worked out here a second time, by hand."""

import logging
import random
import time
import tomllib
from fractions import Fraction
from typing import Any

import pytest
from pydantic import ValidationError

from mtaframe import AccountStanding, CommandError, EventType, Outcome, Standing
from mtaframe.state.commands import answer
from mtaframe.testing import (
    RecordingMta,
    VirtualClock,
    account,
    address,
    delivery,
    envelope,
    event,
    reply,
    result,
    session,
)
from mtaframe_plugins.thresholds import Thresholds
from tests.conftest import ROOT

SHIPPED = tomllib.loads((ROOT / "conf" / "thresholds.toml").read_text())
BOUNCES = {"name": "bounces", "of": "bounce", "at_most": "5 %", "against": "sent"}
DAY = 86400

DELIVERED = result()
BOUNCED = result(Outcome.FAILED)
FULL = result(Outcome.FAILED, reply=reply("552 5.2.2 mailbox full"), remote="mx.example.net")
BLOCKED = result(Outcome.FAILED, reply=reply("550 5.7.1 blocked"), remote="mx.example.net")
LATER = result(Outcome.DEFERRED)
GIVEN_UP = result(Outcome.FAILED, reply=reply("554 5.4.7 given up"), by="hold", route=None)
E = EventType


class Trial:
    """The plugin alone, for the accounts shop and other."""

    def __init__(self, **config: Any) -> None:
        self.clock = VirtualClock()
        streams = frozenset({"news", "receipts"})
        self.mta = RecordingMta(
            clock=self.clock, accounts=[account("shop", streams=streams), account("other", streams=streams)]
        )
        self.plugin = self.built(config)

    def built(self, config: dict[str, Any]) -> Thresholds:
        return Thresholds(Thresholds.Config.model_validate(config), self.mta)

    def reload(self, **config: Any) -> None:
        after = self.built(config)
        after.adopt(self.plugin)
        self.plugin = after

    async def tell(self, outcome: Any, count: int = 1, name: str | None = "shop", **changes: Any) -> None:
        copy = delivery(envelope=envelope(account=name, **changes))
        for _ in range(count):
            await self.plugin.on_result(copy, outcome)

    async def happens(self, kind: EventType, count: int = 1, name: str = "shop", **data: Any) -> None:
        for _ in range(count):
            await self.plugin.on_event(event(kind, account=name, data=data))

    async def standing(self, name: str = "shop") -> Standing:
        answer: Standing = await self.plugin.answers()[AccountStanding](AccountStanding(name))
        return answer

    async def rcpt(self, name: str | None = "shop", **changes: Any) -> str:
        """The reply to one more recipient; empty if it joins."""
        mail = envelope([], account=name, **changes)
        answer = await self.plugin.on_rcpt(mail, envelope().recipients[0])
        return answer.reply.line if hasattr(answer, "reply") else ""

    def told(self) -> list[EventType]:
        return [one.type for one in self.mta.events]


async def test_ten_thousand_messages_with_a_bounce_rate_that_climbs() -> None:
    """The plugin is asked after each message; the second reckoning is this loop's own."""
    trial, luck = Trial(**SHIPPED), random.Random(7)
    sent = bounced = 0
    mine, seen = Standing.GOOD, {}
    for number in range(1, 10_001):
        bounces = luck.random() < 0.5 * (number / 10_000) ** 1.5
        sent, bounced = sent + 1, bounced + bounces
        await trial.tell(BOUNCED if bounces else DELIVERED)
        if number % 2:
            await trial.tell(DELIVERED, name="other")
        rate = Fraction(bounced, sent)
        if sent >= 100 and bounced >= 5:
            if mine is Standing.SUSPENDED or rate > Fraction(10, 100):
                mine = Standing.SUSPENDED
            elif rate > Fraction(5, 100) or (mine is Standing.LIMITED and rate >= Fraction(375, 10_000)):
                mine = Standing.LIMITED
            elif rate >= Fraction(4, 100) or (mine is not Standing.GOOD and rate >= Fraction(3, 100)):
                mine = Standing.WARNED
            else:
                mine = Standing.GOOD
        if mine not in seen:
            seen[mine] = (number, bounced)
            if mine is not Standing.GOOD:
                told = trial.mta.events[-1]
                assert (told.type.value, told.account) == (f"account_{mine.value}", "shop")
                assert (told.data["count"], told.data["volume"], told.data["limit"]) == (bounced, sent, 5.0)
                assert told.data["figure"] == round(100 * bounced / sent, 4)
        assert await trial.standing() is mine, number
    assert list(seen) == [Standing.GOOD, Standing.WARNED, Standing.LIMITED, Standing.SUSPENDED]
    assert trial.told() == [E.ACCOUNT_WARNED, E.ACCOUNT_LIMITED, E.ACCOUNT_SUSPENDED]
    number, bounced = seen[Standing.SUSPENDED]
    assert 1000 < seen[Standing.WARNED][0] < seen[Standing.LIMITED][0] < number < 9000
    share = f"{100 * bounced / number:.2f}".rstrip("0").rstrip(".")
    assert await trial.rcpt() == f"550 5.7.1 account suspended: bounces {share} % (at most 5 % in 7d)"
    assert await trial.standing("other") is Standing.GOOD
    assert await trial.rcpt("other") == ""
    assert {told.account for told in trial.mta.events} == {"shop"}


async def test_one_bounce_out_of_thirteen_does_nothing() -> None:
    trial = Trial(**SHIPPED)
    await trial.tell(DELIVERED, 12)
    await trial.tell(BOUNCED)
    assert (await trial.standing(), trial.told(), await trial.rcpt()) == (Standing.GOOD, [], "")


async def test_a_shadow_run_changes_nothing_and_logs_what_would_be(caplog: pytest.LogCaptureFixture) -> None:
    trial = Trial(**(SHIPPED | {"mode": "shadow", "limit": [{"per_hour": 2}]}))
    with caplog.at_level(logging.INFO, "mtaframe.thresholds"):
        await trial.tell(BOUNCED, 200)
        assert [await trial.rcpt() for _ in range(5)] == [""] * 5
    assert (await trial.standing(), trial.told()) == (Standing.GOOD, [])
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "account suspended account=shop before=good by=figures reason=bounces 100 % (at most 5 % in 7d) mode=shadow",
        "over the limit account=shop stream=- limit=at most 2 recipients an hour mode=shadow",
    ]
    [row] = await trial.plugin.show()
    assert (row["account"], row["standing"], row["sent"]) == ("shop", "suspended", 200)
    with pytest.raises(CommandError, match="shadow"):
        await trial.plugin.suspend("other")


async def test_a_shadow_run_leaves_nothing_behind_for_the_real_one() -> None:
    trial = Trial(policy=[BOUNCES], mode="shadow")
    await trial.tell(BOUNCED, 100)
    trial.clock.advance(8 * DAY)
    trial.reload(policy=[BOUNCES])
    assert await trial.standing() is Standing.GOOD


async def test_resume_begins_again_at_nothing() -> None:
    trial = Trial(**SHIPPED)
    await trial.tell(BOUNCED, 100)
    assert (await trial.rcpt()).startswith("550 5.7.1 account suspended: bounces 100 % ")
    trial.clock.advance(30 * DAY)
    assert (await trial.rcpt()).startswith("550 5.7.1 account suspended: bounces 100 % "), "time alone lifts nothing"
    assert await trial.plugin.resume("shop") == "shop stands good; counting begins again"
    assert (trial.told()[-1], trial.mta.events[-1].data["by"]) == (E.ACCOUNT_RESUMED, "operator")
    assert (await trial.rcpt(), await trial.standing(), await trial.plugin.show()) == ("", Standing.GOOD, [])
    await trial.tell(BOUNCED, 4)
    await trial.tell(DELIVERED, 96)
    assert await trial.standing() is Standing.GOOD, "4 % of the new hundred, but fewer than five events"
    await trial.tell(BOUNCED)
    assert await trial.standing() is Standing.WARNED
    with pytest.raises(CommandError, match="no such account"):
        await trial.plugin.resume("shpo")


async def test_an_account_that_was_purged_begins_at_nothing() -> None:
    trial = Trial(policy=[BOUNCES])
    await trial.tell(DELIVERED, 80)
    await trial.tell(BOUNCED, 20)
    assert await trial.standing() is Standing.SUSPENDED
    await answer(trial.mta.state, "state.purge", {"account": "shop"})
    await trial.tell(DELIVERED)
    assert await trial.standing() is Standing.GOOD
    assert [row["sent"] for row in await trial.plugin.show()] == [1]


async def test_resuming_who_is_not_held_down_is_no_news() -> None:
    trial = Trial(policy=[BOUNCES])
    await trial.plugin.resume("shop")
    assert trial.told() == []


async def test_the_operator_suspends_too() -> None:
    trial = Trial(**SHIPPED)
    assert await trial.plugin.suspend("shop") == "shop is suspended"
    assert await trial.rcpt() == "550 5.7.1 account suspended"
    assert (trial.told(), trial.mta.events[0].data["by"]) == ([E.ACCOUNT_SUSPENDED], "operator")
    with pytest.raises(CommandError, match="already"):
        await trial.plugin.suspend("shop")
    await trial.plugin.resume("shop")
    assert await trial.rcpt() == ""


# Each rule of the shipped policy, by itself: (what is told, how often), then where the account stands.

ROWS = [
    ("bounces", {BOUNCED: 39, DELIVERED: 961}, {}, "good"),
    ("bounces", {BOUNCED: 40, DELIVERED: 960}, {}, "warned"),
    ("bounces", {BOUNCED: 50, DELIVERED: 950}, {}, "warned"),
    ("bounces", {BOUNCED: 26, FULL: 25, DELIVERED: 949}, {}, "limited"),
    ("bounces", {BOUNCED: 100, DELIVERED: 900}, {}, "limited"),
    ("bounces", {BOUNCED: 101, DELIVERED: 899}, {}, "suspended"),
    ("bounces", {BOUNCED: 99}, {}, "good"),
    ("unsubscribes", {DELIVERED: 1000}, {E.UNSUBSCRIBE: 9, E.CLICK: 50}, "good"),
    ("unsubscribes", {DELIVERED: 1000}, {E.UNSUBSCRIBE: 10, E.CLICK: 50}, "warned"),
    ("unsubscribes", {DELIVERED: 1000}, {E.UNSUBSCRIBE: 12, E.CLICK: 50}, "warned"),
    ("unsubscribes", {DELIVERED: 1000}, {E.UNSUBSCRIBE: 13, E.CLICK: 50}, "limited"),
    ("unsubscribes", {DELIVERED: 1000}, {E.UNSUBSCRIBE: 24, E.CLICK: 50}, "limited"),
    ("unsubscribes", {DELIVERED: 1000}, {E.UNSUBSCRIBE: 25, E.CLICK: 50}, "suspended"),
    ("unsubscribes over clicks", {DELIVERED: 1000}, {E.UNSUBSCRIBE: 7}, "good"),
    ("unsubscribes over clicks", {DELIVERED: 1000}, {E.UNSUBSCRIBE: 8, E.CLICK: 7}, "warned"),
    ("unsubscribes over clicks", {DELIVERED: 1000}, {E.UNSUBSCRIBE: 10, E.CLICK: 9}, "warned"),
    ("unsubscribes over clicks", {DELIVERED: 1000}, {E.UNSUBSCRIBE: 11, E.CLICK: 11}, "good"),
    ("unsubscribes over clicks", {DELIVERED: 1000}, {E.UNSUBSCRIBE: 11, E.CLICK: 10}, "limited"),
    ("unsubscribes over clicks", {DELIVERED: 1000}, {E.UNSUBSCRIBE: 21, E.CLICK: 20}, "suspended"),
    ("blocks", {BLOCKED: 23, DELIVERED: 77}, {}, "good"),
    ("blocks", {BLOCKED: 24, DELIVERED: 76}, {}, "warned"),
    ("blocks", {BLOCKED: 30, DELIVERED: 70}, {}, "warned"),
    ("blocks", {BLOCKED: 31, DELIVERED: 69}, {}, "limited"),
    ("blocks", {BLOCKED: 60, DELIVERED: 40}, {}, "limited"),
    ("blocks", {BLOCKED: 61, DELIVERED: 39}, {}, "suspended"),
    ("complaints", {DELIVERED: 1000}, {E.SPAM: 5}, "good"),
    ("complaints", {DELIVERED: 1001}, {E.SPAM: 1}, "good"),
    ("complaints", {DELIVERED: 1001}, {E.SPAM: 2}, "suspended"),
    ("complaints", {DELIVERED: 5001}, {E.SPAM: 3}, "good"),
    ("complaints", {DELIVERED: 5000}, {E.SPAM: 4}, "warned"),
    ("complaints", {DELIVERED: 4999}, {E.SPAM: 4}, "limited"),
    ("complaints", {DELIVERED: 2500}, {E.SPAM: 4}, "limited"),
    ("complaints", {DELIVERED: 2499}, {E.SPAM: 4}, "suspended"),
    ("complaints a day", {}, {E.SPAM: 39}, "good"),
    ("complaints a day", {}, {E.SPAM: 40}, "warned"),
    ("complaints a day", {}, {E.SPAM: 50}, "warned"),
    ("complaints a day", {}, {E.SPAM: 51}, "limited"),
    ("complaints a day", {}, {E.SPAM: 100}, "limited"),
    ("complaints a day", {}, {E.SPAM: 101}, "suspended"),
    ("spam-trap hits", {}, {}, "good"),
    ("spam-trap hits", {}, {E.SPAMTRAP: 1}, "warned"),
    ("spam-trap hits", {}, {E.SPAMTRAP: 2}, "limited"),
    ("spam-trap hits", {}, {E.SPAMTRAP: 3}, "suspended"),
]


@pytest.mark.parametrize(("name", "results", "events", "standing"), ROWS)
async def test_each_rule_just_under_at_and_just_over(
    name: str, results: dict[Any, int], events: dict[EventType, int], standing: str
) -> None:
    """Good mail and clicks first, so that no share is passed on the way."""
    trial = Trial(policy=[row for row in SHIPPED["policy"] if row["name"] == name])
    for outcome in sorted(results, key=lambda one: one is not DELIVERED):
        await trial.tell(outcome, results[outcome])
    for kind in sorted(events, key=lambda one: one is not E.CLICK):
        await trial.happens(kind, events[kind])
    assert (await trial.standing()).value == standing


def test_the_rows_above_are_about_every_rule_that_is_shipped() -> None:
    assert [row["name"] for row in SHIPPED["policy"]] == list(dict.fromkeys(row[0] for row in ROWS))


# Down again.


async def test_a_step_is_left_only_below_a_lower_mark() -> None:
    trial = Trial(policy=[BOUNCES])
    await trial.tell(DELIVERED, 949)
    await trial.tell(BOUNCED, 51)
    assert await trial.standing() is Standing.LIMITED
    await trial.tell(DELIVERED, 360)  # 51 of 1360: 3.75 %
    assert await trial.standing() is Standing.LIMITED
    await trial.tell(DELIVERED)
    assert await trial.standing() is Standing.WARNED
    await trial.tell(DELIVERED, 339)  # 51 of 1700: 3 %
    assert await trial.standing() is Standing.WARNED
    await trial.tell(DELIVERED)
    assert await trial.standing() is Standing.GOOD
    assert trial.told() == [E.ACCOUNT_WARNED, E.ACCOUNT_LIMITED, E.ACCOUNT_RESUMED]
    assert trial.mta.events[-1].data["by"] == "figures"


async def test_another_rule_near_its_limit_does_not_hold_an_account_down() -> None:
    blocks = {"name": "blocks", "of": "block", "at_most": "10 %", "against": "sent"}
    trial = Trial(policy=[BOUNCES, blocks])
    await trial.tell(DELIVERED, 850)
    await trial.tell(BLOCKED, 99)
    await trial.tell(BOUNCED, 51)
    assert await trial.standing() is Standing.LIMITED
    await trial.tell(DELIVERED, 301)
    await trial.tell(BLOCKED, 60)  # blocks 11.7 %, then eased by good mail
    assert await trial.standing() is Standing.LIMITED
    trial = Trial(policy=[BOUNCES, blocks])
    await trial.tell(DELIVERED, 860)
    await trial.tell(BLOCKED, 80)
    await trial.tell(BOUNCED, 51)
    assert await trial.standing() is Standing.LIMITED
    await trial.tell(DELIVERED, 340)
    await trial.tell(BLOCKED, 30)  # bounces 3.7 %, blocks 8.1 %: above the mark that would hold, never beyond the limit
    assert await trial.standing() is Standing.WARNED


async def test_the_window_slides_by_the_hour() -> None:
    trial = Trial(policy=[BOUNCES], window="2d")
    await trial.tell(DELIVERED, 90)
    await trial.tell(BOUNCED, 10)
    assert await trial.standing() is Standing.LIMITED
    trial.clock.advance(1 * DAY)
    await trial.tell(DELIVERED, 100)  # 10 of 200: 5 %, held
    assert await trial.standing() is Standing.LIMITED
    trial.clock.advance(1 * DAY)
    assert await trial.standing() is Standing.LIMITED, "the first hour is still inside"
    trial.clock.advance(3600)
    assert await trial.standing() is Standing.GOOD
    assert trial.told()[-1] is E.ACCOUNT_RESUMED
    [row] = await trial.plugin.show()
    assert (row["sent"], row["bounces"]) == (100, "0 %")


async def test_a_rule_may_have_a_window_of_its_own() -> None:
    trial = Trial(policy=[{"name": "complaints a day", "of": "spam", "at_most": 3, "window": "1d"}, BOUNCES])
    await trial.happens(E.SPAM, 4)
    assert await trial.standing() is Standing.LIMITED
    trial.clock.advance(DAY + 3600)
    assert await trial.standing() is Standing.GOOD


# What counts.


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("shop", {"reverse_path": None}),
        ("shop", {"session": session(protocol="DSN")}),
        (None, {}),
        ("stranger", {}),
    ],
)
async def test_reports_and_mail_without_an_account_never_count(name: str | None, changes: dict[str, Any]) -> None:
    trial = Trial(policy=[BOUNCES], limit=[{"per_hour": 1}])
    await trial.tell(BOUNCED, 200, name=name, **changes)
    assert (await trial.plugin.show(), trial.told()) == ([], [])
    await trial.plugin.suspend("shop")
    assert [await trial.rcpt(name, **changes) for _ in range(3)] == [""] * 3


async def test_a_copy_whose_own_reverse_path_is_null_does_not_count() -> None:
    trial = Trial(policy=[BOUNCES])
    await trial.plugin.on_result(delivery(envelope=envelope(account="shop"), reverse_path=None), BOUNCED)
    assert await trial.plugin.show() == []


async def test_what_we_stopped_ourselves_and_what_is_not_final_never_counts() -> None:
    trial = Trial(policy=[BOUNCES, {"name": "blocks", "of": "block", "at_most": "30 %", "against": "sent"}])
    await trial.tell(result(Outcome.FAILED, by="thresholds", route=None), 200)
    await trial.tell(result(Outcome.DEFERRED, by="thresholds", route=None), 200)
    await trial.tell(LATER, 200)
    await trial.tell(GIVEN_UP, 200)
    await trial.happens(E.BLOCK_HARD, 200, code=550, status="5.7.1", by="thresholds")
    await trial.happens(E.BLOCK_SOFT, 200, code=451, status="4.7.1", by="spam_filter")
    await trial.happens(E.BLOCK_HARD, 200, code=550, status="5.7.1", by="spam_filter", null_reverse_path=True)
    await trial.happens(E.BOUNCE_HARD, 200, code=550, status="5.1.1", unreported="not wanted")
    await trial.happens(E.ACCOUNT_LIMITED, 200)
    assert await trial.plugin.show() == []


async def test_other_plugins_blocks_and_late_bounces_count() -> None:
    trial = Trial(**SHIPPED)
    await trial.tell(DELIVERED, 10)
    await trial.tell(result(Outcome.FAILED, by="spam_filter", route=None))
    await trial.tell(result(Outcome.DISCARDED, by="spam_filter", route=None))
    await trial.happens(E.BLOCK_HARD, code=550, status="5.7.1", by="spam_filter")
    await trial.happens(E.BOUNCE_HARD, 2)
    [row] = await trial.plugin.show()
    assert (row["sent"], row["bounces"]) == (13, "15.38 %")
    assert row["blocks"] == "23.08 %"


# Configuration.


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"policy": [BOUNCES, BOUNCES]}, 'two rules of the policy are named "bounces"'),
        ({"policy": [BOUNCES | {"at_most": 50}]}, 'a count has no "against"'),
        ({"policy": [BOUNCES | {"against": None}]}, 'says of what by "against"'),
        ({"policy": [BOUNCES | {"at_most": "much"}]}, "write a share"),
        ({"policy": [{"name": "traps", "of": "spamtrap", "at_most": 1, "min_volume": 5}]}, "are for shares"),
        ({"window": "90m"}, "whole hours"),
        ({"window": "40d"}, "less than or equal"),
        ({"warn_at": 80}, "a share is written as"),
        ({"limit": [{"per_hour": 1}, {"accounts": ["shop"]}]}, "write it last"),
        ({"polcy": []}, "Extra inputs"),
    ],
)
def test_what_cannot_be_meant_is_refused(keys: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Trial(**keys)


async def test_a_limit_for_an_account_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match='there is no account "shpo"'):
        await Trial(limit=[{"accounts": ["shpo"]}]).plugin.start()
    await Trial(limit=[{"accounts": ["shop"]}]).plugin.start()


async def test_explain_says_what_the_next_step_would_take() -> None:
    trial = Trial(policy=[BOUNCES], limit=[{"per_hour": 10}])
    await trial.rcpt()
    await trial.tell(DELIVERED, 95)
    await trial.tell(BOUNCED, 4)
    rule, hour, *_ = await trial.plugin.explain("shop")
    assert (rule["what"], rule["figure"], rule["at most"]) == ("bounces", "4.04 %: 4 of 99 sent", "5 % in 7d")
    assert rule["then"] == "says nothing: 99 of 100 sent"
    assert (hour["what"], hour["figure"], hour["at most"]) == ("recipients an hour", "1", "10")
    await trial.tell(BOUNCED, 2)
    [rule, *_] = await trial.plugin.explain("shop")
    assert (rule["step"], rule["then"]) == (
        "limited",
        "warned from 4 %, limited above 5 %, suspended above 10 %",
    )
    await trial.tell(BOUNCED, 10)
    assert (await trial.plugin.explain("shop"))[0]["what"] == "suspended"


async def test_explain_counts_in_whole_numbers_where_a_rule_does() -> None:
    [rule, *_] = await Trial(policy=[{"name": "traps", "of": "spamtrap", "at_most": 1}]).plugin.explain("shop")
    assert (rule["figure"], rule["at most"]) == ("0", "1 in 7d")
    assert rule["then"] == "warned from 1, limited above 1, suspended above 2"


@pytest.mark.parametrize(
    ("delivered", "bounced", "words"),
    [(9_799, 516, "bounces 5.002 % (at"), (93, 7, "bounces 7 % (at"), (0, 300, "bounces 100 % (at")],
)
async def test_a_figure_has_as_many_places_as_it_takes_to_see_that_it_is_above(
    delivered: int, bounced: int, words: str
) -> None:
    trial = Trial(policy=[BOUNCES])
    await trial.tell(DELIVERED, delivered)
    await trial.tell(BOUNCED, bounced)
    assert any(words in str(told.data["text"]) for told in trial.mta.events)


async def test_what_a_message_costs() -> None:
    """Thirty microseconds for a result on this project's machines; five times that is a mistake somewhere."""
    trial = Trial(**SHIPPED)
    copy, number = delivery(envelope=envelope(account="shop")), 5000
    began = time.perf_counter()
    for _ in range(number):
        await trial.plugin.on_result(copy, DELIVERED)
    assert (time.perf_counter() - began) / number < 150e-6


def test_nothing_private_prints() -> None:
    assert str(address("canary@example.com")) not in repr(Trial(**SHIPPED).plugin.__dict__)
