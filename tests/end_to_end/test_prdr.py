"""A real Exim that speaks PRDR: everybody is delivered or bounced once, in the words of their own next hop."""

import asyncio
from pathlib import Path

from mtaframe.testing import ScriptedMx
from tests.core.keeping import house, to
from tests.end_to_end.conftest import StartExim

MESSAGE = "From: a@sender.example\nTo: b@example.com\nSubject: hi\nMessage-ID: <1@sender.example>\n\nHello\n"

ROUTER = """\
onwards:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = onwards
"""
TRANSPORT = """\
onwards:
  driver = smtp
  port = {port}
  allow_localhost
  hosts_try_prdr = *
  hosts_try_chunking =
"""


async def relayed(start_exim: StartExim, tmp_path: Path, mx: ScriptedMx, *recipients: str) -> str:
    """Exim's log, once it has got rid of a message to these."""
    async with house(tmp_path, mx) as mta:
        relay = {"routers": ROUTER, "transports": TRANSPORT.format(port=mta.port("smtp"))}
        exim = await start_exim(relay=relay)
        await exim.inject("a@sender.example", recipients, MESSAGE)
        await asyncio.sleep(0.5)
        await exim.emptied()
        assert mta.mta.ledger.is_empty
        return exim.log()


async def test_mixed_outcomes_are_told_to_exim_one_by_one(start_exim: StartExim, tmp_path: Path) -> None:
    """Two domains in one transaction: one is delivered, one bounced by Exim, one kept by it until it is taken."""
    async with ScriptedMx() as mx:
        mx.script("rcpt", "550 5.1.1 no such user", to="gone@example.com", always=True)
        mx.script("rcpt", "450 4.2.1 greylisted", to="later@example.org")
        log = await relayed(start_exim, tmp_path, mx, "b@example.com", "gone@example.com", "later@example.org")
    assert to(mx) == ["a@sender.example", "b@example.com", "later@example.org"]
    [bounce] = [one for one in mx.received if one.recipients == ["a@sender.example"]]
    assert bounce.reverse_path == ""
    assert b"no such user" in bounce.raw
    assert "PRDR" in log


async def test_reasons_that_differ_reach_the_sender_each(start_exim: StartExim, tmp_path: Path) -> None:
    async with ScriptedMx() as mx:
        mx.script("rcpt", "550 5.1.1 no such user", to="gone@example.com", always=True)
        mx.script("rcpt", "552 5.2.2 mailbox full", to="full@example.com", always=True)
        await relayed(start_exim, tmp_path, mx, "gone@example.com", "full@example.com")
    [bounce] = mx.received
    assert b"no such user" in bounce.raw
    assert b"mailbox full" in bounce.raw
