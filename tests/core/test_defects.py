"""Defects that were found by looking for them, each as the story of how it would have shown itself."""

import asyncio
import socket
import struct

import pytest
import uvloop

from mtaframe import Outcome, Plugin, Recipient, hookimpl
from mtaframe.envelope import Mail
from mtaframe.testing import ScriptedMx, address, envelope, message, session
from tests.core.test_reception import BOB, CAROL, DAVE, house, to
from tests.dialogue import MAIL, Dialogue


@pytest.fixture
async def mx():
    async with ScriptedMx() as scripted:
        yield scripted


class Looks(Plugin):
    """Takes its time with every new connection, as one that asks the DNS does."""

    def __init__(self, config, mta):
        super().__init__(config, mta)
        self.trusted = []

    @hookimpl
    async def on_connect(self, session):
        self.trusted.append(session.trusted)
        await asyncio.sleep(0.1)


def test_a_client_whose_address_is_gone_before_it_was_asked_for_is_a_stranger(tmp_path):
    """All said at once, then reset before we accept: uvloop knows no address then, as it does of a Unix socket."""
    said = b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@elsewhere.example>\r\nDATA\r\n"

    async def attacked():
        async with ScriptedMx() as mx, house(tmp_path, mx, plugins={"looks": Looks}) as mta:
            with socket.create_connection(("127.0.0.1", mta.port("open"))) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(said + MAIL + b"x" * 70_000 + b"\r\n.\r\n")
            await asyncio.sleep(0.5)
            return mta.mta.generation.plugins.loaded[0].instance.trusted, mx.received

    trusted, received = uvloop.run(attacked())
    assert not received
    assert not any(trusted)


async def begun(running_house, listener, *recipients):
    """A transaction as the door begins it."""
    mta = running_house.mta
    transaction = await mta.reception.begin(session(), mta.listeners[listener].settings, Mail(address("a@example.com")))
    for recipient in recipients:
        await transaction.add(Recipient(address(recipient)))
    return transaction


async def test_a_result_that_comes_between_the_deadline_and_the_last_reply_is_remembered(mx, tmp_path):
    """The first recipient was told 451; its 250 came while the next line was written, and nobody wrote it down."""
    mx.script("dot", "250 2.0.0 late", delay=0.4)
    async with house(tmp_path, mx, patience="200ms") as mta:
        transaction = await begun(mta, "lmtp", BOB, CAROL)
        replies = transaction.complete(MAIL)
        assert (await anext(replies)).code == 451
        while mta.mta.dispatch.under_way:
            await asyncio.sleep(0.01)
        assert (await anext(replies)).code == 250
        await replies.aclose()
        transaction.proven()
        again = await begun(mta, "lmtp", BOB)
        assert [reply.code async for reply in again.complete(MAIL)] == [250]
        again.proven()
    assert to(mx) == [BOB, CAROL]


class Slow(Plugin):
    """Hears of results, and takes its time."""

    @hookimpl
    async def on_result(self):
        await asyncio.sleep(0.5)


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
async def test_whoever_was_refused_while_plugins_are_still_told_has_a_result_for_the_repeat(mx, tmp_path, door):
    """The deadline fell into on_result of the first: the others had no result, ever, and every repeat waited for it."""
    mx.script("rcpt", "550 5.1.1 no such user", always=True)
    hello = "LHLO up.example.com" if door == "lmtp" else "EHLO up.example.com"
    async with house(tmp_path, mx, patience="300ms", plugins={"slow": Slow}) as mta:
        async with Dialogue(mta.port(door), hello=hello) as client:
            await client.mail(BOB, CAROL, DAVE)
            for _ in range(2 if door == "lmtp" else 0):
                await client.reply()
            while mta.mta.dispatch.under_way:
                await asyncio.sleep(0.01)
        assert not mta.mta.ledger.detached
        assert len(mta.mta.ledger) == 3


async def test_an_attempt_that_is_called_off_before_its_first_step_has_a_result(mx, tmp_path):
    """A task that is cancelled before it begins runs no line of its code: what waited for it waited for ever."""
    async with house(tmp_path, mx) as mta:
        lease = mta.mta.generation.lease()
        under_way = mta.mta.dispatch.start(lease, envelope([BOB, CAROL]), message(), mta.mta.clock.monotonic() + 20)
        await asyncio.sleep(0)
        assert under_way.attempts
        under_way.end()
        async with asyncio.timeout(2):
            results = await asyncio.gather(*under_way.results)
    assert [result.outcome for result in results] == [Outcome.DEFERRED] * 2
    assert not mx.received
