"""One state for all workers: what each counts, changes and asks, with its owner at the other end of a link."""

import asyncio
import random
import sqlite3
from collections import Counter as Tally
from datetime import timedelta

import pytest

from mtaframe.link import LinkError
from mtaframe.settings import StateSettings
from mtaframe.state import open_state, remote
from mtaframe.state.database import Database
from mtaframe.testing import VirtualClock
from tests.core.state_server import BOUNCED, OTHER, SENT, serving

# counters


async def test_what_a_worker_adds_it_reads_at_once_and_the_others_soon():
    async with serving(2) as (server, (one, other)):
        await one.counters.add({SENT: 2, BOUNCED: 1})
        await one.counters.add({SENT: 3})
        assert await one.counters.sums([SENT, BOUNCED, OTHER], server.clock.now()) == [5, 1, 0]
        await other.counters.add({SENT: 1})
        await asyncio.sleep(2 * remote.FLUSH)
        assert await one.counters.sums([SENT], server.clock.now()) == [6]
        await other.counters.clear([SENT])
        assert await one.counters.sums([SENT, BOUNCED], server.clock.now()) == [0, 1]


async def test_what_is_counted_while_an_hour_of_before_is_read_is_none_of_it():
    async with serving(2) as (server, (one, other)):
        await one.counters.add({SENT: 2})
        began = server.clock.now()
        await server.quiet()
        server.clock.advance(3600)
        async with server.desk._counting:
            reading = asyncio.ensure_future(one.counters.sums([SENT], began, server.clock.now()))
            await asyncio.sleep(0.02)
            await one.counters.add({SENT: 3})
            await other.counters.add({SENT: 4})
            other.counters.flush()
        assert await reading == [2]


async def test_what_is_counted_between_two_flushes_is_one_word():
    async with serving(1) as (server, [worker]):
        said = []
        server.links[0][1].tell = lambda *word: said.append(word)
        for _ in range(1000):
            await worker.counters.add({SENT: 1})
        worker.counters.flush()
        assert [(name, list(amounts.values())) for name, amounts, *_ in said] == [("state.counted", [1000])]


async def test_nothing_is_lost_while_the_owner_is_slow():
    async with serving(1) as (server, [worker]):
        async with server.desk._counting:
            for _ in range(10):
                await worker.counters.add({SENT: 1})
                worker.counters.flush()
            reading = asyncio.ensure_future(worker.counters.sums([SENT], server.clock.now()))
            await asyncio.sleep(0.02)
            await worker.counters.add({SENT: 1})
            assert not reading.done()
        assert await reading == [11], "what was added while it was read belongs to it"


async def test_a_follower_hears_exactly_what_the_others_add_to_what_it_follows():
    async with serving(3) as (server, (one, two, three)):
        heard = {worker: Tally() for worker in (one, two, three)}
        ends = {worker: worker.counters.follow("a.", heard[worker].update) for worker in heard}
        await server.quiet()
        await one.counters.add({SENT: 1, OTHER: 9})
        await two.counters.add({SENT: 10, BOUNCED: 5})
        assert await three.counters.take(SENT, 100, per_hour=1000) is None
        assert await three.counters.take(SENT, 100, per_hour=1000) is None
        await server.quiet()
        assert heard == {one: {SENT: 210, BOUNCED: 5}, two: {SENT: 201}, three: {SENT: 11, BOUNCED: 5}}
        ends[one]()
        await two.counters.add({SENT: 10})
        await server.quiet()
        assert heard[one][SENT] == 210


@pytest.mark.parametrize("seed", range(5))
async def test_what_is_read_and_what_is_told_add_up_whenever_it_is_read(seed):
    """Each worker reads now and then, adds its own to that, and what it is told: at last all know the truth."""
    chance = random.Random(seed)
    total, known = 0, Tally()
    async with serving(4) as (server, workers):

        async def work(number, worker):
            nonlocal total
            worker.counters.follow("a.", lambda amounts: known.update({number: amounts[SENT]}))
            [known[number]] = await worker.counters.sums([SENT], server.clock.now())
            for _ in range(150):
                if chance.random() < 0.1:
                    [known[number]] = await worker.counters.sums([SENT], server.clock.now())
                elif chance.random() < 0.5:
                    total += 1
                    known[number] += 1
                    await worker.counters.add({SENT: 1})
                elif await worker.counters.take(SENT, 1, per_hour=200) is None:
                    total += 1
                    known[number] += 1
                if chance.random() < 0.2:
                    worker.counters.flush()
                await asyncio.sleep(chance.choice((0, 0, 0, 0.0005)))

        await asyncio.gather(*(work(number, worker) for number, worker in enumerate(workers)))
        await server.quiet()
        assert await server.sum() == total
        assert known == dict.fromkeys(range(4), total)


