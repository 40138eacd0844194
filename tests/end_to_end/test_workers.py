"""Several workers behind one door: who dies is replaced, and what one knows the others know."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from mtaframe.control import stream
from mtaframe.notation import Endpoint
from mtaframe.testing import ScriptedMx
from tests.dialogue import MAIL, Dialogue
from tests.end_to_end.chain import PROGRAM, Mtaframe
from tests.end_to_end.postfix import free_port

SETTINGS = """
workers = 2
drain = "5s"
[state]
{state}
[route]
next_hop = "127.0.0.1"
port = {hop}
tls = "off"
[[listener]]
name = "smtp"
kind = "mta"
addresses = ["{endpoint}"]
trusted = ["127.0.0.0/8"]
patience = "{patience}"
"""


@asynccontextmanager
async def server(
    folder: Path, mx: ScriptedMx, patience: str = "20s", state: str = 'backend = "memory"'
) -> AsyncIterator[tuple[Mtaframe, int]]:
    """A server with two workers, and its port."""
    endpoint = Endpoint(f"127.0.0.1:{free_port()}")
    settings = SETTINGS.format(hop=mx.port, endpoint=endpoint, patience=patience, state=state)
    async with Mtaframe(folder / "conf", settings) as mta:
        yield mta, endpoint.port


async def until(mta: Mtaframe, *pids: int) -> dict[str, Any]:
    """The status once two workers are at work, none of these."""
    async with asyncio.timeout(20):
        while True:
            status = await mta.status()
            now = {worker["pid"] for worker in status["workers"]}
            if len(now) == 2 and not now & set(pids):
                return status
            await asyncio.sleep(0.05)


def to(mx: ScriptedMx) -> list[str]:
    return [recipient for mail in mx.received for recipient in mail.recipients]


async def test_clients_are_shared_out_evenly(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, port):
        clients = [await Dialogue(port).__aenter__() for _ in range(10)]
        assert [worker["connections"] for worker in (await mta.status())["workers"]] == [5, 5]
        for client in clients:
            await client.cut()


async def test_a_worker_that_is_killed_is_replaced_and_the_other_serves_on(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, port):
        one, other = [await Dialogue(port).__aenter__() for _ in range(2)]
        [first, second] = [worker["pid"] for worker in (await mta.status())["workers"]]
        os.kill(first, signal.SIGKILL)
        said = [await noop(client) for client in (one, other)]
        assert sorted(said) == ["", "250 2.0.0 ok"]
        async with Dialogue(port) as third:
            assert (await third.mail("bob@example.net")).startswith("250 ")
        assert second in {worker["pid"] for worker in (await until(mta, first))["workers"]}
        for client in (one, other):
            await client.cut()
    assert f"worker died pid={first} status=-9" in mta.log


async def test_while_a_worker_hangs_the_operator_has_an_answer(tmp_path: Path) -> None:
    """`mtaframe status` waited for the worker, and `mtaframe drain` with it, until it was replaced."""
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, port):
        [first, second] = [worker["pid"] for worker in (await mta.status())["workers"]]
        os.kill(first, signal.SIGSTOP)
        async with asyncio.timeout(10):
            status = await mta.status()
        os.kill(first, signal.SIGCONT)
        assert [(worker["pid"], worker["connections"]) for worker in status["workers"]] == [(first, None), (second, 0)]
        async with Dialogue(port) as client:
            assert (await client.mail("bob@example.net")).startswith("250 ")
        assert [worker["connections"] for worker in (await mta.status())["workers"]] != [None, 0]


async def noop(client: Dialogue) -> str:
    """The reply; empty if the connection is gone."""
    with suppress(ConnectionError):
        return await client.say("NOOP")
    return ""


async def test_a_client_that_comes_while_no_worker_is_there_waits_for_one(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, port):
        for worker in (await mta.status())["workers"]:
            os.kill(worker["pid"], signal.SIGKILL)
        async with Dialogue(port) as client:
            assert (await client.mail("bob@example.net")).startswith("250 ")


async def test_workers_end_with_their_supervisor_and_finish_what_the_next_hop_has(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, port):
        mx.script("dot", "250 2.0.0 ok", delay=1)
        workers = [worker["pid"] for worker in (await mta.status())["workers"]]
        client = await Dialogue(port).__aenter__()
        await client.envelope("bob@example.net")
        await client.data()
        while not mx.received:
            await asyncio.sleep(0.01)
        os.kill(mta.pid, signal.SIGKILL)
        assert (await client.reply()).startswith("250 2.0.0 ok")
        await client.cut()
        async with asyncio.timeout(10):
            while any(alive(pid) for pid in workers):
                await asyncio.sleep(0.05)
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port))


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return b"\nState:\tZ" not in Path(f"/proc/{pid}/status").read_bytes()
    return False


async def test_what_one_worker_has_delivered_another_one_does_not_deliver_again(tmp_path: Path) -> None:
    """The answer was 451, for one of two recipients was not done; the repeat comes to the other worker."""
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, port):
        mx.script("rcpt", "250 2.1.5 ok")
        mx.script("rcpt", "451 4.2.1 mailbox busy")
        one, other = [await Dialogue(port).__aenter__() for _ in range(2)]
        assert (await one.mail("bob@example.net", "carol@example.net")).startswith("451 ")
        assert (await mta.status())["ledger"] == 1
        assert (await other.mail("bob@example.net", "carol@example.net")).startswith("250 ")
        await other.say("NOOP")
        assert (await mta.status())["ledger"] == 0
        assert sorted(to(mx)) == ["bob@example.net", "carol@example.net"]
        assert (await one.mail("bob@example.net", "carol@example.net")).startswith("250 ")
        assert len(to(mx)) == 4, "the same again, on purpose"
        for client in (one, other):
            await client.cut()


async def test_what_a_worker_has_delivered_is_known_after_its_death(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, port):
        mx.script("rcpt", "250 2.1.5 ok")
        mx.script("rcpt", "451 4.2.1 mailbox busy")
        async with Dialogue(port) as client:
            assert (await client.mail("bob@example.net", "carol@example.net")).startswith("451 ")
        workers = [worker["pid"] for worker in (await mta.status())["workers"]]
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        async with Dialogue(port) as client:
            assert (await client.mail("bob@example.net", "carol@example.net")).startswith("250 ")
        assert sorted(to(mx)) == ["bob@example.net", "carol@example.net"]


async def test_what_was_delivered_is_known_after_the_death_of_the_whole_server(tmp_path: Path) -> None:
    """The entry was in the file of the state before the client heard its 451."""
    async with ScriptedMx() as mx:
        mx.script("rcpt", "250 2.1.5 ok")
        mx.script("rcpt", "451 4.2.1 mailbox busy")
        async with server(tmp_path, mx, state=f'folder = "{tmp_path}/state"') as (mta, port):
            async with Dialogue(port) as client:
                assert (await client.mail("bob@example.net", "carol@example.net")).startswith("451 ")
            await mta.stop(kill=True)
            await mta.start()
            assert (await mta.status())["ledger"] == 1
            async with Dialogue(port) as client:
                assert (await client.mail("bob@example.net", "carol@example.net")).startswith("250 ")
            assert sorted(to(mx)) == ["bob@example.net", "carol@example.net"]
            assert (await mta.status())["ledger"] == 0
        stored = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
        assert not [secret for secret in (b"alice", b"bob", b"carol", b"example") if secret in stored]


async def test_a_repeat_at_another_worker_joins_an_attempt_beyond_its_dot(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, server(tmp_path, mx, patience="1s") as (_, port):
        mx.script("dot", "250 2.0.0 at last", delay=1.5)
        one, other = [await Dialogue(port).__aenter__() for _ in range(2)]
        assert (await one.mail("bob@example.net")).startswith("451 4.4.2 ")
        assert (await other.mail("bob@example.net")).startswith("250 2.0.0 ")
        assert to(mx) == ["bob@example.net"]
        for client in (one, other):
            await client.cut()


async def test_an_attempt_that_died_with_its_worker_is_made_again(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, server(tmp_path, mx, patience="1s") as (mta, port):
        mx.script("dot", "250 2.0.0 at last", delay=30)
        one, other = [await Dialogue(port).__aenter__() for _ in range(2)]
        workers = {worker["pid"] for worker in (await mta.status())["workers"]}
        assert (await one.mail("bob@example.net")).startswith("451 4.4.2 ")
        [busy] = [worker["pid"] for worker in (await mta.status())["workers"] if worker["under_way"]]
        assert busy in workers
        await other.envelope("bob@example.net")
        await other.data()
        waiting = asyncio.ensure_future(other.reply())
        await asyncio.sleep(0.2)
        os.kill(busy, signal.SIGKILL)
        assert (await waiting).startswith("451 4.4.2 "), "nobody knows what became of it"
        assert (await other.mail("bob@example.net")).startswith("250 ")
        for client in (one, other):
            await client.cut()


async def test_workers_are_renewed_without_a_client_noticing(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, port):
        workers = [worker["pid"] for worker in (await mta.status())["workers"]]
        replies = []

        async def load() -> None:
            async with Dialogue(port) as client:
                octets = MAIL.replace(b"<1@", b"<%d@" % len(replies))
                replies.append(await client.mail("bob@example.net", octets=octets))

        renewal = await asyncio.create_subprocess_exec(*PROGRAM, "restart", "--conf", str(mta.folder))
        while renewal.returncode is None:
            await load()
        assert renewal.returncode == 0
        await until(mta, *workers)
        assert len(replies) > 10
        assert all(reply.startswith("250 ") for reply in replies)


async def test_a_configuration_that_one_worker_can_not_take_is_taken_by_none(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, port):
        main = mta.folder / "mtaframe.toml"
        main.write_text(f'plugins = ["ip_pools"]\n{main.read_text()}')
        pool = '[[source]]\nname = "a"\naddress = "192.0.2.1"\nehlo = "a.example.com"\n'
        (mta.folder / "ip_pools.toml").write_text(f'missing = "error"\n{pool}')
        reload = await asyncio.create_subprocess_exec(
            *(*PROGRAM, "reload", "--conf", str(mta.folder)), stderr=asyncio.subprocess.DEVNULL
        )
        assert await reload.wait() != 0
        status = await mta.status()
        assert (status["generation"], status["plugins"]) == (1, [])
        async with Dialogue(port) as client:
            assert (await client.mail("bob@example.net")).startswith("250 ")
    assert "are not on this host" in mta.log


async def test_whoever_looks_sees_attempts_as_they_happen(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, port):
        lines = stream(mta.folder / "control.sock", "tail")
        first = asyncio.create_task(asyncio.to_thread(next, lines))
        await asyncio.sleep(0.3)
        async with Dialogue(port) as client:
            await client.mail("bob@example.net")
        seen = (await first)["line"]
        assert seen.startswith("attempt id=")
        assert " outcome=delivered " in seen
        assert "bob" not in seen
        lines.close()


async def test_drain_ends_the_server_when_all_is_done(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, server(tmp_path, mx) as (mta, port):
        mx.script("dot", "250 2.0.0 ok", delay=2.5)
        client = await Dialogue(port).__aenter__()
        await client.envelope("bob@example.net")
        await client.data()
        drain = await asyncio.create_subprocess_exec(
            *(*PROGRAM, "drain", "--conf", str(mta.folder)), stdout=asyncio.subprocess.PIPE
        )
        assert (await client.reply()).startswith("250 2.0.0 ok")
        assert (await client.say("NOOP")).startswith("421 ")
        await client.cut()
        said, _ = await drain.communicate()
        assert said == b"the server has ended\n"
