"""Who comes again is known, at whichever worker, and whatever mail servers change from try to try."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from mtaframe.testing import ScriptedMx
from tests.dialogue import MAIL, Dialogue
from tests.end_to_end.conftest import StartExim, StartPostfix
from tests.end_to_end.postfix import free_port
from tests.faults.books import Books
from tests.faults.processes import connections, is_alive
from tests.faults.real_upstream import EXIM_ROUTERS, EXIM_TRANSPORTS
from tests.faults.service import Service
from tests.plugins.dkim_oracle import rsa_key

SETTINGS = """
hostname = "{name}.test"
workers = 2
drain = "3s"
[state]
folder = "{folder}/state"
[route]
next_hop = "127.0.0.1"
port = {hop}
tls = "off"
[[listener]]
name = "smtp"
kind = "mta"
addresses = ["127.0.0.1:{port}"]
trusted = ["127.0.0.0/8"]
patience = "{patience}"
"""

BOB, CAROL = "bob@example.net", "carol@example.net"


class Server(Service):
    """mtaframe before ``hop``, at ``port``."""

    def __init__(self, folder: Path, hop: int, *, patience: str = "20s") -> None:
        self.port = free_port()
        settings = SETTINGS.format(name=folder.name, folder=folder, hop=hop, port=self.port, patience=patience)
        super().__init__(folder, settings, Books())

    def worker_of(self, client: "Client") -> int:
        """The process that serves this client."""
        [pid] = [pid for pid in self.workers() if any(one.remote_port == client.port for one in connections(pid))]
        return pid

    @asynccontextmanager
    async def both_workers(self) -> AsyncIterator[tuple["Client", "Client"]]:
        """A client at each of the two workers; as many come as it takes."""
        async with AsyncExitStack() as stack:
            clients: dict[int, Client] = {}
            while len(clients) < 2:
                client = await Client(self.port).__aenter__()
                stack.push_async_callback(client.cut)
                clients.setdefault(self.worker_of(client), client)
            one, other = clients.values()
            yield one, other

    async def left_by(self, client: "Client", mx: ScriptedMx, octets: bytes = MAIL) -> None:
        """The client sends Bob a mail, and goes without having read the answer, which is there; the ledger knows."""
        await client.envelope(BOB)
        assert (await client.say("DATA")).startswith("354")
        client.deafen()
        client.send(octets + b".\r\n")
        await mx.until(lambda: mx.messages == 1)
        await asyncio.sleep(0.1)
        await client.cut()
        async with asyncio.timeout(5):
            while not (await self.status())["ledger"]:
                await asyncio.sleep(0.01)


class Client(Dialogue):
    @property
    def port(self) -> int:
        """Its own end."""
        return int(self._writer.get_extra_info("sockname")[1])


@pytest.fixture
async def mx() -> AsyncIterator[ScriptedMx]:
    async with ScriptedMx() as mx:
        yield mx


def to(mx: ScriptedMx) -> list[str]:
    return sorted(recipient for mail in mx.received for recipient in mail.recipients)


async def gone(pid: int) -> None:
    async with asyncio.timeout(5):
        while is_alive(pid):
            await asyncio.sleep(0.01)


async def test_the_same_octets_twice_on_purpose_are_two_deliveries(tmp_path: Path, mx: ScriptedMx) -> None:
    async with Server(tmp_path / "a", mx.port) as mta, mta.both_workers() as (one, other):
        for client in (one, one, other):
            assert (await client.mail(BOB)).startswith("250 ")
            await client.say("NOOP")
    assert to(mx) == [BOB] * 3


async def test_a_client_that_was_cut_before_the_answer_comes_to_the_other_worker(
    tmp_path: Path, mx: ScriptedMx
) -> None:
    async with Server(tmp_path / "a", mx.port) as mta, mta.both_workers() as (one, other):
        await mta.left_by(one, mx)
        assert (await other.mail(BOB)).startswith("250 ")
        assert to(mx) == [BOB]
        await other.say("NOOP")
        assert (await other.mail(BOB)).startswith("250 ")
        assert to(mx) == [BOB] * 2, "that one was on purpose"


async def test_a_client_whose_host_is_gone_without_a_word_comes_to_the_other_worker(
    tmp_path: Path, mx: ScriptedMx
) -> None:
    """No FIN, no RST: until the idle time was over, nobody knew that the reply was unread."""
    async with Server(tmp_path / "a", mx.port) as mta, mta.both_workers() as (one, other):
        await one.envelope(BOB)
        assert (await one.say("DATA")).startswith("354")
        one.deafen()
        one.send(MAIL + b".\r\n")
        await mx.until(lambda: mx.messages == 1)
        await asyncio.sleep(6)
        assert (await other.mail(BOB)).startswith("250 ")
        assert to(mx) == [BOB]


async def test_the_entry_outlives_the_worker_that_wrote_it(tmp_path: Path, mx: ScriptedMx) -> None:
    async with Server(tmp_path / "a", mx.port) as mta, mta.both_workers() as (one, other):
        writer = mta.worker_of(one)
        await mta.left_by(one, mx)
        os.kill(writer, signal.SIGKILL)
        await gone(writer)
        assert (await other.mail(BOB)).startswith("250 ")
    assert to(mx) == [BOB]


async def test_the_entry_outlives_all_processes(tmp_path: Path, mx: ScriptedMx) -> None:
    async with Server(tmp_path / "a", mx.port) as mta:
        mx.script("rcpt", "450 4.2.0 later", to=CAROL)
        client = await Client(mta.port).__aenter__()
        assert (await client.mail(BOB, CAROL)).startswith("451 ")
        await mta.kill_all()
        await client.cut()
        async with Client(mta.port) as again:
            assert (await again.mail(BOB, CAROL)).startswith("250 ")
    assert to(mx) == [BOB, CAROL]


@pytest.mark.parametrize("is_other", [False, True], ids=["same", "other"])
async def test_a_repeat_joins_what_is_still_under_way(tmp_path: Path, mx: ScriptedMx, is_other: bool) -> None:
    mx.script("dot", delay=2.5)
    async with Server(tmp_path / "a", mx.port, patience="2s") as mta, mta.both_workers() as (one, other):
        assert (await one.mail(BOB)).startswith("451 4.4.2 ")
        assert not mx.received
        assert (await (other if is_other else one).mail(BOB)).startswith("250 ")
    assert to(mx) == [BOB]


RECEIVED = b"Received: from client by postfix.example (Postfix) id %d;\r\n\tMon, 2 Mar 2026 12:00:0%d +0000\r\n"
SIGNATURE = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=a; t=%d; h=from;\r\n\tbh=eA==; b=eA%d==\r\n"


@pytest.mark.parametrize("field", [RECEIVED, SIGNATURE], ids=["Received", "DKIM-Signature"])
async def test_what_upstreams_put_on_top_makes_no_other_mail(tmp_path: Path, mx: ScriptedMx, field: bytes) -> None:
    async with Server(tmp_path / "a", mx.port) as mta, mta.both_workers() as (one, other):
        await mta.left_by(one, mx, field % (1, 1) + MAIL)
        assert (await other.mail(BOB, octets=field % (2, 2) + MAIL)).startswith("250 ")
        assert to(mx) == [BOB]
        assert (await other.mail(BOB, octets=MAIL.replace(b"Hello", b"Hallo"))).startswith("250 ")
    assert to(mx) == [BOB] * 2


async def once_each(mx: ScriptedMx, inject: Callable[[], Awaitable[None]], done: Callable[[], Awaitable[None]]) -> None:
    """Carol's mail is late at the first two tries; neither she nor Bob gets it twice."""
    for _ in range(2):
        mx.script("rcpt", "450 4.2.0 later", to=CAROL)
    await inject()
    await done()
    assert to(mx) == [BOB, CAROL]


