"""Limits of an account's own, and what a parent shares with its sub-accounts or splits among them."""

from typing import Any

import pytest

from mtaframe import AccountStanding, Envelope, EventType, Outcome, Standing, Status
from mtaframe.testing import RecordingMta, VirtualClock, account, delivery, envelope, recipient, result
from mtaframe_plugins.thresholds import Thresholds
from tests.plugins.test_thresholds import BOUNCED, LATER, SHIPPED, Trial


class Family(Trial):
    """A parent with two sub-accounts, and a third one below the first of these."""

    def __init__(
        self, parent: dict[str, Any], *, config: dict[str, Any] | None = None, **below: dict[str, Any]
    ) -> None:
        self.clock = VirtualClock()
        tree = {"shop": "group", "club": "group", "branch": "shop"}
        self.mta = RecordingMta(
            clock=self.clock,
            accounts=[account("group", **parent)]
            + [account(name, parent=above, **below.get(name, {})) for name, above in tree.items()],
        )
        self.plugin = Thresholds(Thresholds.Config.model_validate(config or {}), self.mta)

    async def passed(self, *names: str) -> str:
        """Which of these have a recipient accepted, one after the other: their first letters."""
        return "".join([name[0] for name in names if not await self.rcpt(name)])


ALL = ("group", "shop", "club", "branch")


async def test_an_account_has_its_own_numbers_in_place_of_its_row() -> None:
    trial = Family({}, shop={"per_hour": 2}, config={"limit": [{"per_hour": 1, "per_day": 3}]})
    assert await trial.passed(*["shop"] * 5) == "ss"
    trial.clock.advance(3600)
    assert await trial.passed(*["shop"] * 5) == "s", "the day's number is the row's"
    assert await trial.passed(*["club"] * 5) == "c"


async def test_shared_counts_all_of_the_family_however_deep() -> None:
    trial = Family({"per_hour": 3})
    assert await trial.passed("branch", "club", *ALL, *ALL) == "bcg"
    assert await trial.rcpt("shop") == (
        "451 4.7.1 at most 3 recipients an hour in all accounts together; try again after 13:00 UTC"
    )
    trial.clock.advance(3600)
    assert await trial.passed(*ALL, *ALL) == "gsc"


async def test_a_sub_account_may_have_less_of_what_is_shared() -> None:
    trial = Family({"per_hour": 5}, shop={"per_hour": 1})
    assert await trial.passed(*["shop"] * 3) == "s"
    assert await trial.passed(*["branch"] * 3) == "", "what the shop shares counts, too"
    assert await trial.passed(*["club"] * 9) == "cccc"


async def test_split_is_so_much_for_each() -> None:
    trial = Family({"per_hour": 2, "limits": "split"}, club={"per_hour": 1})
    assert await trial.passed(*[*ALL] * 3) == "gscbgsb"


async def test_what_the_nearest_splits_counts() -> None:
    trial = Family({"per_hour": 2, "limits": "split"}, shop={"per_hour": 1, "limits": "split"})
    assert await trial.passed(*["branch"] * 3) == "b"


async def test_a_recipient_that_is_refused_or_deferred_gives_every_place_back() -> None:
    trial = Family({"per_hour": 3}, shop={"per_hour": 1})
    mail = envelope([recipient("a@example.net"), recipient("b@example.net")], account="shop")
    answer = await trial.plugin.on_data(mail)
    assert not isinstance(answer, Envelope), "two have no room in the shop's own number"
    joined = await trial.plugin.on_data(envelope(account="shop"))
    assert isinstance(joined, Envelope)
    await trial.plugin.on_result(delivery(envelope=joined, recipient=joined.recipients[0]), LATER)
    assert await trial.passed(*["shop"] * 2, *["club"] * 3) == "scc"


async def test_the_policy_sees_each_account_by_itself() -> None:
    trial = Family({"per_hour": 100}, config={"policy": [{"name": "bounces", "of": "bounce", "at_most": 1}]})
    await trial.tell(BOUNCED, 5, name="shop")
    assert [await trial.standing(name) for name in ("shop", "group")] == [Standing.SUSPENDED, Standing.GOOD]


@pytest.mark.parametrize("mode", ["enforce", "shadow"])
async def test_an_account_that_the_operator_limits_has_its_share(mode: str) -> None:
    trial = Family({"status": Status.LIMITED}, config={"mode": mode, "limited_per_hour": 2})
    assert await trial.plugin.answers()[AccountStanding](AccountStanding("branch")) is Standing.LIMITED
    assert await trial.passed(*["shop"] * 4) == ("ss" if mode == "enforce" else "ssss")


@pytest.mark.parametrize(("status", "sent"), [(Status.SUSPENDED, 0), (Status.PENDING, 0), (Status.LIMITED, 6)])
async def test_what_is_refused_to_an_account_that_may_not_send_says_nothing_against_it(status: Any, sent: int) -> None:
    trial = Family({"status": status}, config=SHIPPED)
    await trial.tell(result(Outcome.FAILED, by="admission"), 3)
    await trial.happens(EventType.BLOCK_HARD, 3, by="admission")
    assert [row["sent"] for row in await trial.plugin.show() if row["account"] == "shop"] == ([sent] if sent else [])
    await trial.happens(EventType.SPAMTRAP, 9)
    assert await trial.standing() is Standing.SUSPENDED, "what its mail of before does counts as ever"


async def test_the_operator_sees_what_is_shared() -> None:
    trial = Family({"per_hour": 3}, shop={"per_day": 9})
    assert await trial.passed("club", "shop") == "cs"
    rows = {row["what"]: (row["figure"], row["at most"]) for row in await trial.plugin.explain("shop")}
    assert rows == {
        "recipients an hour": ("1", "any number"),
        "recipients a day": ("1", "9"),
        "recipients of shop and its sub-accounts an hour": ("1", "any number"),
        "recipients of shop and its sub-accounts a day": ("1", "9"),
        "recipients of group and its sub-accounts an hour": ("2", "3"),
        "recipients of group and its sub-accounts a day": ("2", "any number"),
    }
