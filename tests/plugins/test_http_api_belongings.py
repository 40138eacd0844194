"""http_api: what account holders make is one for all workers, and never more than they may have."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from mtaframe import Address
from mtaframe.testing import RecordingMta, VirtualClock, account
from mtaframe_plugins.http_api.belongings import Belongings
from mtaframe_plugins.http_api.sandbox import Sandbox
from mtaframe_plugins.http_api.templates import TakenError, Template, Templates
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
    await one.add("shop", "old", Thing(1), 9)
    await one.change("shop", "old", lambda _: Thing(2))
    assert await other.all("shop") == {"old": Thing(2)}
    state = one._mta.state
    await state.documents.drop("shop")
    for register, value in state.registers.all().items():
        assert await state.registers.change(register, value, 0)
    assert await other.all("shop") == {}
    await one.add("shop", "new", Thing(3), 9)
    await one.change("shop", "new", lambda _: Thing(4))
    assert await other.all("shop") == {"new": Thing(4)}


async def test_what_a_worker_did_that_died_before_it_told_is_told_by_the_next_try(
    workers: tuple[Belongings[Thing], Belongings[Thing]],
) -> None:
    """The address was there, and verified, but no worker knew it, however often the account holder tried again."""
    one = workers[0]
    documents = one._mta.state.documents
    assert await documents.change("shop", "thing", "a", None, b'{"value": 1}')
    assert await one.add("shop", "a", Thing(1), 9) == Thing(1)
    assert [await each.all("shop") for each in workers] == [{"a": Thing(1)}] * 2
    assert await documents.change("shop", "thing", "a", b'{"value": 1}', b'{"value": 2}')
    assert await one.change("shop", "a", lambda _: Thing(2)) == Thing(2)
    assert [await each.all("shop") for each in workers] == [{"a": Thing(2)}] * 2
    assert await documents.change("shop", "thing", "a", b'{"value": 2}', None)
    assert await one.change("shop", "a", lambda _: None) is None
    assert [await each.all("shop") for each in workers] == [{}] * 2


@pytest.mark.parametrize("turns", range(12))
async def test_what_somebody_changed_who_went_meanwhile_is_told(
    workers: tuple[Belongings[Thing], Belongings[Thing]], turns: int
) -> None:
    """A client whose connection ended while its domain was deleted left it with every worker that knew it."""
    one, other = workers
    await one.add("shop", "a", Thing(1), 9)
    await one.add("shop", "b", Thing(1), 9)
    for change in (
        one.add("shop", "c", Thing(1), 9),
        one.change("shop", "a", lambda _: Thing(2)),
        one.drop("shop", "b"),
    ):
        await other.all("shop")
        asked = asyncio.ensure_future(change)
        for _ in range(turns):
            await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait([asked])
        for _ in range(20):
            await asyncio.sleep(0)
        assert await other.all("shop") == await one._loaded("shop")


async def test_what_is_added_at_once_is_never_too_much(workers: tuple[Belongings[Thing], Belongings[Thing]]) -> None:
    one, other = workers
    added = await asyncio.gather(
        *(each.add("shop", f"{number}", Thing(number), 5) for number in range(10) for each in (one, other))
    )
    assert len(await one.all("shop")) == 5
    assert {thing for thing in added if thing is not None} == set((await other.all("shop")).values())


async def test_who_is_there_already_is_not_added_again(workers: tuple[Belongings[Thing], Belongings[Thing]]) -> None:
    found = await asyncio.gather(*(workers[n % 2].add("shop", "a", Thing(n), 1) for n in range(4)))
    assert found == [Thing(0)] * 4


async def test_no_change_is_lost_by_another(workers: tuple[Belongings[Thing], Belongings[Thing]]) -> None:
    one, other = workers
    await one.add("shop", "a", Thing(0), 1)
    await asyncio.gather(*(workers[n % 2].change("shop", "a", lambda each: Thing(each.value + 1)) for n in range(20)))
    assert await one.all("shop") == await other.all("shop") == {"a": Thing(20)}
    assert await one.change("shop", "b", lambda thing: thing) is None
    assert await other.change("shop", "a", lambda thing: None) is None
    assert await one.all("shop") == {}


@pytest.fixture
def templates() -> list[Templates]:
    return [Templates(mta) for mta in _workers()]


async def test_templates_added_at_once_are_never_too_many(templates: list[Templates]) -> None:
    wanted = [(templates[number % 2], Template(0, f"{number}", "x")) for number in range(20)]
    made = await asyncio.gather(*(each.add("shop", template, 5) for each, template in wanted))
    assert len(await templates[0].all("shop")) == len([each for each in made if each is not None]) == 5


async def test_of_templates_of_one_name_that_are_made_at_once_there_is_one(templates: list[Templates]) -> None:
    wanted = [(templates[number % 2], Template(0, "hello", f"{number}")) for number in range(10)]
    made = await asyncio.gather(*(each.add("shop", template, 5) for each, template in wanted), return_exceptions=True)
    ours = [each for each in made if isinstance(each, Template)]
    assert ours == [await templates[1].named("shop", "hello")]
    assert [type(each) for each in made].count(TakenError) == 9


def _longer(template: Template) -> Template:
    return replace(template, name=template.name + "x")


async def test_no_change_of_a_template_is_lost(templates: list[Templates]) -> None:
    await templates[0].add("shop", Template(0, "a", "x"), 5)
    await asyncio.gather(*(templates[n % 2].change("shop", "a", _longer) for n in range(8)))
    assert [each.name for each in await templates[1].all("shop")] == ["x" * 9]
    assert await templates[1].change("shop", "b", _longer) is None


async def test_a_template_is_called_otherwise_while_it_is_changed(templates: list[Templates]) -> None:
    made = await templates[0].add("shop", Template(0, "a0", "x"), 5)
    await templates[0].add("shop", Template(0, "b", "x"), 5)
    assert made is not None

    def renamed(template: Template) -> Template:
        return replace(template, uid=f"a{int(template.uid[1:]) + 1}")

    await asyncio.gather(*(templates[0].change("shop", f"{made.id}", each) for each in [_longer, renamed] * 8))
    assert [(each.uid, each.name) for each in await templates[1].all("shop")] == [("a8", "x" * 9), ("b", "x")]
    with pytest.raises(TakenError):
        await templates[1].change("shop", "a8", lambda template: replace(template, uid="b"))
    assert await templates[1].change("shop", "a0", _longer) is None


async def test_an_address_gets_one_code_and_five_guesses_whichever_worker_is_asked() -> None:
    address = Address("bob", "example.net")
    workers = [Sandbox(mta) for mta in _workers()]
    for each in workers:
        assert await each.add("shop", address) is not None
    codes = await asyncio.gather(*(workers[n % 2].new_code("shop", address) for n in range(6)))
    [code] = [each for each in codes if each is not None]
    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    checks = await asyncio.gather(*(workers[n % 2].check("shop", address, wrong) for n in range(8)))
    assert sorted(checks) == ["dropped"] * 4 + ["wrong"] * 4
    assert await workers[1].check("shop", address, code) == "dropped"
    assert await workers[0].all("shop") == []


@pytest.mark.parametrize("turns", range(12))
async def test_a_template_that_gets_another_uid_for_a_client_that_goes_meanwhile_is_one(turns: int) -> None:
    """There were two of the same id, and the new uid was taken for whoever tried again."""
    templates = Templates(_workers()[0])
    await templates.add("shop", Template(0, "old", "Name"), 9)
    asked = asyncio.ensure_future(templates.change("shop", "old", lambda one: replace(one, uid="new")))
    for _ in range(turns):
        await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait([asked])
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(await templates.all("shop")) == 1
