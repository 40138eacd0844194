"""Deadlines on one timer: what rings, when, and what does not."""

import asyncio
import gc
import time
import weakref
from functools import partial

import pytest

from mtaframe.alarms import Alarms
from mtaframe.clock import SystemClock
from mtaframe.testing import VirtualClock

LATE = 0.2
"""Seconds that a busy machine may add."""


async def test_each_rings_once_in_order_and_none_early() -> None:
    alarms, rung, began = Alarms(SystemClock()), list[tuple[str, float]](), time.monotonic()
    for name, seconds in (("third", 0.12), ("first", 0.02), ("second", 0.06)):
        alarms.ring_at(began + seconds, lambda name=name: rung.append((name, time.monotonic() - began)))
    await asyncio.sleep(0.12 + LATE)
    assert [name for name, _ in rung] == ["first", "second", "third"]
    for (_, took), due in zip(rung, (0.02, 0.06, 0.12), strict=True):
        assert due - 0.002 <= took < due + LATE


async def test_what_was_stopped_does_not_ring_and_is_kept_no_longer() -> None:
    class Message:
        def end(self) -> None:
            raise AssertionError("stopped")

    alarms, rung = Alarms(SystemClock()), list[int]()
    message = Message()
    known = weakref.ref(message)
    alarms.ring_at(time.monotonic() + 0.02, message.end)
    alarms.ring_at(time.monotonic() + 0.03, partial(rung.append, 1))
    alarms.stop(message.end)
    alarms.stop(message.end)
    del message
    gc.collect()
    assert known() is None
    await asyncio.sleep(0.03 + LATE)
    assert rung == [1]


async def test_one_that_rings_may_stop_and_set_others() -> None:
    alarms, rung, now = Alarms(SystemClock()), list[str](), time.monotonic()

    def stopped() -> None:
        rung.append("stopped")

    def first() -> None:
        rung.append("first")
        alarms.stop(stopped)
        alarms.ring_at(time.monotonic(), partial(rung.append, "again"))

    alarms.ring_at(now + 0.02, first)
    alarms.ring_at(now + 0.02, stopped)
    await asyncio.sleep(0.02 + LATE)
    assert rung == ["first", "again"]


async def test_a_moment_that_has_passed_rings_at_once_and_of_a_virtual_clock_the_difference_counts() -> None:
    clock = VirtualClock()
    clock.advance(1000)
    alarms, rung = Alarms(clock), list[str]()
    alarms.ring_at(clock.monotonic() - 5, partial(rung.append, "passed"))
    alarms.ring_at(clock.monotonic() + 0.05, partial(rung.append, "soon"))
    await asyncio.sleep(0.02)
    assert rung == ["passed"]
    await asyncio.sleep(0.05 + LATE)
    assert rung == ["passed", "soon"]


async def test_thousands_in_a_row_are_few_looks() -> None:
    alarms, rung, began = Alarms(SystemClock()), list[int](), time.monotonic()
    for number in range(5000):
        alarms.ring_at(began + 0.05 + number / 50_000, partial(rung.append, number))
    looks = 0
    while len(rung) < 5000:
        before = len(rung)
        await asyncio.sleep(0.001)
        looks += len(rung) > before
        assert time.monotonic() < began + 5
    assert rung == list(range(5000))
    assert looks < 100


async def test_what_takes_too_long_ends_in_time_and_the_task_goes_on() -> None:
    alarms, task = Alarms(SystemClock()), asyncio.current_task()
    assert task is not None
    began = time.monotonic()
    with pytest.raises(TimeoutError), alarms.limit(began + 0.05):
        await asyncio.sleep(5)
    assert 0.04 < time.monotonic() - began < 0.05 + LATE
    assert not task.cancelling()
    with alarms.limit(time.monotonic() + 0.02):
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)


async def test_an_error_of_its_own_passes_and_a_deadline_within_another_is_the_inner_ones() -> None:
    alarms = Alarms(SystemClock())
    with pytest.raises(KeyError), alarms.limit(time.monotonic() + 1):
        raise KeyError
    with alarms.limit(time.monotonic() + 1), pytest.raises(TimeoutError), alarms.limit(time.monotonic() + 0.02):
        await asyncio.sleep(5)
    await asyncio.sleep(0)


@pytest.mark.parametrize("sooner", [0.04, 0.0])
async def test_whoever_else_cancels_the_task_is_obeyed(sooner: float) -> None:
    """Also where the time is up in the same moment."""
    alarms, moment, said = Alarms(SystemClock()), time.monotonic() + 0.05, list[str]()

    async def work() -> None:
        try:
            with alarms.limit(moment):
                await asyncio.sleep(5)
        except BaseException as error:
            said.append(type(error).__name__)
            raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    alarms.ring_at(moment - sooner, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert said == ["CancelledError"]
