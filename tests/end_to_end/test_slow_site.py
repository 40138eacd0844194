"""Slow providers do not starve the rest: Postfix with its lines from ``contrib/postfix``, sites found by MX."""

import asyncio
import os
import smtplib
import time
import tomllib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mtaframe.notation import Endpoint
from mtaframe.testing import HANG, ScriptedDns, ScriptedMx
from tests.conftest import ROOT
from tests.end_to_end.chain import Mtaframe
from tests.end_to_end.conftest import StartPostfix
from tests.end_to_end.postfix import free_port
from tests.end_to_end.test_chains import postfix_before

EACH = 200
"""Messages to slow sites, and then to the fast one."""
SLOW = [f"slow-{number}.example" for number in range(5)]
FAST = "fast.example"
ZONE = {
    **{domain: {"MX": [(10, f"mx.{domain}.")]} for domain in (*SLOW, FAST)},
    **{f"mx.{domain}": {"A": ["127.0.0.2"]} for domain in SLOW},
    f"mx.{FAST}": {"A": ["127.0.0.1"]},
}
PRESET = tomllib.loads((ROOT / "conf" / "presets" / "behind-postfix.toml").read_text())


def settings(endpoint: Endpoint, dns: ScriptedDns, port: int) -> str:
    """As the preset has it, but for what only tests need."""
    return f"""
[dns]
servers = ["{dns.server}"]
[route]
transport = "smtp"
port = {port}
tls = "off"
[[listener]]
name = "postfix"
kind = "lmtp"
addresses = ["{endpoint}"]
trusted = ["127.0.0.0/8"]
max_transactions = {PRESET["listener"][0]["max_transactions"]}
"""


@asynccontextmanager
async def chain(folder: Path) -> AsyncIterator[tuple[Endpoint, ScriptedMx, ScriptedMx]]:
    """mtaframe, and the next hops of the slow sites and of the fast one; they end first, so that it ends at once."""
    endpoint, port = Endpoint(f"127.0.0.1:{free_port()}"), free_port()
    async with (
        ScriptedDns(ZONE) as dns,
        Mtaframe(folder / "conf", settings(endpoint, dns, port)),
        ScriptedMx(host="127.0.0.2", port=port) as slow,
        ScriptedMx(host="127.0.0.1", port=port) as fast,
    ):
        yield endpoint, slow, fast


@pytest.mark.parametrize("stage", ["rcpt", "dot"])
async def test_a_tarpit_leaves_room_for_the_rest(start_postfix: StartPostfix, tmp_path: Path, stage: str) -> None:
    """With Postfix's defaults, and a tarpit that takes 20 seconds for each message, it took nearly four minutes."""
    async with chain(tmp_path) as (endpoint, slow, fast):
        slow.script(stage, HANG, always=True)
        postfix = await postfix_before(start_postfix, endpoint, back_off=300)
        await inject(postfix.port, SLOW[:1])
        await slow.until(lambda: slow.open_connections > 0)
        await through_in_ten_seconds(postfix.port, fast)
        assert slow.open_connections > 0
        assert slow.messages == 0


async def test_many_tarpits_that_are_known_leave_room_for_the_rest(start_postfix: StartPostfix, tmp_path: Path) -> None:
    """Together they would be entitled to more than there is: they have a transport of their own."""
    async with chain(tmp_path) as (endpoint, slow, fast):
        slow.script("dot", HANG, always=True)
        known = " ".join(f"{{ {domain} = mtaframe-slow:inet:{endpoint} }}" for domain in SLOW)
        more = {"transport_maps": f"inline:{{ {known} }}"}
        postfix = await postfix_before(start_postfix, endpoint, back_off=300, more=more)
        await inject(postfix.port, SLOW)
        await slow.until(lambda: slow.open_connections > 0)
        await through_in_ten_seconds(postfix.port, fast)
        assert slow.open_connections > 0
        assert "status=" not in postfix.log().partition(FAST)[0], "they wait, and are not deferred"


async def through_in_ten_seconds(port: int, fast: ScriptedMx) -> None:
    """Where the machine has more to do than cores, as many times longer, and sent at a pace that it keeps up with.

    Sent faster than they go out, these would be more at once than one site may have, and wait for Postfix's next turn.
    """
    load = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    until = time.monotonic() + 10 * load
    await inject(port, [FAST], pause=0.02 * (load - 1))
    await fast.until(lambda: fast.messages == EACH, timeout=until - time.monotonic())
    assert sorted(to for received in fast.received for to in received.recipients) == sorted(recipients([FAST]))


def recipients(domains: Sequence[str]) -> list[str]:
    return [f"user-{number}@{domains[number % len(domains)]}" for number in range(EACH)]


async def inject(port: int, domains: Sequence[str], pause: float = 0.0) -> None:
    """All by one connection, one message for each recipient, with a pause of seconds behind each."""

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", port) as client:
            for recipient in recipients(domains):
                text = f"From: a@sender.example\r\nMessage-ID: <{recipient}>\r\nSubject: hello\r\n\r\nbody\r\n"
                client.sendmail("a@sender.example", [recipient], text)
                time.sleep(pause)

    await asyncio.to_thread(send)