async def test_postfix_comes_again_with_a_received_field(
    start_postfix: StartPostfix, tmp_path: Path, mx: ScriptedMx
) -> None:
    async with Server(tmp_path / "a", mx.port) as mta:
        postfix = await start_postfix(relay=f"smtp:[127.0.0.1]:{mta.port}")
        message = MAIL.decode().replace("\r\n", "\n")
        await once_each(mx, lambda: postfix.inject("alice@example.com", [BOB, CAROL], message), postfix.emptied)
    assert mx.received[0].raw.count(b"Received: ") == 2


async def test_exim_comes_again_with_another_signature(start_exim: StartExim, tmp_path: Path, mx: ScriptedMx) -> None:
    key = rsa_key(tmp_path / "a.pem")
    signing = f"""
  hosts_try_prdr = :
  dkim_domain = example.com
  dkim_selector = a
  dkim_private_key = {key.path.read_text().replace(chr(10), chr(92) + "n")}
  dkim_timestamps = 86400
"""
    async with Server(tmp_path / "a", mx.port) as mta:
        transports = EXIM_TRANSPORTS.format(port=mta.port, protocol="smtp").replace("hosts_try_prdr = *\n", "")
        exim = await start_exim(relay={"routers": EXIM_ROUTERS, "transports": transports + signing})
        message = MAIL.decode().replace("\r\n", "\n")
        await once_each(mx, lambda: exim.inject("alice@example.com", [BOB, CAROL], message), exim.emptied)
    signatures = {mail.raw.partition(b"DKIM-Signature: ")[2].partition(b"\r\nReceived")[0] for mail in mx.received}
    assert len(signatures) == 2


async def test_two_in_a_chain_recognise_what_comes_again_when_the_first_one_dies(
    tmp_path: Path, mx: ScriptedMx
) -> None:
    """The first dies between the dot and the answer of the second, which then has the mail and knows it again."""
    mx.script("dot", delay=1.0)
    async with Server(tmp_path / "b", mx.port) as second, Server(tmp_path / "a", second.port) as first:
        client = await Client(first.port).__aenter__()
        await client.envelope(BOB)
        await client.data()
        await mx.until(lambda: bool(mx.arrived))
        await first.kill_all()
        await client.cut()
        async with Client(first.port) as again:
            assert (await again.mail(BOB)).startswith("250 ")
    assert to(mx) == [BOB]
    assert mx.received[0].raw.count(b"Received: ") == 2
