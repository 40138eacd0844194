"""Final dots wait for each other, so that an application's one reply is true of all its recipients."""

import asyncio
import time
from dataclasses import replace

import pytest

from mtaframe import Defer, Plugin, hookimpl
from mtaframe.barrier import Barrier
from mtaframe.testing import ScriptedMx
from tests.core.keeping import BOB, CAROL, DAVE, Ears, ears, house, to
from tests.dialogue import MAIL, Dialogue

LATER = "450 4.2.1 busy"
ERIN = "erin@example.org"


@pytest.fixture
async def mx():
    async with ScriptedMx() as scripted:
        yield scripted


@pytest.fixture
async def other():
    async with ScriptedMx(name="other.test") as scripted:
        yield scripted


def ways(other):
    """A plugin that sends example.org to another host."""

    class Ways(Plugin):
        @hookimpl
        def route(self, delivery, route):
            return replace(route, port=other.port) if delivery.recipient.address.domain == "example.org" else None

    return {"ways": Ways, "ears": Ears}


async def test_one_refusal_for_now_keeps_every_dot_in_and_a_repeat_goes_to_all(mx, other, tmp_path):
    other.script("rcpt", LATER)
    async with house(tmp_path, mx, plugins=ways(other)) as mta, Dialogue(mta.port("app")) as client:
        reply = await client.mail(BOB, ERIN)
        assert reply == "451 4.2.1 2 of 2 recipients not done yet: busy"
        assert sorted(ears(mta).results) == [("bob", "deferred", "smtp"), ("erin", "deferred", "smtp")]
        assert (mx.arrived, other.arrived) == ([], [])
        assert mta.mta.ledger.is_empty
        assert (await client.mail(BOB, ERIN)).startswith("250 ")
    assert (to(mx), to(other)) == ([BOB], [ERIN])


async def test_the_same_holds_within_one_transaction(mx, tmp_path):
    mx.script("rcpt", LATER, to=CAROL)
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("app")) as client:
        assert await client.mail(BOB, CAROL, DAVE) == "451 4.2.1 3 of 3 recipients not done yet: busy"
        assert not mx.arrived
        assert (await client.mail(BOB, CAROL, DAVE)).startswith("250 ")
    assert to(mx) == [BOB, CAROL, DAVE]


async def test_a_large_message_is_not_ended_either(mx, other, tmp_path):
    other.script("rcpt", LATER, delay=0.3)
    large = MAIL + b"x" * 70 + b"\r\n" * 60_000
    async with house(tmp_path, mx, plugins=ways(other)) as mta, Dialogue(mta.port("app")) as client:
        assert (await client.mail(BOB, ERIN, octets=large)).startswith("451 ")
    assert not mx.arrived


async def test_who_can_not_be_reached_is_refused_for_now(mx, other, tmp_path):
    await other.close()
    async with house(tmp_path, mx, plugins=ways(other)) as mta, Dialogue(mta.port("app")) as client:
        assert (await client.mail(BOB, ERIN)).startswith("451 4.4.1 2 of 2 ")
    assert not mx.arrived


class Greylist(Plugin):
    @hookimpl
    def before_sign(self, delivery):
        return Defer("not yet") if delivery.recipient.address.local_part == "bob" else None


async def test_so_is_whom_a_plugin_defers(mx, tmp_path):
    async with house(tmp_path, mx, plugins={"greylist": Greylist}) as mta, Dialogue(mta.port("app")) as client:
        assert (await client.mail(BOB, CAROL)).startswith("451 4.7.1 2 of 2 ")
    assert not mx.arrived


async def test_a_refusal_for_good_keeps_nothing_in(mx, other, tmp_path):
    other.script("rcpt", "550 5.1.1 no such user")
    async with house(tmp_path, mx, plugins=ways(other)) as mta, Dialogue(mta.port("app")) as client:
        assert (await client.mail(BOB, ERIN)).startswith("250 ")
    assert to(mx) == ["alice@example.com", BOB], "and the sender is told of the other"


async def test_a_slow_site_is_waited_for_but_not_for_long(mx, other, tmp_path):
    other.script("rcpt", "250 2.1.5 ok", delay=1)
    async with house(tmp_path, mx, terms='barrier = "300ms"', plugins=ways(other)) as mta:
        async with Dialogue(mta.port("app")) as client:
            await client.envelope(BOB, ERIN)
            await client.data()
            began = time.monotonic()
            await mx.until(lambda: bool(mx.arrived))
            assert 0.2 < time.monotonic() - began < 0.9
            assert (await client.reply()).startswith("250 ")
    assert (to(mx), to(other)) == ([BOB], [ERIN])


async def test_what_is_mixed_already_is_not_held_back(mx, other, tmp_path):
    """Dave has failed for good: the ledger knows it, and nobody's mail waits for Erin any more."""
    mx.script("rcpt", "550 5.1.1 no such user", to=DAVE)
    other.script("rcpt", LATER, always=True)
    async with house(tmp_path, mx, plugins=ways(other)) as mta, Dialogue(mta.port("app")) as client:
        assert (await client.mail(BOB, DAVE, ERIN)).startswith("451 ")
        assert not mx.arrived
        assert (await client.mail(BOB, DAVE, ERIN)).startswith("451 4.2.1 1 of 3 ")
    assert to(mx) == [BOB]


@pytest.mark.parametrize(("door", "terms"), [("smtp", ""), ("lmtp", 'barrier = "5s"')])
async def test_who_has_a_queue_or_a_reply_for_each_gets_what_can_be_had(mx, tmp_path, door, terms):
    mx.script("rcpt", LATER, to=BOB)
    hello = "LHLO up.example.com" if door == "lmtp" else "EHLO up.example.com"
    async with house(tmp_path, mx, terms=terms) as mta, Dialogue(mta.port(door), hello=hello) as client:
        await client.mail(BOB, CAROL)
        if door == "lmtp":
            await client.reply()
    assert to(mx) == [CAROL]


async def test_where_deferrals_are_handed_off_nobody_waits(mx, other, tmp_path):
    mx.script("rcpt", LATER, to=BOB)
    async with house(tmp_path, mx, other, on_defer="handoff") as mta, Dialogue(mta.port("app")) as client:
        assert (await client.mail(BOB, CAROL)).startswith("250 ")
    assert (to(mx), to(other)) == ([CAROL], [BOB])


async def test_the_first_verdict_holds_for_all_that_come_later():
    for refused, passed in ((True, False), (False, True)):
        barrier = Barrier([0, 1, 2], 5)
        first, second = asyncio.ensure_future(barrier.passed(0, False)), asyncio.ensure_future(barrier.passed(1, False))
        await asyncio.sleep(0)
        assert not first.done()
        barrier.answered(2, refused)
        assert [await first, await second] == [passed, passed]
        barrier.answered(2, not refused)
        assert await barrier.passed(0, False) is passed


async def test_nobody_waits_for_whoever_does_not_answer():
    barrier = Barrier([0, 1], 0.05)
    assert await barrier.passed(0, False)
    assert await barrier.passed(1, True), "one dot is out: another one does no harm"
