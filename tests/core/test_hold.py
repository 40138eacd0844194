"""Mail held in RAM: named in the reply, tried again, and let go of to somebody who knows of it."""

import asyncio
import email
import logging

import pytest

from mtaframe import Defer, EventType, Plugin, hookimpl
from mtaframe.testing import DROP, ScriptedMx
from tests.core.keeping import BOB, CAROL, DAVE, Ears, ears, house, to
from tests.dialogue import MAIL, Dialogue

LATER = "450 4.2.1 busy"
HELD = "250 2.0.0 held in memory, not delivered yet ["
SOON = 'schedule = ["100ms"]'
"""Tried again at once, as the clocks of tests go."""


@pytest.fixture
async def mx():
    async with ScriptedMx() as scripted:
        yield scripted


@pytest.fixture
async def smart():
    async with ScriptedMx(name="smart.test") as scripted:
        yield scripted


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_it_is_told_in_the_reply_and_tried_again_until_it_is_delivered(mx, smart, tmp_path):
    for _ in range(3):
        mx.script("rcpt", LATER)
    async with house(tmp_path, mx, smart, on_defer="hold", hold=SOON, plugins={"ears": Ears}) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(BOB)).startswith(HELD)
        assert mta.mta.status()["held"] == 1
        await until(lambda: mx.received and not mta.mta.status()["held"])
        assert ears(mta).results == [("bob", "deferred", "smtp")] * 3 + [("bob", "delivered", "smtp")]
    assert to(mx) == [BOB]
    assert mx.received[0].raw.endswith(MAIL)
    assert mx.received[0].raw.count(b"Received:") == 1, "one reception, however many tries"
    assert not smart.connections


async def test_a_try_that_has_ended_keeps_no_configuration_at_work(mx, smart, tmp_path):
    """It did until its 280 seconds were over: after a reload the old plugins were not stopped before."""
    mx.script("rcpt", LATER)
    mx.script("rcpt", LATER)
    async with house(tmp_path, mx, smart, on_defer="hold", hold=SOON) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(BOB)).startswith(HELD)
        await until(lambda: mx.received and not mta.mta.status()["held"])
        await until(lambda: mta.mta.generation._leases == 0)


async def test_by_lmtp_it_is_told_of_each_and_all_are_tried_together(mx, smart, tmp_path):
    mx.script("rcpt", LATER, to=BOB)
    mx.script("rcpt", LATER, to=DAVE)
    async with house(tmp_path, mx, smart, on_defer="hold", hold='schedule = ["300ms"]') as mta:
        async with Dialogue(mta.port("lmtp"), hello="LHLO up.example.com") as client:
            replies = [await client.mail(BOB, CAROL, DAVE), await client.reply(), await client.reply()]
            assert mta.mta.status()["held"] == 2
        await until(lambda: len(mx.received) == 2)
    assert [reply.startswith(HELD) for reply in replies] == [True, False, True]
    assert [one.recipients for one in mx.received] == [[CAROL], [BOB, DAVE]]


async def test_some_delivered_and_some_held_is_one_250_that_says_so(mx, smart, tmp_path):
    mx.script("rcpt", LATER, to=BOB)
    async with house(tmp_path, mx, smart, on_defer="hold") as mta, Dialogue(mta.port("app")) as client:
        reply = await client.mail(BOB, CAROL)
    assert reply.startswith("250 2.0.0 1 of 2 recipients held in memory, not delivered yet [")


@pytest.mark.parametrize("limit", ["max_count = 1", 'max_size = "400 B"'])
async def test_what_finds_no_room_stays_with_the_client(mx, smart, tmp_path, limit):
    mx.script("rcpt", LATER, always=True)
    async with house(tmp_path, mx, smart, on_defer="hold", hold=limit) as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB)).startswith(HELD)
        assert await client.mail(CAROL) == LATER
        assert mta.mta.status()["held"] == 1
        mx.unscript()


async def test_what_may_have_been_delivered_is_not_held(mx, smart, tmp_path):
    mx.script("dot", DROP)
    async with house(tmp_path, mx, smart, on_defer="hold") as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB)).startswith("451 4.4.2 in doubt")
        assert not mta.mta.status()["held"]


class Greylist(Plugin):
    @hookimpl
    def before_sign(self):
        return Defer("not yet")


async def test_nor_is_what_a_plugin_has_deferred(mx, smart, tmp_path):
    async with house(tmp_path, mx, smart, on_defer="hold", plugins={"greylist": Greylist}) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert await client.mail(BOB) == "451 4.7.1 not yet"


async def test_a_tarpit_is_held_before_the_patience_ends(mx, smart, tmp_path):
    mx.script("rcpt", "250 ok", delay=5)
    async with house(tmp_path, mx, smart, on_defer="hold", patience="500ms") as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(BOB)).startswith(HELD)


async def test_a_client_that_did_not_read_that_it_is_held_causes_no_second_copy(mx, smart, tmp_path):
    mx.script("rcpt", LATER)
    async with house(tmp_path, mx, smart, on_defer="hold", hold=SOON) as mta:
        client = await Dialogue(mta.port("smtp")).__aenter__()
        await client.envelope(BOB)
        client.deafen()
        client.send(b"DATA\r\n")
        await asyncio.sleep(0.1)
        client.send(MAIL + b".\r\n")
        await until(lambda: mta.mta.status()["held"])
        await asyncio.sleep(0.05)
        await client.cut()
        await until(lambda: mx.received and not mta.mta.ledger.is_empty)
        async with Dialogue(mta.port("smtp")) as again:
            assert (await again.mail(BOB)).startswith("250 2.0.0 delivered before [")
    assert to(mx) == [BOB]


