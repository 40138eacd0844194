"""A whole run: sites, mtaframe, an upstream with a load, and faults among it; then the balance.

``MTAFRAME_FAULTS_SEED`` sets the seed, which is printed; ``MTAFRAME_FAULTS_KILLS`` how many kills each
long run has.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Protocol

import pytest

from mtaframe.testing import ScriptedDns
from tests.end_to_end.postfix import free_port
from tests.faults.books import Balance, Books
from tests.faults.service import Service
from tests.faults.site import Site
from tests.faults.upstream import Mail, ScriptedUpstream

SITES = ("fast", "slow", "far")
HOME = "home"
"""Where the reverse-paths are: what comes there are reports."""

SETTINGS = """
hostname = "mta.test"
workers = 2
drain = "4s"
[state]
folder = "{folder}/state"
[route]
transport = "smtp"
port = {hop}
tls = "off"
[dns]
servers = ["{dns}"]
[delivery]
connect_timeout = "2s"
command_timeout = "2s"
dot_timeout = "3s"
ipv6 = false
[logs]
level = "warning"
[[listener]]
name = "lmtp"
kind = "lmtp"
addresses = ["127.0.0.1:{lmtp}"]
trusted = ["127.0.0.0/8"]
patience = "{patience}"
[[listener]]
name = "mta"
kind = "mta"
addresses = ["127.0.0.1:{smtp}"]
trusted = ["127.0.0.0/8"]
patience = "{patience}"
"""


def seed() -> int:
    """That of the environment, or another one each time; it is printed, so that a run can be had again."""
    found = int(os.environ.get("MTAFRAME_FAULTS_SEED") or random.randrange(1_000_000))
    print(f"MTAFRAME_FAULTS_SEED={found}")
    return found


class Upstream(Protocol):
    """Who submits, and has a queue."""

    is_calm: bool

    async def submit(self, mail: Mail) -> None:
        """Returns once it has the mail. OSError if it does not take it."""

    async def emptied(self, within: float) -> None: ...


@dataclass
class House:
    """What a run has at hand. ``load`` mails per second are submitted while ``under_load`` is entered."""

    seed: int
    books: Books
    service: Service
    sites: dict[str, Site]
    ports: dict[str, int]
    load: float = 25.0
    count: int = 0
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.seed} kills")

    @asynccontextmanager
    async def under_load(self, upstream: Upstream) -> AsyncIterator[None]:
        """Mail comes in all the time."""
        submitting = asyncio.create_task(self._submit(upstream))
        try:
            yield
        finally:
            submitting.cancel()
            await asyncio.wait([submitting])
        if not submitting.cancelled():
            submitting.result()

    async def _submit(self, upstream: Upstream) -> None:
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                task = asyncio.create_task(self.submit(upstream, self.mail()))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                await asyncio.sleep(1 / self.load)
        finally:
            await asyncio.gather(*tasks)

    async def submit(self, upstream: Upstream, mail: Mail) -> None:
        """What is refused was not submitted."""
        recipients = list(mail.recipients)
        try:
            await upstream.submit(mail)
        except OSError:
            return
        for recipient in recipients:
            self.books.submitted[recipient] = mail.reverse_path

    def mail(self) -> Mail:
        """The next one: up to four recipients at up to three sites."""
        self.count += 1
        name = f"m{self.count}"
        chance = random.Random(f"{self.seed} {name}")
        recipients = [f"{name}-{n}@{chance.choice(SITES)}.test" for n in range(1, chance.choice((1, 1, 2, 3, 4)) + 1)]
        body = f"{name}\r\n" + "octets of no interest\r\n" * chance.choice((1, 1, 1, 100, 5000))
        header = f"From: <s{name}@{HOME}.test>\r\nSubject: {name}\r\nMessage-ID: <{name}@{HOME}.test>\r\n\r\n"
        for recipient in recipients:
            self.books.written[recipient] = body.encode()
        return Mail(name, f"s{name}@{HOME}.test", recipients, (header + body).encode())

    async def settled(self, upstream: Upstream, within: float = 40.0) -> Balance:
        """All are good from now on: wait until nobody has anything left to do, and look at the books."""
        for site in self.sites.values():
            site.is_calm = True
        upstream.is_calm = True
        await upstream.emptied(within)
        balance = self.books.balance()
        print(self.books.report(balance))
        return balance

    def assert_nothing_is_lost(self, balance: Balance) -> None:
        assert balance.lost == []
        assert balance.unexplained == []
        assert self.books.faults == []
        assert [fault for site in self.sites.values() for fault in site.faults] == []


@asynccontextmanager
async def house(
    folder: Path,
    seed: int,
    *,
    doubts: bool = True,
    patience: str = "9s",
    service: Callable[..., Service] = Service,
    settings: str = SETTINGS,
) -> AsyncIterator[House]:
    """mtaframe, running, and its sites: each has an address of its own and all have one port."""
    books = Books()
    async with AsyncExitStack() as stack:
        dns = await stack.enter_async_context(ScriptedDns())
        sites: dict[str, Site] = {}
        port = 0
        for number, name in enumerate((*SITES, HOME), 1):
            host = f"127.0.7.{number}"
            site = Site(books, seed, host, port, doubts=doubts, is_final=name != HOME)
            await stack.enter_async_context(site)
            sites[name] = site
            port = site.port
            dns.set(f"{name}.test", {"MX": [(10, f"mx.{name}.test.")]})
            dns.set(f"mx.{name}.test", {"A": [host]})
        ports = {"lmtp": free_port(), "mta": free_port()}
        text = settings.format(
            folder=folder, hop=port, dns=dns.server, lmtp=ports["lmtp"], smtp=ports["mta"], patience=patience
        )
        running = service(folder / "conf", text, books)
        await stack.enter_async_context(running)
        try:
            yield House(seed, books, running, sites, ports)
        except BaseException:
            print(running.log[-20_000:])
            raise


@asynccontextmanager
async def scripted(house: House, door: str, **options: int) -> AsyncIterator[ScriptedUpstream]:
    """The scripted upstream at the door ``lmtp`` or ``mta``."""
    upstream = ScriptedUpstream(house.books, house.ports[door], seed=house.seed, is_lmtp=door == "lmtp", **options)
    async with upstream.running():
        yield upstream


Fault = Callable[[House], Awaitable[None]]


async def worker(house: House) -> None:
    await house.service.kill_worker(house.chance)


async def everybody(house: House) -> None:
    await house.service.kill_all()


async def supervisor(house: House) -> None:
    await house.service.kill_supervisor()


async def restart(house: House) -> None:
    await house.service.restart()


async def renewal(house: House) -> None:
    await house.service.renew()


async def reload(house: House) -> None:
    house.service.touch()


async def happen(house: House, faults: Sequence[Fault]) -> None:
    """One after the other, each at a moment of chance when all workers are there."""
    for fault in faults:
        await house.service.manned()
        await asyncio.sleep(house.chance.uniform(0.2, 1.0))
        await fault(house)
    await house.service.manned()


def kills(count: int) -> Sequence[Fault]:
    """So many kills, of all kinds."""
    return tuple(islice(cycle((worker, supervisor, worker, everybody, worker, worker)), count))


SIX = pytest.param(6, id="6")
MANY = pytest.param(
    int(os.environ.get("MTAFRAME_FAULTS_KILLS") or 100), id="many", marks=(pytest.mark.long, pytest.mark.timeout(0))
)
