"""Recipients an hour and a day, by account and by stream: reserved, given back, and counted once."""

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from mtaframe import Counter, Envelope, Outcome
from mtaframe.state.memory import Counters
from mtaframe.testing import delivery, envelope, recipient, result
from tests.plugins.test_thresholds import BOUNCED, BOUNCES, DAY, DELIVERED, LATER, Trial

HOUR_OVER = "451 4.7.1 at most {} recipients an hour; try again after {} UTC"


async def dot(trial: Trial, name: str = "shop", count: int = 1, **changes: Any) -> Envelope | str | None:
    """What on_data says to a message whose recipients joined before the account or the stream was known."""
    mail = envelope([recipient(f"r{number}@example.net") for number in range(count)], account=name, **changes)
    answer = await trial.plugin.on_data(mail)
    return answer.reply.line if hasattr(answer, "reply") else answer


async def test_so_many_an_hour_and_again_in_the_next() -> None:
    trial = Trial(limit=[{"per_hour": 3}])
    assert [await trial.rcpt() for _ in range(4)] == ["", "", "", HOUR_OVER.format(3, "13:00")]
    assert await trial.rcpt("other") == "", "another account has a count of its own"
    trial.clock.advance(59 * 60)
    assert await trial.rcpt() != ""
    trial.clock.advance(60)
    assert await trial.rcpt() == ""


async def test_so_many_a_day_and_again_after_midnight() -> None:
    trial = Trial(limit=[{"per_hour": 3, "per_day": 4}])
    assert [await trial.rcpt() for _ in range(3)] == [""] * 3
    trial.clock.advance(2 * 3600)
    assert await trial.rcpt() == ""
    assert await trial.rcpt() == "451 4.7.1 at most 4 recipients a day; try again after 00:00 UTC"
    trial.clock.advance(10 * 3600)
    assert await trial.rcpt() == ""


@pytest.mark.parametrize(
    ("limits", "name", "allowed"),
    [
        ([{"accounts": ["shop"], "per_hour": 2}, {"per_hour": 1}], "shop", 2),
        ([{"accounts": ["shop"], "per_hour": 2}, {"per_hour": 1}], "other", 1),
        ([{"accounts": ["shop"]}, {"per_hour": 1}], "shop", 9),
        ([{"streams": ["news"], "per_hour": 1}], "shop", 9),
        ([], "shop", 9),
    ],
)
async def test_the_first_row_that_fits_the_account_holds(limits: list[dict[str, Any]], name: str, allowed: int) -> None:
    trial = Trial(limit=limits)
    assert [await trial.rcpt(name) for _ in range(9)].count("") == allowed


async def test_a_stream_has_a_count_of_its_own_beside_the_accounts() -> None:
    trial = Trial(limit=[{"accounts": ["shop"], "streams": ["news"], "per_hour": 2}, {"per_hour": 4}])
    assert isinstance(await dot(trial, count=2, stream="news"), Envelope)
    assert await dot(trial, stream="news") == HOUR_OVER.format(2, "13:00")
    assert isinstance(await dot(trial, count=2, stream="receipts"), Envelope)
    assert await dot(trial, stream="receipts") == HOUR_OVER.format(4, "13:00")
    assert isinstance(await dot(trial, "other", count=4, stream="news"), Envelope)


async def test_all_recipients_at_the_dot_or_none() -> None:
    trial = Trial(limit=[{"per_hour": 3}])
    assert await dot(trial, count=4) == HOUR_OVER.format(3, "13:00")
    assert isinstance(await dot(trial, count=3), Envelope)


class SlowCounters(Counters):
    """Counters that are elsewhere: every question takes a turn of the event loop or two."""

    async def add(self, amounts: Mapping[Counter, int]) -> None:
        await asyncio.sleep(0)
        await super().add(amounts)

    async def sums(self, counters: Any, since: Any, until: Any = None) -> list[int]:
        await asyncio.sleep(0)
        found = await super().sums(counters, since, until)
        await asyncio.sleep(0)
        return found

    async def take(self, counter: Counter, count: int, **limits: int | None) -> Literal["hour", "day"] | None:
        await asyncio.sleep(0)
        return await super().take(counter, count, **limits)


async def test_many_at_once_share_one_count_however_slow_the_counters_are() -> None:
    trial = Trial(policy=[BOUNCES], limit=[{"per_hour": 10}])
    trial.mta.state.counters = SlowCounters(trial.clock)  # type: ignore[misc]
    trial.plugin = trial.built({"policy": [BOUNCES], "limit": [{"per_hour": 10}]})
    for _ in range(2):
        answers = await asyncio.gather(*(trial.rcpt() for _ in range(50)), *(trial.rcpt("other") for _ in range(50)))
        assert (answers[:50].count(""), answers[50:].count("")) == (10, 10)
        trial.clock.advance(3600)
    await asyncio.gather(*(trial.tell(outcome, 5) for outcome in [BOUNCED] * 10 + [DELIVERED] * 490))
    [row] = await trial.plugin.show()
    assert (row["bounces"], row["standing"]) == ("2 %", "suspended"), "as the first hundred were"
    assert len(trial.mta.events) <= 3