async def test_a_try_that_fails_for_good_is_reported_to_the_sender(mx, smart, tmp_path):
    mx.script("rcpt", LATER)
    mx.script("rcpt", "550 5.1.1 no such user")
    async with house(tmp_path, mx, smart, on_defer="hold", hold=SOON, plugins={"ears": Ears}) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(BOB)).startswith(HELD)
        await until(lambda: mx.received)
        assert not mta.mta.status()["held"]
        assert ears(mta).results[:2] == [("bob", "deferred", "smtp"), ("bob", "failed", "smtp")]
    [dsn] = mx.received
    assert (dsn.reverse_path, dsn.recipients) == ("", ["alice@example.com"])
    assert b"Status: 5.1.1" in dsn.raw


async def test_a_report_that_is_deferred_is_held_itself(mx, smart, tmp_path):
    mx.script("rcpt", LATER)
    mx.script("rcpt", "550 5.1.1 no such user")
    mx.script("rcpt", LATER, to="alice@example.com")
    async with house(tmp_path, mx, smart, on_defer="hold", hold=SOON) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(BOB)).startswith(HELD)
        await until(lambda: mx.received)
    assert to(mx) == ["alice@example.com"]


async def test_when_its_time_is_over_the_smart_host_takes_it(mx, smart, tmp_path):
    mx.script("rcpt", LATER, always=True)
    limits = 'schedule = ["100ms"]\nmax_age = "350ms"'
    async with house(tmp_path, mx, smart, on_defer="hold", hold=limits, plugins={"ears": Ears}) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(BOB)).startswith(HELD)
        await until(lambda: smart.received and not mta.mta.status()["held"])
        assert ears(mta).results[-1] == ("bob", "delivered", "handoff")
    assert to(smart) == [BOB]


async def test_what_the_smart_host_refuses_then_is_reported_to_the_sender(mx, smart, tmp_path):
    mx.script("rcpt", LATER, to=BOB, always=True)
    smart.script("rcpt", "550 5.7.1 not from you")
    limits = 'schedule = ["100ms"]\nmax_age = "150ms"'
    async with house(tmp_path, mx, smart, on_defer="hold", hold=limits, plugins={"ears": Ears}) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(BOB)).startswith(HELD)
        await until(lambda: mx.received)
        assert ("bob", "failed", "hold") in ears(mta).results
    report = email.message_from_bytes(mx.received[0].raw)
    assert report.get_content_type() == "multipart/report"
    assert b"Status: 5.4.7" in mx.received[0].raw


async def test_when_the_server_stops_all_that_is_held_goes_to_the_smart_host(mx, smart, tmp_path):
    mx.script("rcpt", LATER, always=True)
    async with house(tmp_path, mx, smart, on_defer="hold", drain="5s") as mta:
        async with Dialogue(mta.port("smtp")) as client:
            for recipient in (BOB, CAROL, DAVE):
                assert (await client.mail(recipient)).startswith(HELD)
        assert mta.mta.status()["held"] == 3
    assert to(smart) == [BOB, CAROL, DAVE]


async def test_what_the_smart_host_does_not_take_at_the_end_is_logged_and_reported(mx, smart, tmp_path, caplog):
    mx.script("rcpt", LATER, to=BOB, always=True)
    await smart.close()
    with caplog.at_level(logging.ERROR, "mtaframe"):
        async with house(tmp_path, mx, smart, on_defer="hold", drain="5s", plugins={"ears": Ears}) as mta:
            async with Dialogue(mta.port("smtp")) as client:
                assert (await client.mail(BOB)).startswith(HELD)
    assert "held mail is given up" in caplog.text
    assert "recipients=1" in caplog.text
    assert to(mx) == ["alice@example.com"]
    assert "example" not in caplog.text


async def test_with_a_null_reverse_path_the_end_is_told_by_event(mx, smart, tmp_path):
    mx.script("rcpt", LATER, always=True)
    smart.script("rcpt", "550 5.7.1 no")
    limits = 'schedule = ["100ms"]\nmax_age = "150ms"'
    async with house(tmp_path, mx, smart, on_defer="hold", hold=limits, plugins={"ears": Ears}) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(BOB, sender="")).startswith(HELD)
        await until(lambda: ears(mta).events)
        [event] = ears(mta).events
    assert (event.type, event.data["unreported"]) == (EventType.BOUNCE_HARD, "no reverse-path")


async def test_a_server_that_stops_takes_nothing_more_into_its_memory(mx, smart, tmp_path):
    mx.script("rcpt", LATER, delay=0.5)
    async with house(tmp_path, mx, smart, on_defer="hold", drain="5s") as mta:
        async with Dialogue(mta.port("smtp"), hello="EHLO x.example") as client:
            await client.envelope(BOB)
            await client.data()
            await mx.until(lambda: any(line.startswith("RCPT") for line in mx.commands))
            stopping = asyncio.ensure_future(mta.mta.reception.drain(5))
            assert await client.reply() == LATER
            await stopping
