"""Two processes, one state: a rest holds in both from the moment it is granted, and after a restart."""

import asyncio
from typing import Any

from mtaframe import RestingSources, RestSource
from mtaframe.testing import RecordingMta, VirtualClock, result, route
from mtaframe_plugins.ip_pools import IpPools
from tests.plugins.shared_state import View, views
from tests.plugins.test_ip_pools import a_house, mail, name_of, plugin, sources_of, way


def processes(clock: VirtualClock) -> tuple[list[View], list[RecordingMta], list[IpPools]]:
    states = views(clock)
    houses = [a_house(clock=clock, state=state) for state in states]
    return states, houses, [plugin(house) for house in houses]


async def resting(pools: IpPools) -> Any:
    return await pools.answers()[RestingSources](RestingSources())


async def test_when_a_rest_is_granted_no_process_begins_by_that_source() -> None:
    _, houses, [one, other] = processes(VirtualClock())
    assert await sources_of(other) == {"a1", "a2"}
    assert await one.answers()[RestSource](RestSource("a1", 60.0))
    assert await resting(other) == {"a1"}
    assert await sources_of(other) == {"a2"}
    assert [len(house.events) for house in houses] == [1, 0]


async def test_two_rests_at_once_are_told_of_by_their_processes_and_the_longer_one_holds() -> None:
    clock = VirtualClock()
    _, houses, [one, other] = processes(clock)
    answers = await asyncio.gather(
        *(pools.rest("a1", for_="1h") for pools in (one, other)), other.rest("a1", for_="2h")
    )
    assert answers[-1] == "a1 rests until 2026-03-01T14:00:00+00:00"
    told = sorted(event.data["seconds"] for house in houses for event in house.events)
    assert told in ([3600.0, 7200.0], [7200.0]), "an hour is told once, if it was not within the two"
    clock.advance(7199)
    assert [await resting(pools) for pools in (one, other)] == [{"a1"}] * 2
    clock.advance(1)
    assert [await resting(pools) for pools in (one, other)] == [frozenset()] * 2


async def test_the_operator_ends_a_rest_in_all_processes() -> None:
    _, _, [one, other] = processes(VirtualClock())
    before = name_of(await way(one, mail()))
    await one.rest(before)
    assert name_of(await way(other, mail())) != before
    assert await other.resume(before) == f"{before}: at work"
    assert [name_of(await way(pools, mail())) for pools in (one, other)] == [before] * 2


async def test_what_comes_after_a_restart_knows_the_rests_and_all_processes_show_alike() -> None:
    clock = VirtualClock()
    states, _, [one, other] = processes(clock)
    await one.rest("b1", for_="1d")
    chosen = await way(one)
    for pools in (one, other, other):
        await pools.on_result(result(route=chosen))
    await one.on_result(result(route=route()))
    newcomer = plugin(a_house(clock=clock, state=states[1]))
    first, second, third = [await pools.show() for pools in (one, other, newcomer)]
    assert first == second == third
    shown = {row["source"]: (row["state"], row["delivered"]) for row in third}
    assert shown["b1"] == ("rests until 2026-03-02T12:00:00+00:00", 0)
    assert shown[name_of(chosen)] == ("at work", 3)
