"""How events reach receivers that are down, slow, busy, gone or wrong: as docs/plugins/webhooks.md says."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from mtaframe import Outcome
from mtaframe.clock import SystemClock
from mtaframe.testing import RecordingMta, VirtualClock, delivery, envelope, message, result
from mtaframe_plugins.webhooks import Webhooks
from mtaframe_plugins.webhooks import line as lines
from mtaframe_plugins.webhooks.line import Line
from tests.plugins.webhooks_receiver import SECRET, Receiver, until


@pytest.fixture
async def mta() -> AsyncIterator[RecordingMta]:
    mta = RecordingMta(clock=SystemClock())
    yield mta
    await mta.http.close()  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "SHORTEST_REST", 0.01)
    monkeypatch.setattr(lines, "LONGEST_REST", 0.1)


def endpoint(url: str, **changes: object) -> dict[str, object]:
    return {"url": url, "secret": SECRET, "private": True, **changes}


async def webhooks(mta: RecordingMta, *endpoints: dict[str, object], **config: object) -> Webhooks:
    plugin = Webhooks(Webhooks.Config.model_validate({"endpoint": list(endpoints), **config}), mta)
    await plugin.start()
    return plugin


async def tell(plugin: Webhooks, count: int = 1) -> None:
    """When it is done they are queued."""
    for _ in range(count):
        plugin.on_result(delivery(), result())
    await until(lambda: not plugin._unnumbered and plugin._numbering is None)


def line(plugin: Webhooks, receiver: Receiver) -> Line:
    return plugin._lines[receiver.url]


async def test_a_receiver_that_is_down_gets_everything_once_it_is_up(mta: RecordingMta) -> None:
    async with Receiver() as other, Receiver() as receiver:
        await receiver.close()
        plugin = await webhooks(mta, endpoint(receiver.url), endpoint(other.url), retries=["20ms"] * 100)
        await tell(plugin, 50)
        await until(lambda: len(other.taken) == 50)
        await until(lambda: line(plugin, receiver).failed >= 8)
        assert line(plugin, receiver).state in ("failing", "resting")
        assert line(plugin, receiver).sending <= 1, "a probe at a time"
        await receiver.open()
        await until(lambda: len(receiver.taken) == 50)
        assert len(set(receiver.ids)) == 50
        assert receiver.unproven == 0
        await until(lambda: line(plugin, receiver).state == "on")
        await plugin.stop()


async def test_500_is_tried_again_on_schedule_with_the_same_id_and_a_new_time(mta: RecordingMta) -> None:
    async with Receiver(500, 302, 404) as receiver:
        plugin = await webhooks(mta, endpoint(receiver.url), retries=["1ms", "1ms", "1100ms"])
        began = time.monotonic()
        await tell(plugin)
        await until(lambda: receiver.taken)
        assert 0.85 < time.monotonic() - began < 2
        assert len(receiver.events) == 4
        assert len({each["id"] for each in receiver.events}) == 1
        assert len({headers["webhook-id"] for headers in receiver.headers}) == 1
        assert len({headers["webhook-timestamp"] for headers in receiver.headers}) > 1
        assert receiver.unproven == 0
        await plugin.stop()


async def test_an_event_that_fails_does_not_hold_up_the_next_ones(mta: RecordingMta) -> None:
    async with Receiver(500) as receiver:
        plugin = await webhooks(mta, endpoint(receiver.url), connections=1, retries=["300ms"])
        await tell(plugin, 5)
        await until(lambda: len(receiver.taken) == 5)
        assert [each["sequence"] for each in receiver.events] == [1, 2, 3, 4, 5, 1]
        await plugin.stop()


async def test_with_one_connection_events_keep_their_order_and_with_more_they_overlap(mta: RecordingMta) -> None:
    async with Receiver(delay=0.005) as strict, Receiver(delay=0.02) as loose:
        one = await webhooks(mta, endpoint(strict.url), connections=1)
        more = await webhooks(mta, endpoint(loose.url), connections=4)
        await tell(one, 20)
        await tell(more, 20)
        await asyncio.gather(one.stop(), more.stop())
        assert [each["sequence"] for each in strict.taken] == list(range(1, 21))
        assert (strict.most_at_once, loose.most_at_once) == (1, 4)


async def test_a_slow_receiver_holds_up_nobody_else(mta: RecordingMta) -> None:
    async with Receiver(delay=5) as slow, Receiver() as quick:
        plugin = await webhooks(mta, endpoint(slow.url, timeout="200ms"), endpoint(quick.url), max_queue=30)
        began = time.monotonic()
        await tell(plugin, 200)
        assert time.monotonic() - began < 0.1, "on_result waits for nothing"
        assert len(line(plugin, slow).queue) <= 30
        await until(lambda: len(quick.taken) == 30, 2)
        for _ in range(17):
            await tell(plugin, 10)
            await until(lambda: not len(line(plugin, quick).queue), 2)
        await until(lambda: line(plugin, slow).failed >= 4)
        assert line(plugin, slow).last == "no answer in time"
        assert len(line(plugin, slow).queue) <= 30
        assert line(plugin, quick).failed == 0
        slow.delay = 0
        await until(lambda: slow.taken)
        await plugin.stop()


async def test_a_full_queue_is_bounded_and_counts_what_it_drops(
    mta: RecordingMta, caplog: pytest.LogCaptureFixture
) -> None:
    async with Receiver(always=500) as receiver:
        plugin = await webhooks(mta, endpoint(receiver.url), max_queue=100, retries=["1h"], drain="0ms")
        for _ in range(20):
            await tell(plugin, 100)
            assert len(line(plugin, receiver).queue) <= 100
            await asyncio.sleep(0)
        [shown] = await plugin.show()
        assert shown["queued"] + shown["to retry"] <= 104
        assert shown["dropped"] >= 2000 - 104
        assert sum("queue is full" in record.getMessage() for record in caplog.records) == 1, "once a minute"
        await plugin.stop()


async def test_at_the_end_events_that_fail_again_cost_no_new_ones(mta: RecordingMta) -> None:
    async with Receiver(*[500] * 3, 200, *[500] * 3) as receiver:
        plugin = await webhooks(mta, endpoint(receiver.url), connections=1, retries=["1h"])
        await tell(plugin, 7)
        await until(lambda: len(receiver.events) == 7)
        receiver.answers.extend([200] * 20 + [500] * 6)
        await tell(plugin, 20)
        await plugin.stop()
        assert [each["sequence"] for each in receiver.taken] == [4, *range(8, 28)]


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_holds_the_whole_url(status: int, mta: RecordingMta) -> None:
    async with Receiver((status, {"Retry-After": "1"})) as receiver, Receiver() as other:
        plugin = await webhooks(mta, endpoint(receiver.url), endpoint(other.url), connections=1, retries=["1ms"])
        await tell(plugin, 3)
        await until(lambda: receiver.events)
        began = time.monotonic()
        await until(lambda: line(plugin, receiver).state == "asked to wait")
        await tell(plugin, 2)
        await until(lambda: len(other.taken) == 5)
        await asyncio.sleep(0.3)
        assert len(receiver.events) == 1
        await until(lambda: len(receiver.taken) == 5)
        assert 0.9 < time.monotonic() - began < 2
        await plugin.stop()


async def test_a_retry_after_that_is_no_date_at_all_loses_no_event(mta: RecordingMta) -> None:
    beyond = {"Retry-After": "Sun, 01 Mar 2026 12:00:30 +99999999999999999999"}
    async with Receiver((503, beyond)) as receiver:
        plugin = await webhooks(mta, endpoint(receiver.url), retries=["10ms"])
        await tell(plugin)
        await until(lambda: receiver.taken)
        assert (line(plugin, receiver).failed, line(plugin, receiver).sent) == (1, 1)
        await plugin.stop()


async def test_retry_after_is_heeded_at_the_end_too(mta: RecordingMta, caplog: pytest.LogCaptureFixture) -> None:
    async with Receiver((429, {"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"})) as receiver:
        plugin = await webhooks(mta, endpoint(receiver.url), connections=1)
        await tell(plugin, 3)
        await until(lambda: line(plugin, receiver).failed)
        await plugin.stop()
        assert len(receiver.events) == 1
        assert "events lost at the end host=127.0.0.1 count=3" in caplog.text


async def test_410_switches_the_url_off_until_its_configuration_changes(mta: RecordingMta) -> None:
    async with Receiver(410) as receiver:
        plugin = await webhooks(mta, endpoint(receiver.url), connections=1)
        await tell(plugin, 3)
        await until(lambda: line(plugin, receiver).state == "off")
        await tell(plugin, 2)
        [shown] = await plugin.show()
        assert (shown["state"], shown["last"], shown["dropped"], shown["queued"]) == ("off", "410", 5, 0)
        same = await webhooks(mta, endpoint(receiver.url))
        same.adopt(plugin)
        assert line(same, receiver).state == "off"
        changed = await webhooks(mta, endpoint(receiver.url, timeout="3s"))
        changed.adopt(same)
        await tell(changed)
        await until(lambda: receiver.taken)
        assert len(receiver.events) == 2
        receiver.answers.append(410)
        await tell(changed)
        await until(lambda: line(changed, receiver).is_off)
        assert await changed.retry(receiver.url) == 0
        await tell(changed)
        await changed.stop()
        assert len(receiver.taken) == 2


@pytest.mark.parametrize(
    ("status", "strict", "is_success"), [(202, False, True), (202, True, False), (200, True, True)]
)
async def test_strict_200_counts_200_alone(status: int, strict: bool, is_success: bool, mta: RecordingMta) -> None:
    async with Receiver(always=status) as receiver:
        plugin = await webhooks(mta, endpoint(receiver.url, strict_200=strict))
        await tell(plugin)
        await until(lambda: line(plugin, receiver).last == str(status))
        assert (line(plugin, receiver).sent, line(plugin, receiver).failed) == (is_success, not is_success)
        await plugin.stop()


async def test_what_is_too_old_is_forgotten_and_retry_hastens_what_waits() -> None:
    clock = VirtualClock()
    mta = RecordingMta(clock=clock)
    async with Receiver(500, 500) as receiver:
        plugin = await webhooks(mta, endpoint(receiver.url), retries=["1h"], max_age="3h", connections=1)
        await tell(plugin, 2)
        await until(lambda: line(plugin, receiver).queue.parked == 2)
        assert await plugin.retry(receiver.url) == 2
        await until(lambda: len(receiver.taken) == 2)
        receiver.answers.extend([500, 500])
        await tell(plugin, 2)
        await until(lambda: line(plugin, receiver).queue.parked == 2)
        clock.advance(1800)
        await tell(plugin)
        await until(lambda: len(receiver.taken) == 3)
        clock.advance(9001)
        await tell(plugin)
        await until(lambda: len(receiver.taken) == 4)
        assert (len(line(plugin, receiver).queue), line(plugin, receiver).queue.expired) == (0, 2)
        await plugin.stop()
    await mta.http.close()  # type: ignore[attr-defined]


async def test_waits_are_scattered_by_a_fifth() -> None:
    waits = [lines._jittered(10.0) for _ in range(1000)]
    assert 8 <= min(waits) < 8.5
    assert 11.5 < max(waits) <= 12


async def test_a_reload_loses_nothing_and_sends_nothing_twice(mta: RecordingMta) -> None:
    async with Receiver(delay=0.002) as receiver:
        plugin = await webhooks(mta, endpoint(receiver.url), connections=2)
        told = 0
        for round_ in range(10):
            await tell(plugin, 20)
            await asyncio.sleep(0.005)
            new = await webhooks(mta, endpoint(receiver.url), connections=1 + round_ % 4)
            new.adopt(plugin)
            await tell(plugin, 5)
            await tell(new, 5)
            await plugin.stop()
            plugin, told = new, told + 30
        await until(lambda: len(receiver.taken) == told)
        await plugin.stop()
        assert sorted(each["sequence"] for each in receiver.events) == list(range(1, told + 1))
        assert len(set(receiver.ids)) == told


async def test_an_endpoint_that_goes_gets_what_waits_for_it_once_more(mta: RecordingMta) -> None:
    async with Receiver(500, 500, 500) as gone, Receiver() as stays:
        old = await webhooks(mta, endpoint(gone.url), endpoint(stays.url), retries=["1h"])
        await tell(old, 3)
        await until(lambda: line(old, gone).queue.parked == 3)
        new = await webhooks(mta, endpoint(stays.url))
        new.adopt(old)
        await tell(old)
        await old.stop()
        assert len(gone.taken) == 4
        await tell(old)
        assert line(old, gone).dropped == 1
        assert [each["url"] for each in await new.show()] == [stays.url]
        await new.stop()
        assert len(stays.taken) == 5


async def test_the_end_is_bounded_and_says_what_is_lost(mta: RecordingMta, caplog: pytest.LogCaptureFixture) -> None:
    async with Receiver(delay=30) as silent, Receiver(always=500) as broken, Receiver(delay=0.01) as good:
        plugin = await webhooks(mta, *(endpoint(each.url) for each in (silent, broken, good)), drain="300ms")
        await tell(plugin, 20)
        began = time.monotonic()
        await plugin.stop()
        assert time.monotonic() - began < 1
        assert (len(good.taken), len(set(good.ids))) == (20, 20)
        assert caplog.text.count("events lost at the end host=127.0.0.1 count=20") == 2
        assert len(broken.events) <= 9, "five failures in a row are enough, and no more than those under way"


async def test_it_costs_little_to_tell(mta: RecordingMta) -> None:
    async with Receiver(delay=30) as receiver:
        plugin = await webhooks(mta, endpoint(receiver.url), drain="0ms")
        copy = delivery(envelope=envelope(account="acme"), message=message(fields={"X-Vars": '{"a": "b"}'}))
        how = result(Outcome.DELIVERED)
        began = time.process_time()
        for _ in range(5000):
            plugin.on_result(copy, how)
        await until(lambda: not plugin._unnumbered and plugin._numbering is None)
        each = (time.process_time() - began) / 5000
        assert each < 100e-6
        await plugin.stop()