async def test_who_was_counted_at_rcpt_is_not_counted_again_at_the_dot() -> None:
    trial = Trial(limit=[{"streams": ["news"], "per_hour": 2}, {"per_hour": 2}])
    joined = await trial.plugin.on_rcpt(envelope([], account="shop"), recipient())
    mail = envelope([joined], account="shop", stream="news")
    noted = await trial.plugin.on_data(mail)
    assert isinstance(noted, Envelope)
    assert await trial.plugin.on_data(noted) is None
    *_, hour, _ = [row for row in await trial.plugin.explain("shop") if row["what"].startswith("recipients ")][:2]
    assert hour["figure"] == "1"


@pytest.mark.parametrize(
    ("outcome", "kept"),
    [
        (DELIVERED, True),
        (BOUNCED, True),
        (LATER, False),
        (result(Outcome.DEFERRED, by="thresholds", route=None), False),
        (result(Outcome.FAILED, by="thresholds", route=None), False),
    ],
)
async def test_what_was_not_sent_gives_its_place_back(outcome: Any, kept: bool) -> None:
    trial = Trial(limit=[{"per_hour": 1}])
    joined = await trial.plugin.on_rcpt(envelope([], account="shop"), recipient())
    mail = envelope([joined], account="shop")
    await trial.plugin.on_result(delivery(joined, envelope=mail), outcome)
    assert (await trial.rcpt() != "") == kept


async def test_the_place_of_an_hour_that_is_over_is_none_of_the_next_one() -> None:
    trial = Trial(limit=[{"per_hour": 2, "per_day": 5}])
    joined = [await trial.plugin.on_rcpt(envelope([], account="shop"), recipient()) for _ in range(2)]
    mail = envelope(joined, account="shop")
    trial.clock.advance(3600)
    for one in joined:
        await trial.plugin.on_result(delivery(one, envelope=mail), LATER)
    assert [await trial.rcpt() for _ in range(3)] == ["", "", HOUR_OVER.format(2, "14:00")]


async def test_a_limited_account_has_a_share_left() -> None:
    trial = Trial(policy=[BOUNCES], limit=[{"accounts": ["shop"], "per_hour": 40}])
    for name in ("shop", "other"):
        await trial.tell(DELIVERED, 939, name=name)
        await trial.tell(BOUNCED, 61, name=name)
    assert [await trial.rcpt() for _ in range(20)].count("") == 10
    assert await trial.rcpt() == (
        "451 4.7.1 account limited: bounces 6.1 % (at most 5 % in 7d): "
        "at most 10 recipients an hour; try again after 13:00 UTC"
    )
    assert [await trial.rcpt("other") for _ in range(120)].count("") == 100, "limited_per_hour, for it has no limit"


async def test_a_limited_account_is_told_when_it_ends() -> None:
    trial = Trial(policy=[BOUNCES], limited_per_hour=1)
    await trial.tell(DELIVERED, 949)
    await trial.tell(BOUNCED, 51)
    await trial.tell(DELIVERED, 200)
    await trial.rcpt()
    assert (await trial.rcpt()).startswith(
        "451 4.7.1 account limited: bounces 4.25 % (at most 5 % in 7d, ends below 3.75 %): at most 1 "
    )


async def test_counts_survive_a_reload_and_follow_the_new_limits() -> None:
    trial = Trial(policy=[BOUNCES], limit=[{"per_hour": 3}])
    await trial.tell(DELIVERED, 949)
    await trial.tell(BOUNCED, 51)
    assert (await trial.standing()).value == "limited"
    assert await trial.rcpt() != "" or await trial.rcpt() != "", "one of three is left to it"
    old = trial.plugin
    trial.reload(policy=[BOUNCES | {"at_most": "20 %"}], limit=[{"per_hour": 3}])
    assert (await trial.standing()).value == "good"
    assert [await trial.rcpt() for _ in range(3)].count("") == 2, "one was used before the reload"
    copy = delivery(envelope=envelope(account="shop"))
    for _ in range(400):
        await old.on_result(copy, BOUNCED)
    assert (await trial.standing()).value == "limited", "mail of the generation before counts in the same books"
    trial.clock.advance(DAY)
    assert (await trial.standing()).value == "limited"
