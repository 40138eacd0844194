"""Mail that is held goes to the smart host when the program, or the worker that holds it, ends in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mtaframe.notation import Endpoint
from mtaframe.testing import ScriptedMx
from tests.dialogue import MAIL, Dialogue
from tests.end_to_end.chain import PROGRAM, Mtaframe
from tests.end_to_end.postfix import free_port

SETTINGS = """
workers = 2
drain = "5s"
[state]
backend = "memory"
[route]
next_hop = "127.0.0.1"
port = {hop}
tls = "off"
[handoff]
next_hop = "127.0.0.1"
port = {smart}
[[listener]]
name = "app"
kind = "application"
addresses = ["{endpoint}"]
trusted = ["127.0.0.0/8"]
on_defer = "hold"
"""
COUNT = 12


@asynccontextmanager
async def holding(folder: Path, mx: ScriptedMx, smart: ScriptedMx) -> AsyncIterator[Mtaframe]:
    """A server whose two workers hold a dozen messages."""
    mx.script("rcpt", "450 4.2.1 busy", always=True)
    endpoint = Endpoint(f"127.0.0.1:{free_port()}")
    settings = SETTINGS.format(hop=mx.port, smart=smart.port, endpoint=endpoint)
    async with Mtaframe(folder / "conf", settings) as mta:

        async def held(number: int) -> str:
            async with Dialogue(endpoint.port) as client:
                octets = MAIL.replace(b"<1@", b"<%d@" % number)
                return await client.mail(f"to{number}@example.net", octets=octets)

        replies = await asyncio.gather(*(held(number) for number in range(COUNT)))
        assert all("held in memory, not delivered yet" in reply for reply in replies)
        assert (await mta.status())["held"] == COUNT
        yield mta


def to(mx: ScriptedMx) -> list[str]:
    return sorted(recipient for mail in mx.received for recipient in mail.recipients)


EVERYBODY = sorted(f"to{number}@example.net" for number in range(COUNT))


async def test_sigterm_hands_off_what_both_workers_hold(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, ScriptedMx() as smart:
        async with holding(tmp_path, mx, smart):
            pass
        assert to(smart) == EVERYBODY
    assert not mx.received


async def test_a_rolling_restart_hands_it_off_too(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, ScriptedMx() as smart, holding(tmp_path, mx, smart) as mta:
        renewal = await asyncio.create_subprocess_exec(*PROGRAM, "restart", "--conf", str(mta.folder))
        assert await renewal.wait() == 0
        await smart.until(lambda: len(smart.received) == COUNT, timeout=20)
        assert to(smart) == EVERYBODY
        assert (await mta.status())["held"] == 0