# registers, sequences, digests, documents


async def test_a_register_is_known_everywhere_when_the_answer_comes():
    async with serving(2) as (server, (one, two)):
        assert await one.registers.change(SENT, 0, 7)
        assert (one.registers.value(SENT), two.registers.all("a.sent")) == (7, {SENT: 7})
        assert not await two.registers.change(SENT, 0, 8)
        three = await server.start(2)
        assert three.registers.value(SENT) == 7
        assert await three.registers.change(SENT, 7, 0)
        assert one.registers.all() == two.registers.all() == {}


async def test_who_changes_a_register_waits_for_those_that_do_not_know_it_yet():
    async with serving(2) as (server, (one, two)):
        go_on = asyncio.Event()

        async def know_later(values):
            await go_on.wait()
            two.registers.registered(values)

        server.links[1][1].handlers["state.registered"] = know_later
        change = asyncio.ensure_future(one.registers.change(SENT, 0, 1))
        await asyncio.sleep(0.02)
        assert not change.done()
        go_on.set()
        assert await change
        assert two.registers.value(SENT) == 1


async def test_the_last_change_of_a_register_is_the_last_that_is_told():
    """Also where the owner's state takes its time."""
    async with serving(2) as (server, (one, two)):
        change = server.state.registers.change

        async def change_slowly(register, before, after):
            is_changed = await change(register, before, after)
            await asyncio.sleep(0.01 if after == 1 else 0)
            return is_changed

        server.state.registers.change = change_slowly
        assert await asyncio.gather(one.registers.change(SENT, 0, 1), two.registers.change(SENT, 1, 2)) == [True, True]
        assert one.registers.value(SENT) == two.registers.value(SENT) == 2


async def test_of_many_that_change_a_register_one_is_first_and_all_agree():
    async with serving(4) as (server, workers):
        changes = 0

        async def work(worker):
            nonlocal changes
            for _ in range(50):
                value = worker.registers.value(SENT)
                is_changed = await worker.registers.change(SENT, value, value + 1)
                changes += is_changed

        await asyncio.gather(*map(work, workers))
        values = [worker.registers.value(SENT) for worker in workers]
        assert values == [changes] * 4 == [server.state.registers.value(SENT)] * 4


async def test_numbers_that_are_asked_in_one_turn_travel_together_and_none_is_given_twice():
    async with serving(2) as (server, (one, two)):
        asked, ask = [], server.links[0][1].asked
        server.links[0][1].asked = lambda *call: asked.append(call) or ask(*call)
        wanted = [worker.sequences.next(SENT, 2) for worker in (one, two) for _ in range(20)]
        numbers = await asyncio.gather(*wanted, one.sequences.next(OTHER))
        assert len(asked) == 1
        assert sorted(numbers[:-1]) == list(range(1, 81, 2))
        assert numbers[-1] == 1


async def test_a_list_is_one_for_all_and_its_octets_do_not_cross(monkeypatch):
    async with serving(2) as (server, (one, two)):
        crossed, ask = [], server.links[0][1].asked
        server.links[0][1].asked = lambda *call: crossed.append(call) or ask(*call)
        until = server.clock.now() + timedelta(days=1)
        await one.digests.put("traps", b"bob@example.net", 3, until)
        assert await two.digests.get("traps", b"bob@example.net") == 3
        assert await server.state.digests.get("traps", b"bob@example.net") == 3
        await one.digests.drop("traps", b"bob@example.net")
        assert await two.digests.get("traps", b"bob@example.net") is None
        assert "bob" not in repr(crossed)


async def test_workers_that_agree_at_the_same_moment_agree_on_one_number():
    async with serving(2) as (server, workers):
        until = server.clock.now() + timedelta(days=1)
        found = await asyncio.gather(*(one.digests.agree("a", b"b", value, until) for value, one in enumerate(workers)))
        assert set(found) == {0}


