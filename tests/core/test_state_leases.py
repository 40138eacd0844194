"""Limits that all workers share: used to the last unit, passed by nobody, and mostly without a word to their owner."""

import asyncio
import random
import socket
import sys
from collections import Counter as Tally

import pytest

from mtaframe import Counter
from mtaframe.clock import SystemClock
from mtaframe.link import Link
from mtaframe.state import desk, remote
from tests.core.state_server import BOUNCED, SENT, Server, serving


async def taken(worker, count=1, **limits):
    """How often it could be taken until a limit refused."""
    times = 0
    while await worker.counters.take(SENT, count, **limits) is None:
        times += 1
    return times


async def test_what_is_taken_on_a_lease_asks_nobody():
    async with serving(2) as (server, (one, _)):
        assert await one.counters.take(SENT, 1, per_hour=1000) is None
        server.links[0][1].asked = None  # whoever asks fails
        assert [await one.counters.take(SENT, 1, per_hour=1000) for _ in range(64)] == [None] * 64
        del server.links[0][1].asked
        assert await one.counters.sums([SENT], server.clock.now()) == [65]


async def test_nobody_is_refused_while_another_worker_has_units_in_hand():
    async with serving(3) as (server, (one, two, three)):
        assert await one.counters.take(SENT, 1, per_hour=100) is None
        assert await two.counters.take(SENT, 1, per_hour=100) is None
        assert await taken(three, per_hour=100) == 98
        assert await one.counters.take(SENT, 1, per_hour=100) == "hour"
        assert await server.sum() == 100


async def test_what_is_given_back_can_be_taken_again():
    async with serving(2) as (server, (one, two)):
        assert await taken(one, 10, per_day=35) == 3
        assert await one.counters.take(SENT, 6, per_day=35) == "day"
        await two.counters.add({SENT: -1})
        two.counters.flush()
        await server.quiet()
        assert await one.counters.take(SENT, 6, per_day=35) is None


async def test_what_is_in_hand_when_the_hour_turns_belongs_to_the_new_one():
    async with serving(2) as (server, (one, two)):
        assert await one.counters.take(SENT, 1, per_hour=40, per_day=60) is None
        server.clock.advance(3600)
        assert await taken(one, per_hour=40, per_day=60) == 40
        assert await two.counters.take(SENT, 1, per_hour=40, per_day=60) == "hour"


async def test_hours_turn_and_the_day_goes_on():
    async with serving(2) as (server, (one, two)):
        assert await one.counters.take(SENT, 1, per_hour=40, per_day=60) is None
        server.clock.advance(3600)
        assert await taken(two, per_hour=40, per_day=60) == 40
        server.clock.advance(3600)
        assert await taken(one, per_hour=40, per_day=60) == 19
        assert await two.counters.take(SENT, 1, per_hour=40, per_day=60) == "day"
        server.clock.advance(86400)
        assert await two.counters.take(SENT, 40, per_hour=40, per_day=60) is None


async def test_a_lease_is_good_for_its_own_limits_only():
    async with serving(2) as (_, (one, two)):
        assert await one.counters.take(SENT, 1, per_hour=1000) is None
        assert await one.counters.take(SENT, 1, per_hour=2) is None
        assert await one.counters.take(SENT, 1, per_hour=2) == "hour"
        assert await two.counters.take(SENT, 1, per_hour=2) == "hour"
        assert await taken(two, per_hour=10) == 8
        assert await one.counters.take(SENT, 1) is None, "without a limit it is counted"
        assert await one.counters.take(SENT, 1, per_hour=12) is None
        assert await one.counters.take(SENT, 1, per_hour=12) == "hour"


async def test_a_burst_asks_once():
    async with serving(2) as (server, (one, _)):
        asked, ask = [], server.links[0][1].asked
        server.links[0][1].asked = lambda *call: asked.append(call) or ask(*call)
        burst = [one.counters.take(SENT, 1, per_hour=1000) for _ in range(50)]
        assert await asyncio.gather(*burst) == [None] * 50
        assert len(asked) == 1


async def test_a_lease_that_is_not_used_goes_back_by_itself(monkeypatch):
    monkeypatch.setattr(remote, "IDLE", 0.01)
    async with serving(2) as (server, (one, _)):
        assert await one.counters.take(SENT, 1, per_hour=100) is None
        assert server.desk._holdings.held(SENT) > 0
        await asyncio.sleep(0.05)
        assert server.desk._holdings.held(SENT) == 0
        assert one.counters._idle_timer is None
        assert await server.sum() == 1


async def test_what_a_worker_that_died_had_in_hand_counts_as_taken():
    async with serving(2) as (server, (one, two)):
        heard = Tally()
        two.counters.follow("a.", heard.update)
        assert await one.counters.take(SENT, 1, per_hour=100) is None
        held = server.desk._holdings.held(SENT)
        await server.kill(0)
        await server.quiet()
        assert await server.sum() == heard[SENT] == 1 + held
        assert await taken(two, per_hour=100) == 99 - held


async def test_a_worker_that_ends_gives_everything_back():
    async with serving(2) as (server, (one, two)):
        await one.counters.add({BOUNCED: 1})
        assert await one.counters.take(SENT, 1, per_hour=100) is None
        await one.end()
        await server.kill(0)
        assert (await server.sum(), await server.sum(BOUNCED)) == (1, 1)
        assert await taken(two, per_hour=100) == 99


