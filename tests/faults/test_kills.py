"""Processes die at random instants under load: nothing is lost, and only what nobody else knew comes twice."""

from pathlib import Path

import pytest

from tests.faults.harness import (
    MANY,
    SIX,
    everybody,
    happen,
    house,
    kills,
    reload,
    renewal,
    restart,
    scripted,
    seed,
    worker,
)
from tests.faults.service import EagerService


@pytest.mark.parametrize("door", ["lmtp", "mta"])
async def test_without_kills_nothing_comes_twice(tmp_path: Path, door: str) -> None:
    async with house(tmp_path, seed(), doubts=False) as run, scripted(run, door) as upstream:
        async with run.under_load(upstream):
            await happen(run, [reload, renewal, restart, reload])
        balance = await run.settled(upstream)
    run.assert_nothing_is_lost(balance)
    assert (balance.twice, balance.in_doubt) == ({}, 0)


@pytest.mark.parametrize("door", ["lmtp", "mta"])
@pytest.mark.parametrize("count", [SIX, MANY])
async def test_kills_lose_nothing(tmp_path: Path, door: str, count: int) -> None:
    async with house(tmp_path, seed()) as run, scripted(run, door) as upstream:
        async with run.under_load(upstream):
            await happen(run, kills(count))
        balance = await run.settled(upstream)
    run.assert_nothing_is_lost(balance)


async def test_a_build_that_says_250_too_early_is_found_out(tmp_path: Path) -> None:
    """Here the next hops are good and slow, so that only the kills can be to blame."""
    async with house(tmp_path, seed(), service=EagerService) as run, scripted(run, "mta", cuts=0) as upstream:
        for site in run.sites.values():
            site.is_calm = True
            site.script("rcpt", delay=0.3, always=True)
        async with run.under_load(upstream):
            await happen(run, [worker, everybody])
        await run.settled(upstream)
        await run.service.stop()  # what it still had in hand goes out
        lost = run.books.balance().lost
    assert len(lost) > 0
    assert run.books.acknowledged_for_nothing() == lost
