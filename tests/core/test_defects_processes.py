"""Defects of the processes that a hunt has found: what happened, and that it happens no more."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from mtaframe import Outcome
from mtaframe.crew import Deaths
from mtaframe.ledger import Ledger
from mtaframe.testing import ScriptedMx, VirtualClock, result
from tests.core.test_ledger_shared import workers
from tests.dialogue import Dialogue
from tests.end_to_end.chain import PROGRAM, Mtaframe
from tests.end_to_end.postfix import free_port
from tests.end_to_end.test_workers import SETTINGS, server, until


async def command(mta: Mtaframe, name: str) -> asyncio.subprocess.Process:
    """``mtaframe NAME``, under way."""
    arguments = (*PROGRAM, name, "--conf", str(mta.folder))
    return await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def beginning(mta: Mtaframe) -> tuple[asyncio.Task[None], asyncio.subprocess.Process]:
    """Its start, under way, and the process, which has workers already."""
    starting = asyncio.create_task(mta.start())
    async with asyncio.timeout(10):
        while mta._process is None or not children(mta.pid):
            await asyncio.sleep(0.001)
    return starting, mta._process


async def test_a_server_starts_while_workers_of_the_one_that_died_finish_their_mail(tmp_path: Path) -> None:
    """They take no clients, but they kept the listening sockets open, and the new server found its address in use."""
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, port):
        mx.script("dot", "250 2.0.0 ok", delay=4)
        async with Dialogue(port) as client:
            await client.envelope("bob@example.net")
            await client.data()
            await mx.until(lambda: bool(mx.received))
            os.kill(mta.pid, signal.SIGKILL)
            await mta.start()
            async with Dialogue(port) as other:
                assert (await other.mail("carol@example.net")).startswith("250 ")
            assert (await client.reply()).startswith("250 ")
            await client.cut()


async def test_a_worker_that_dies_while_the_server_starts_is_replaced(tmp_path: Path) -> None:
    """It was not, for there was no configuration in force yet; the server went on with one worker less for ever."""
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, _):
        await mta.stop()
        starting, process = await beginning(mta)
        [dying, *_] = children(process.pid)
        os.kill(dying, signal.SIGKILL)
        await starting
        await until(mta, dying)


async def test_a_worker_that_dies_while_workers_are_renewed_leaves_none_too_many(tmp_path: Path) -> None:
    """The renewal failed over the dead one, whose place had got two new ones by then."""
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, _):
        old = [worker["pid"] for worker in (await mta.status())["workers"]]
        renewal = await command(mta, "restart")
        while len(children(mta.pid)) < 3:
            await asyncio.sleep(0.005)
        os.kill(old[0], signal.SIGKILL)
        os.kill(old[1], signal.SIGKILL)
        assert await renewal.wait() == 0
        await until(mta, *old)
        await asyncio.sleep(1.5)
        assert len((await mta.status())["workers"]) == 2


async def test_two_renewals_at_once_leave_as_many_workers_as_there_were(tmp_path: Path) -> None:
    """The second one failed over a worker that the first one had replaced already."""
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, _):
        old = [worker["pid"] for worker in (await mta.status())["workers"]]
        renewals = [await command(mta, "restart") for _ in range(2)]
        assert [await renewal.wait() for renewal in renewals] == [0, 0]
        await until(mta, *old)
        assert len(children(mta.pid)) == 2


STRANGERS = """
[[listener]]
name = "strangers"
kind = "mta"
addresses = ["127.0.0.1:{port}"]
[clients]
max_per_address = 2
"""


async def test_a_renewal_during_another_one_leaves_the_limits_of_clients_in_force(tmp_path: Path) -> None:
    """While the old worker finished, a third one began at a place where nobody looked for its clients, not even it."""
    async with ScriptedMx() as mx:
        mx.script("dot", "250 2.0.0 ok", delay=3)
        port, other = free_port(), free_port()
        settings = SETTINGS.replace("workers = 2", "workers = 1").format(
            hop=mx.port, endpoint=f"127.0.0.1:{port}", patience="20s", state='backend = "memory"'
        )
        async with Mtaframe(tmp_path / "conf", settings + STRANGERS.format(port=other)) as mta:
            async with Dialogue(port) as client:
                await client.envelope("bob@example.net")
                await client.data()
                await mx.until(lambda: bool(mx.received))
                old = [worker["pid"] for worker in (await mta.status())["workers"]]
                renewals = [await command(mta, "restart")]
                while [worker["pid"] for worker in (await mta.status())["workers"]] == old:
                    await asyncio.sleep(0.02)
                renewals.append(await command(mta, "restart"))
                assert (await client.reply()).startswith("250 ")
                assert [await renewal.wait() for renewal in renewals] == [0, 0]
                await client.cut()
            async with Dialogue(other), Dialogue(other):
                async with Dialogue(other, hello=None) as third:
                    assert third.greeting.startswith("421 ")
                    await third.cut()


async def test_a_server_that_is_told_to_stop_while_workers_are_renewed_stops(tmp_path: Path) -> None:
    """The renewal went on meanwhile: it started a worker that nobody ended, and the server waited for it for ever."""
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, port):
        clients = [await Dialogue(port).__aenter__()]
        is_at_first = (await mta.status())["workers"][0]["connections"] == 1
        clients.append(await Dialogue(port).__aenter__())
        for client, delay in zip(clients, (2.0, 4.0) if is_at_first else (4.0, 2.0), strict=True):
            mx.script("dot", "250 2.0.0 ok", delay=delay)
            await client.envelope("bob@example.net")
            await client.data()
            await asyncio.sleep(0.2)
        renewal = await command(mta, "restart")
        while len(children(mta.pid)) < 3:
            await asyncio.sleep(0.005)
        await asyncio.sleep(1)
        async with asyncio.timeout(10):
            await mta.stop()
        assert [(await client.reply())[:3] for client in clients] == ["250", "250"]
        await renewal.wait()
        for client in clients:
            await client.cut()


async def test_a_server_that_is_told_to_read_again_while_it_starts_starts(tmp_path: Path) -> None:
    """It died of the SIGHUP."""
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, _):
        await mta.stop()
        starting, process = await beginning(mta)
        process.send_signal(signal.SIGHUP)
        await starting
        await until(mta)


async def test_a_server_that_is_told_to_stop_while_it_starts_leaves_nothing_behind(tmp_path: Path) -> None:
    """It died of the SIGTERM and left its Unix sockets; as the first process of a container it did not even hear it."""
    folder, door = tmp_path / "conf", tmp_path / "smtp.sock"
    mta = Mtaframe(folder, SETTINGS.format(hop=25, endpoint=door, patience="20s", state='backend = "memory"'))
    starting, process = await beginning(mta)
    pids = children(process.pid)
    assert door.exists()
    process.terminate()
    with pytest.raises(RuntimeError):
        await starting
    assert process.returncode == 0
    assert not door.exists()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_workers_that_die_as_soon_as_they_live_come_ever_more_slowly() -> None:
    """The pause of 16 seconds was longer than the ten that were looked back on: after it they came in a burst again."""
    deaths, now, pauses = Deaths(), 0.0, []
    for _ in range(12):
        pauses.append(deaths.pause(now))
        now += pauses[-1] + 0.1
    assert pauses == [0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert deaths.pause(now + 30 + Deaths.WITHIN) == 0, "that one lived"


async def test_of_two_attempts_at_two_workers_the_one_that_goes_on_is_still_followed() -> None:
    """A client that lost its connection came again at once. The end of either attempt ended the claim of both."""
    async with workers(3) as (book, (one, other, third)):
        first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
        await one.detach({b"f": first})
        await other.detach({b"f": second})
        second.set_result(result(Outcome.DEFERRED))
        await asyncio.sleep(0.02)
        [joined] = await third.look_up([b"f"])
        assert isinstance(joined, asyncio.Future)
        first.set_result(result())
        assert (await joined).outcome is Outcome.DELIVERED
        assert (book.claims, len(book)) == (0, 1)


async def test_a_worker_that_dies_takes_only_its_own_claims_along() -> None:
    """The other attempt for the same mail went on, and nobody followed it any more."""
    async with workers(2) as (book, (one, other)):
        await one.detach({b"f": asyncio.get_running_loop().create_future()})
        await other.detach({b"f": (goes_on := asyncio.get_running_loop().create_future())})
        book.void(0)
        assert await book.look_up([b"f"]) == ["claimed"]
        goes_on.set_result(result())
        await asyncio.sleep(0.02)
        assert (book.claims, len(book)) == (0, 1)


def test_a_report_is_known_again_in_whatever_order_the_recipients_come() -> None:
    """A repeat with its recipients in another order had its sender told twice."""
    ledger = Ledger(VirtualClock(), key=bytes(32))
    assert ledger.combined([b"bob", b"carol"]) == ledger.combined([b"carol", b"bob"])


@pytest.mark.long
async def test_workers_outlive_a_while_in_which_all_processes_stood_still(tmp_path: Path) -> None:
    """As when a container is paused: the supervisor took the silence for that of stuck workers, and killed them all."""
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, _):
        pids = [worker["pid"] for worker in (await mta.status())["workers"]]
        os.killpg(mta.pid, signal.SIGSTOP)
        await asyncio.sleep(33)
        os.killpg(mta.pid, signal.SIGCONT)
        await asyncio.sleep(1)
        assert [worker["pid"] for worker in (await mta.status())["workers"]] == pids
    assert "worker stuck" not in mta.log