async def test_who_is_stuck_is_waited_for_once(monkeypatch):
    monkeypatch.setattr(desk, "PATIENCE", 0.05)
    async with serving(2) as (server, (one, two)):
        loop, go_on, register = asyncio.get_running_loop(), asyncio.Event(), Counter("r")
        assert await one.counters.take(SENT, 1, per_hour=100) is None
        held = server.desk._holdings.held(SENT)
        stuck = {"state.give_back": lambda _: go_on.wait(), "state.registered": lambda _: go_on.wait()}
        server.links[0][1].handlers.update(stuck)
        began = loop.time()
        assert await taken(two, per_hour=100) == 99 - held
        assert 0.05 <= loop.time() - began < 0.5
        monkeypatch.setattr(desk, "PATIENCE", 60.0)
        assert await two.counters.take(SENT, 1, per_hour=100) == "hour"
        assert await two.registers.change(register, 0, 1)
        go_on.set()
        server.links[0][1].handlers.update(one.handlers())
        await asyncio.sleep(0.01)
        assert await taken(two, per_hour=100) == held


async def test_who_needs_many_gets_them_though_others_keep_asking():
    async with serving(2) as (server, (one, two)):
        assert await one.counters.take(SENT, 50, per_hour=100) is None
        again = []

        def give_back_and_ask_again(name):
            one.counters.give_back(name)
            again.append(asyncio.ensure_future(one.counters.take(SENT, 1, per_hour=100)))

        server.links[0][1].handlers["state.give_back"] = give_back_and_ask_again
        assert await two.counters.take(SENT, 49, per_hour=100) is None
        assert await asyncio.gather(*again) == [None]


@pytest.mark.parametrize("seed", range(8))
async def test_a_limit_is_used_to_the_last_unit_and_never_passed(seed):
    """Workers take and give at random over hours; each hour ends when all are refused."""
    chance = random.Random(seed)
    async with serving(chance.randint(2, 5)) as (server, workers):
        per_hour = chance.randint(1, 400)
        for _ in range(4):
            used = 0

            async def work(worker):
                nonlocal used
                while True:
                    count = chance.randint(1, 3)
                    if await worker.counters.take(SENT, count, per_hour=per_hour) is None:
                        used += count
                        assert used <= per_hour
                    elif count == 1:
                        return
                    if chance.random() < 0.1:
                        used -= 1
                        await worker.counters.add({SENT: -1})
                        worker.counters.flush()
                        await server.quiet()
                    await asyncio.sleep(chance.choice((0, 0.0002)))

            await asyncio.gather(*map(work, workers))
            await server.quiet()
            for worker in workers:
                used += await taken(worker, per_hour=per_hour)
            assert (used, await server.sum()) == (per_hour, per_hour)
            server.clock.advance(chance.randint(1800, 3600) if chance.random() < 0.5 else 3600)
            server.clock.advance(3600)


@pytest.mark.parametrize("seed", range(8))
async def test_no_limit_is_passed_when_the_hour_turns_while_all_are_taking(seed):
    chance, used = random.Random(seed), Tally()
    async with serving(3) as (server, workers):

        async def work(worker):
            for _ in range(300):
                if await worker.counters.take(SENT, 1, per_hour=100, per_day=250) is None:
                    now = server.clock.now()
                    used[now.replace(minute=0)] += 1
                    used[now.date()] += 1
                if chance.random() < 0.02:
                    server.clock.advance(600)
                await asyncio.sleep(chance.choice((0, 0, 0.0002)))

        await asyncio.gather(*map(work, workers))
        hours = {hour: count for hour, count in used.items() if hasattr(hour, "hour")}
        assert max(hours.values()) <= 100
        assert max(count for day, count in used.items() if day not in hours) <= 250


TAKER = """
import asyncio, os, socket, sys
from mtaframe import Counter
from mtaframe.clock import SystemClock
from mtaframe.link import Link
from mtaframe.state import MemoryState
from mtaframe.state.remote import RemoteState

async def main():
    link = await Link.over(socket.socket(fileno=int(sys.argv[1])), {})
    worker = RemoteState(link, MemoryState(SystemClock()).keyring)
    link.handlers.update(worker.handlers())
    await worker.begin()
    os.write(1, b"!")
    while not worker.registers.value(Counter("go")):
        await asyncio.sleep(0.001)
    counter = Counter("a.sent", "shop")
    while await worker.counters.take(counter, 1, per_day=int(sys.argv[2])) is None:
        os.write(1, b".")
    await worker.end()

asyncio.run(main())
"""


async def test_two_processes_take_one_limit_and_one_of_them_is_killed():
    server, limit, processes = Server(SystemClock()), 50_000, []
    for number in range(2):
        near, far = socket.socketpair()
        server.desk.joined(number, await Link.over(near, server.desk.handlers(number)))
        with far:
            command = sys.executable, "-c", TAKER, str(far.fileno()), str(limit)
            pipe = asyncio.subprocess.PIPE
            processes.append(await asyncio.create_subprocess_exec(*command, stdout=pipe, pass_fds=(far.fileno(),)))
    assert [await process.stdout.readexactly(1) for process in processes] == [b"!", b"!"]
    starter = await server.start(2)
    assert await starter.registers.change(Counter("go"), 0, 1)
    victim, survivor = processes
    rest = asyncio.ensure_future(survivor.stdout.read())
    seen = len(await victim.stdout.read(1000))
    victim.kill()
    seen += len(await victim.stdout.read())
    assert await victim.wait() < 0
    await server.desk.left(0)
    used = seen + len(await rest)
    assert await survivor.wait() == 0
    assert limit - 2 * 64 <= used <= limit
    assert await server.sum(hours=24) == limit, "what the dead one had in hand counts"
    await server.kill(2)
