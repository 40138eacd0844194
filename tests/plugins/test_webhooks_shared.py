"""Two processes, one state: each has queues of its own, numbers are given out once, commands speak for both."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mtaframe import EventType
from mtaframe.clock import SystemClock
from mtaframe.testing import RecordingMta, account, delivery, envelope, event, result
from mtaframe_plugins.webhooks import Webhooks
from mtaframe_plugins.webhooks.gathering import STATES, merged, tried_again
from tests.plugins.shared_state import views
from tests.plugins.test_webhooks import endpoint, webhooks
from tests.plugins.webhooks_receiver import Receiver, until


@pytest.fixture
async def houses() -> AsyncIterator[list[RecordingMta]]:
    clock = SystemClock()
    accounts = (account("acme"), account("beta"))
    houses = [RecordingMta(clock=clock, accounts=accounts, state=state) for state in views(clock)]
    yield houses
    for house in houses:
        await house.http.close()  # type: ignore[attr-defined]


def tell(plugin: Webhooks, name: str, count: int) -> None:
    for _ in range(count):
        plugin.on_result(delivery(envelope=envelope(account=name)), result())
        plugin.on_event(event(EventType.CLICK, account=name))


async def test_two_processes_give_each_number_of_an_account_once_and_each_keeps_its_order(
    houses: list[RecordingMta],
) -> None:
    async with Receiver() as first, Receiver() as second:
        receivers = (first, second)
        plugins = [
            await webhooks(house, endpoint(receiver.url), connections=1)
            for house, receiver in zip(houses, receivers, strict=True)
        ]
        for _ in range(10):
            for plugin in plugins:
                tell(plugin, "acme", 2)
                tell(plugin, "beta", 1)
            await asyncio.sleep(0)
        await asyncio.gather(*(plugin.stop() for plugin in plugins))
    for name, count in (("acme", 80), ("beta", 40)):
        numbers = [[one["sequence"] for one in each.taken if one["account"] == name] for each in receivers]
        assert all(each == sorted(each) for each in numbers)
        assert sorted(numbers[0] + numbers[1]) == list(range(1, count + 1))


async def test_show_and_retry_speak_for_all_processes(houses: list[RecordingMta]) -> None:
    async with Receiver(500, 500, 500) as receiver:
        keys = {"retries": ["1h"]}
        one, other = [await webhooks(house, endpoint(receiver.url), **keys) for house in houses]
        tell(one, "acme", 1)
        await until(lambda: one._lines[receiver.url].queue.parked == 2)
        tell(other, "acme", 1)
        await until(lambda: other._lines[receiver.url].queue.parked == 1)
        await until(lambda: other._lines[receiver.url].sent == 1)
        [row] = merged([await plugin.show() for plugin in (one, other)])
        assert (row["to retry"], row["failed"], row["sent"], row["state"]) == (3, 3, 1, "failing")
        assert list(row) == list((await one.show())[0])
        assert tried_again([await plugin.retry(receiver.url) for plugin in (one, other)]) == "3 to try again"
        await until(lambda: len(receiver.taken) == 4)
        await asyncio.gather(one.stop(), other.stop())


async def test_a_merged_row_has_the_worst_state_and_what_was_answered_there(houses: list[RecordingMta]) -> None:
    async with Receiver() as receiver:
        plugin = await webhooks(houses[0], endpoint(receiver.url))
        [shown] = await plugin.show()
    rows = [[dict(shown) | {"state": state, "last": state, "queued": 1}] for state in STATES]
    for number in range(1, len(STATES) + 1):
        for order in (rows[:number], rows[number - 1 :: -1]):
            [row] = merged(order)
            assert (row["state"], row["last"], row["queued"]) == (STATES[number - 1], STATES[number - 1], number)
    assert merged([[shown], []]) == [shown]
    elsewhere = dict(shown) | {"url": "https://example.com/"}
    assert merged([[shown, elsewhere], [elsewhere]]) == [shown, elsewhere]
