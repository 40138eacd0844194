"""Defects that were found by looking for them, each as the story of how it would have shown itself."""

import asyncio
import gc
import socket
import struct
import time
from contextlib import suppress
from typing import ClassVar

import pytest
import uvloop

from mtaframe import Outcome, Plugin, Recipient, Reply, command, hookimpl
from mtaframe.control import ControlError, call
from mtaframe.delivery import Result, Route
from mtaframe.envelope import Mail
from mtaframe.testing import HANG, ScriptedMx, address, envelope, message, session
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


async def said(transaction, octets):
    """The replies to a message."""
    replies = []
    await transaction.complete(octets, replies.append)
    return replies


async def test_a_result_that_comes_between_the_deadline_and_the_last_reply_is_remembered(mx, tmp_path):
    """The first recipient was told 451; its 250 came while the next line was written, and nobody wrote it down."""
    mx.script("dot", "250 2.0.0 late", delay=0.4)
    async with house(tmp_path, mx, patience="200ms") as mta:
        transaction = await begun(mta, "lmtp", BOB, CAROL)
        ledger = mta.mta.reception.ledger
        detach = ledger.detach

        async def detached_slowly(attempts):
            await detach(attempts)
            while mta.mta.dispatch.under_way:
                await asyncio.sleep(0.01)

        ledger.detach = lambda attempts: asyncio.ensure_future(detached_slowly(attempts))
        assert [reply.code for reply in await said(transaction, MAIL)] == [451, 250]
        transaction.proven()
        ledger.detach = detach
        again = await begun(mta, "lmtp", BOB)
        assert [reply.code for reply in await said(again, MAIL)] == [250]
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
        assert len(mta.mta.book) == 3


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


async def test_a_header_section_of_millions_of_fields_does_not_stop_the_loop(mx, tmp_path):
    """Taking 25 MB of the shortest fields apart took eleven seconds and 770 MB, several times over."""
    flood = b"a:\r\n" * 6_000_000 + b"\r\n"
    async with house(tmp_path, mx) as mta:
        transaction = await begun(mta, "smtp", BOB)
        began = time.monotonic()
        assert [reply.line for reply in await said(transaction, flood)] == ["552 5.3.4 the header section is too big"]
        assert time.monotonic() - began < 2
    assert not mx.received


class Stops(Plugin):
    """Says when its generation has ended."""

    stopped: ClassVar[list[bool]] = []

    async def stop(self):
        self.stopped.append(True)


@pytest.mark.parametrize("where", ["before DATA", "in the message", "before the answer"])
async def test_a_client_that_vanished_does_not_keep_its_generation_alive(mx, tmp_path, where):
    """The transaction was held by reference cycles until the next garbage collection, which a calm house never has."""
    mx.script("rcpt", HANG)
    Stops.stopped.clear()
    async with house(tmp_path, mx, plugins={"stops": Stops}) as mta:
        gc.collect()
        gc.disable()
        try:
            client = await Dialogue(mta.port("smtp")).__aenter__()
            await client.envelope(BOB)
            if where == "in the message":
                assert (await client.say("DATA")).startswith("354")
            if where == "before the answer":
                await client.data()
                while not any(line.startswith("RCPT") for line in mx.commands):
                    await asyncio.sleep(0.01)
            await client.cut()
            await asyncio.sleep(0.1)
            mta.write("mtaframe.toml", (mta.folder / "mtaframe.toml").read_text() + "# changed\n")
            assert await mta.mta.reload()
            await asyncio.sleep(0.1)
            assert Stops.stopped == [True]
        finally:
            gc.enable()


class Odd(Plugin):
    @command
    async def odd(self):
        """Returns what no JSON can say."""
        return {1j}


async def test_a_command_with_an_answer_that_json_can_not_say_is_an_error_and_no_silence(mx, tmp_path):
    async with house(tmp_path, mx, plugins={"odd": Odd}) as mta:
        with pytest.raises(ControlError, match="the call failed: TypeError"):
            await asyncio.to_thread(call, mta.folder / "control.sock", "odd.odd")
        assert (await asyncio.to_thread(call, mta.folder / "control.sock", "status"))["generation"] == 1


async def test_a_listener_that_stays_says_its_new_name(mx, tmp_path):
    async with house(tmp_path, mx) as mta:
        text = (mta.folder / "mtaframe.toml").read_text()
        mta.write("mtaframe.toml", text.replace("mta.example.org", "other.example.org"))
        assert await mta.mta.reload()
        async with Dialogue(mta.port("smtp")) as client:
            assert client.greeting == "220 other.example.org ESMTP mtaframe"


class Stubborn(Plugin):
    """Offers a transport that can't be called off."""

    test_only = False

    def transports(self):
        return {"stubborn": self}

    @hookimpl
    def route(self, route):
        return Route(transport="stubborn")

    async def deliver(self, deliveries, route, attempt):
        until = self.mta.clock.monotonic() + 4
        while self.mta.clock.monotonic() < until:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.5)
        return [Result(Outcome.DELIVERED, Reply(250, "2.0.0", "ok"), "stubborn") for _ in deliveries]


async def test_a_transport_that_can_not_be_called_off_does_not_keep_the_house_from_stopping(mx, tmp_path, monkeypatch):
    monkeypatch.setattr("mtaframe.dispatch.GRACE", 0.2)
    async with house(tmp_path, mx, plugins={"stubborn": Stubborn}) as mta:
        lease = mta.mta.generation.lease()
        mta.mta.dispatch.start(lease, envelope([BOB]), message(), mta.mta.clock.monotonic() + 20)
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await mta.mta.dispatch.drain(0.1)
        assert time.monotonic() - began < 2


class Hesitates(Plugin):
    """Starts at once the first time, and later when it is let."""

    go_on: ClassVar[asyncio.Event]
    running: ClassVar[int] = 0

    async def start(self):
        await self.go_on.wait()
        Hesitates.running += 1

    async def stop(self):
        Hesitates.running -= 1


async def test_a_reload_that_is_under_way_when_the_house_stops_opens_no_door_afterwards(mx, tmp_path):
    Hesitates.go_on = asyncio.Event()
    Hesitates.go_on.set()
    async with house(tmp_path, mx, plugins={"hesitates": Hesitates}) as mta:
        Hesitates.go_on.clear()
        reload = asyncio.create_task(mta.mta.reload())
        await asyncio.sleep(0.1)
        await mta.mta.stop()
        Hesitates.go_on.set()
        assert not await reload
        assert not mta.mta.listeners
        assert Hesitates.running == 0


async def test_a_client_shared_by_three_generations_is_closed_by_the_last(mx, tmp_path):
    """The oldest is still used when the one after it, the last with the same settings, has ended."""
    async with house(tmp_path, mx) as mta:
        first = await begun(mta, "smtp", BOB)
        outbound = mta.mta._outbound
        text = (tmp_path / "mtaframe.toml").read_text()
        mta.write("mtaframe.toml", text + '\n[logs]\nlevel = "debug"\n')
        assert await mta.mta.reload()
        mta.write("mtaframe.toml", text.replace('command_timeout = "20s"', 'command_timeout = "21s"'))
        assert await mta.mta.reload()
        await asyncio.sleep(0.05)
        assert outbound.generations == 1
        assert [reply.code for reply in await said(first, MAIL)] == [250]
        first.proven()
        del first
        while outbound.generations:
            await asyncio.sleep(0.01)
    assert to(mx) == [BOB]
