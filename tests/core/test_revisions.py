"""What tells every process that somebody's documents have changed."""

import asyncio

import pytest

from mtaframe import Counter, Revisions
from mtaframe.state import MemoryState
from mtaframe.testing import VirtualClock


@pytest.fixture
def state() -> MemoryState:
    return MemoryState(VirtualClock())


async def test_nothing_was_made_at_first(state: MemoryState) -> None:
    revisions = Revisions(state, "things")
    assert revisions.current("shop") == 0
    assert list(revisions.accounts) == []


async def test_each_change_is_told_under_another_number(state: MemoryState) -> None:
    revisions, elsewhere = Revisions(state, "things"), Revisions(state, "things")
    seen = {0}
    for _ in range(3):
        await revisions.changed("shop")
        seen.add(elsewhere.current("shop"))
    number = await elsewhere.next("shop")
    await elsewhere.changed("shop", number)
    assert revisions.current("shop") == number
    assert len(seen | {number}) == 5
    assert elsewhere.accounts == ["shop"]
    assert revisions.current("other") == 0
    assert Revisions(state, "others").current("shop") == 0


async def test_what_was_changed_is_told_though_who_asked_is_gone(state: MemoryState) -> None:
    revisions, goes_on = Revisions(state, "things"), asyncio.Event()

    async def change(answer: bool | None) -> bool | None:
        await goes_on.wait()
        return answer

    asked = asyncio.ensure_future(revisions.told("shop", change(None)))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait([asked])
    goes_on.set()
    await asyncio.sleep(0.01)
    before = revisions.current("shop")
    assert before != 0
    assert await revisions.told("shop", change(False)) is False
    assert revisions.current("shop") == before
    assert await revisions.told("shop", change(True), 77) is True
    assert revisions.current("shop") == 77


async def test_changes_at_once_are_all_told(state: MemoryState) -> None:
    revisions = Revisions(state, "things")
    told: list[int] = []

    async def change() -> None:
        await revisions.changed("shop")
        told.append(revisions.current("shop"))

    await asyncio.gather(*(change() for _ in range(20)))
    assert set(told) <= set(range(1, 21))
    assert revisions.current("shop") > 0


async def test_no_number_of_before_a_purge_comes_back(state: MemoryState) -> None:
    revisions, register = Revisions(state, "things"), Counter("things", account="shop")
    await revisions.changed("shop")
    before = revisions.current("shop")
    assert await state.registers.change(register, before, 0)
    for _ in range(5):
        await revisions.changed("shop")
        assert revisions.current("shop") not in (0, before)
