"""http_api: what account holders make is one for all workers, and never more than they may have."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from mtaframe.testing import RecordingMta, VirtualClock, account
from mtaframe_plugins.http_api.belongings import Belongings
from mtaframe_plugins.http_api.templates import Template, Templates
from tests.plugins.shared_state import views


@dataclass(frozen=True)
class Thing:
    value: int


def _thing(data: Mapping[str, Any]) -> Thing:
    return Thing(**data)


def _workers() -> list[RecordingMta]:
    clock = VirtualClock()
    return [RecordingMta(clock=clock, state=view, accounts=[account("shop")]) for view in views(clock)]


@pytest.fixture
def workers() -> tuple[Belongings[Thing], Belongings[Thing]]:
    one, other = (Belongings(mta, "thing", _thing) for mta in _workers())
    return one, other


async def test_what_was_purged_is_seen_nowhere_again(workers: tuple[Belongings[Thing], Belongings[Thing]]) -> None:
    one, other = workers
    await one.put("shop", "old", Thing(1))
    await one.put("shop", "old", Thing(2))
    assert await other.all("shop") == {"old": Thing(2)}
    state = one._mta.state
    await state.documents.drop("shop")
    for register, value in state.registers.all().items():
        assert await state.registers.change(register, value, 0)
    assert await other.all("shop") == {}
    await one.put("shop", "new", Thing(3))
    await one.put("shop", "new", Thing(4))
    assert await other.all("shop") == {"new": Thing(4)}


async def test_what_is_added_at_once_is_never_too_much(workers: tuple[Belongings[Thing], Belongings[Thing]]) -> None:
    one, other = workers
    added = await asyncio.gather(
        *(each.add("shop", f"{number}", Thing(number), 5) for number in range(10) for each in (one, other))
    )
    assert len(await one.all("shop")) <= 5
    assert {thing for thing in added if thing is not None} == set((await other.all("shop")).values())
    alone = await asyncio.gather(*(one.add("club", f"{number}", Thing(number), 5) for number in range(10)))
    assert len([thing for thing in alone if thing is not None]) == len(await one.all("club")) == 5


async def test_who_is_there_already_is_not_added_again(workers: tuple[Belongings[Thing], Belongings[Thing]]) -> None:
    one, _ = workers
    assert await asyncio.gather(*(one.add("shop", "a", Thing(n), 1) for n in range(3))) == [Thing(0)] * 3


async def test_no_change_is_lost_by_another(workers: tuple[Belongings[Thing], Belongings[Thing]]) -> None:
    one, _ = workers
    await one.put("shop", "a", Thing(0))
    await asyncio.gather(*(one.change("shop", "a", lambda thing: Thing(thing.value + 1)) for _ in range(20)))
    assert await one.all("shop") == {"a": Thing(20)}
    assert await one.change("shop", "b", lambda thing: thing) is None


async def test_templates_added_at_once_are_never_too_many() -> None:
    workers = [Templates(mta) for mta in _workers()]
    wanted = [(workers[number % 2], Template(0, f"{number}", "x")) for number in range(20)]
    made = await asyncio.gather(*(each.add("shop", template, 5) for each, template in wanted))
    assert len(await workers[0].all("shop")) == len([each for each in made if each is not None]) <= 5