async def test_documents_are_the_owners():
    async with serving(2) as (server, (one, two)):
        await one.documents.put("shop", "template", "welcome", b"Hello")
        assert await two.documents.get("shop", "template", "welcome") == b"Hello"
        assert await two.documents.names("shop", "template") == ["welcome"]
        assert await server.state.documents.get("shop", "template", "welcome") == b"Hello"
        await two.documents.drop("shop")
        assert await one.documents.get("shop", "template", "welcome") is None


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
async def test_of_those_who_change_a_document_at_once_one_succeeds(tmp_path, backend):
    state = await open_state(StateSettings(backend=backend, folder=str(tmp_path)), tmp_path, VirtualClock())
    async with serving(2, state) as (_, workers):
        before = None
        for turn in range(2):
            texts = [f"{turn} {number}".encode() for number in range(20)]
            changes = (workers[n % 2].documents.change("shop", "x", "a", before, text) for n, text in enumerate(texts))
            changed = [text for text, is_mine in zip(texts, await asyncio.gather(*changes), strict=True) if is_mine]
            assert [await worker.documents.get("shop", "x", "a") for worker in workers] == changed * 2
            before = changed[0]
        made = await asyncio.gather(
            *(workers[n % 2].documents.change("shop", "x", f"b{n}", None, b"", 5) for n in range(20))
        )
        assert (sum(made), len(await workers[0].documents.names("shop", "x"))) == (4, 5)
        gone = await asyncio.gather(*(worker.documents.change("shop", "x", "a", before, None) for worker in workers))
        assert (sum(gone), await workers[1].documents.get("shop", "x", "a")) == (1, None)
    await state.close()


async def test_a_worker_is_told_that_documents_can_not_be_read_now(tmp_path, monkeypatch, caplog):
    """Each question left a trace of many lines in the log of the owner, which says once what is wrong with the disk."""

    def changes(*_):
        raise sqlite3.OperationalError("disk I/O error")

    state = await open_state(StateSettings(folder=str(tmp_path)), tmp_path, VirtualClock())
    async with serving(1, state) as (_, [worker]):
        await worker.documents.put("shop", "x", "a", b"1")
        with monkeypatch.context() as broken:
            broken.setattr(Database, "changes", changes)
            for question in (worker.documents.names("shop", "x"), worker.documents.change("shop", "x", "b", None, b"")):
                with pytest.raises(LinkError, match="can't be read now"):
                    await question
        assert [record.getMessage().split(",")[0] for record in caplog.records] == ["state is not written"]
        assert await worker.documents.names("shop", "x") == ["a"]
    await state.close()


async def test_what_workers_keep_in_a_file_the_next_ones_find(tmp_path):
    settings, clock = StateSettings(folder=str(tmp_path)), VirtualClock()
    state = await open_state(settings, tmp_path, clock)
    async with serving(2, state) as (_, (one, two)):
        await one.counters.add({SENT: 2})
        assert await two.counters.take(SENT, 3, per_hour=100) is None
        assert await one.registers.change(OTHER, 0, 7)
        assert await two.sequences.next(SENT, 5) == 1
        await one.digests.put("traps", b"bob@example.net", 3, clock.now() + timedelta(days=1))
        await two.documents.put("shop", "template", "welcome", b"Hello")
    await state.close()
    state = await open_state(settings, tmp_path, clock)
    async with serving(2, state) as (_, (one, two)):
        assert await one.counters.sums([SENT], clock.now()) == [5]
        assert two.registers.value(OTHER) == 7
        assert await one.sequences.next(SENT) > 5
        assert await two.digests.get("traps", b"bob@example.net") == 3
        assert await one.documents.get("shop", "template", "welcome") == b"Hello"
    await state.close()


async def test_without_an_owner_nothing_is_taken_and_what_is_counted_is_nobodys():
    async with serving(1) as (server, [worker]):
        assert await worker.counters.take(SENT, 1, per_hour=100) is None
        reading = asyncio.ensure_future(worker.sequences.next(SENT))
        await server.kill(0)
        for call in (
            reading,
            worker.counters.take(SENT, 1, per_hour=100),
            worker.counters.sums([SENT], server.clock.now()),
            worker.sequences.next(SENT),
            worker.registers.change(SENT, 0, 1),
            worker.digests.get("traps", b"x"),
            worker.documents.names("shop", "template"),
        ):
            with pytest.raises(LinkError):
                await call
        await worker.counters.add({SENT: 1})
        worker.counters.follow("a.", print)()
        worker.counters.flush()
        await worker.end()
