"""The report to the sender is sent once, however often the client has to ask."""

import asyncio

import pytest

from mtaframe import EventType, Outcome, Plugin, hookimpl
from mtaframe.testing import DROP, ScriptedMx, VirtualClock, envelope, message, running, session
from tests.core.keeping import BOB, CAROL, Ears, ears, house, to
from tests.dialogue import MAIL, Dialogue

ALICE = "alice@example.com"
NOBODY = "550 5.1.1 no such user"
AGAIN = MAIL.replace(b"Subject", b"Received: from somewhere by upstream; today\r\nSubject")


@pytest.fixture
async def mx():
    async with ScriptedMx() as scripted:
        scripted.script("rcpt", NOBODY, to=BOB, always=True)
        yield scripted


def reports(mx):
    """How many times a report has come to its final dot."""
    return sum(one.reverse_path == "" for one in mx.arrived)


async def test_a_report_beyond_its_dot_is_joined_by_the_repeat(mx, tmp_path):
    """It was not in the ledger: the repeat sent a second one."""
    mx.script("dot", "250 2.0.0 ok")
    mx.script("dot", "250 2.0.0 ok", delay=0.8)
    async with house(tmp_path, mx, patience="500ms") as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB, CAROL)).startswith("451 4.4.0 ")
        reply = await client.mail(BOB, CAROL, octets=AGAIN)
        while reply.startswith("451"):
            reply = await client.mail(BOB, CAROL, octets=AGAIN)
        assert reply.startswith("250 ")
        assert await client.say("NOOP")
        assert mta.mta.ledger.is_empty
    assert to(mx) == [ALICE, CAROL]
    assert reports(mx) == 1


async def test_a_client_that_did_not_read_the_250_causes_no_second_report(mx, tmp_path):
    async with house(tmp_path, mx) as mta:
        client = await Dialogue(mta.port("smtp")).__aenter__()
        await client.envelope(BOB, CAROL)
        client.deafen()
        client.send(b"DATA\r\n")
        await asyncio.sleep(0.1)
        client.send(MAIL + b".\r\n")
        await mx.until(lambda: len(mx.received) == 2)
        await asyncio.sleep(0.1)
        await client.cut()
        await mx.until(lambda: not mta.mta.ledger.is_empty)
        async with Dialogue(mta.port("smtp")) as again:
            assert (await again.mail(BOB, CAROL, octets=AGAIN)).startswith("250 ")
            assert await again.say("NOOP")
            assert mta.mta.ledger.is_empty
    assert reports(mx) == 1


async def test_a_client_that_vanished_while_the_report_was_sent_causes_no_second_one(mx, tmp_path):
    mx.script("dot", "250 2.0.0 ok")
    mx.script("dot", "250 2.0.0 ok", delay=0.5)
    async with house(tmp_path, mx) as mta:
        client = await Dialogue(mta.port("smtp")).__aenter__()
        await client.envelope(BOB, CAROL)
        await client.data()
        await mx.until(lambda: reports(mx) == 1)
        await client.cut()
        async with Dialogue(mta.port("smtp")) as again:
            await mx.until(lambda: not mta.mta.ledger.is_empty)
            assert (await again.mail(BOB, CAROL)).startswith("250 ")
    assert to(mx) == [ALICE, CAROL]
    assert reports(mx) == 1


async def test_a_report_in_doubt_is_451_and_tried_again(mx, tmp_path):
    mx.script("dot", "250 2.0.0 ok")
    mx.script("dot", DROP)
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB, CAROL)).startswith("451 4.4.0 ")
        assert (await client.mail(BOB, CAROL)).startswith("250 ")
    assert to(mx) == [ALICE, CAROL]
    assert reports(mx) == 2, "a duplicate is possible, a loss is not"


async def test_the_same_message_sent_anew_has_a_report_of_its_own(mx, tmp_path):
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB, CAROL)).startswith("250 ")
        assert (await client.mail(BOB, CAROL)).startswith("250 ")
    assert reports(mx) == 2


GIVE_UP = """
hostname = "mta.example.org"
plugins = ["ears"]
give_up = "4d"
drain = "1s"
[route]
next_hop = "127.0.0.1"
port = {port}
tls = "off"
[[listener]]
name = "smtp"
kind = "mta"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
"""


@pytest.mark.parametrize(
    ("sender", "answer", "told"),
    [
        (ALICE, "450 4.2.1 busy", "451 4.4.0 "),
        (ALICE, NOBODY, "250 2.0.0 "),
        ("", NOBODY, "250 2.0.0 "),
    ],
)
async def test_after_give_up_the_report_has_the_same_rows(mx, tmp_path, sender, answer, told):
    mx.script("rcpt", "450 4.2.1 busy", to="dave@example.net", always=True)
    mx.script("rcpt", answer, to=ALICE, always=True)
    clock = VirtualClock()
    conf = {"mtaframe.toml": GIVE_UP.format(port=mx.port)}
    async with running(tmp_path, conf, clock=clock, plugins={"ears": Ears}) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(CAROL, "dave@example.net", sender=sender)).startswith("451 4.2.1 ")
            clock.advance(4 * 86400 + 1)
            assert (await client.mail(CAROL, "dave@example.net", sender=sender)).startswith(told)
        unreported = [event.data["unreported"] for event in ears(mta).events if event.type is EventType.BOUNCE_HARD]
    expected = {"451 4.4.0 ": [], "250 2.0.0 ": ["report refused" if sender else "no reverse-path"]}
    assert unreported == expected[told]
    assert to(mx) == [CAROL]


async def test_the_ledger_remembers_the_rest_of_a_message_that_is_given_up_as_late_as_may_be(mx, tmp_path):
    """It forgot at five days, the longest ``give_up``: Carol got a second copy, and nobody was ever given up."""
    mx.script("rcpt", "450 4.2.1 busy", to="dave@example.net", always=True)
    clock, conf = VirtualClock(), GIVE_UP.format(port=mx.port).replace('"4d"', '"5d"')
    async with running(tmp_path, {"mtaframe.toml": conf}, clock=clock, plugins={"ears": Ears}) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(CAROL, "dave@example.net")).startswith("451 4.2.1 ")
            clock.advance(5 * 86400 + 6 * 3600)  # upstreams wait for hours between two tries
            assert (await client.mail(CAROL, "dave@example.net")).startswith("250 ")
    assert to(mx) == [ALICE, CAROL]


# Submitted mail keeps the same rules.


async def test_submitted_mail_carries_our_received_field(mx, tmp_path):
    async with house(tmp_path, mx, plugins={"ears": Ears}) as mta:
        facade = ears(mta).mta
        [result] = await facade.submit(session(protocol="HTTP"), envelope([CAROL]), message())
    assert result.outcome is Outcome.DELIVERED
    assert mx.received[0].raw.startswith(b"Received: from client.example.com ([127.0.0.1])\r\n by mta.example.org")
    assert b"(mtaframe) with HTTP id m1;" in mx.received[0].raw


async def test_submitted_mail_in_a_loop_is_refused(mx, tmp_path):
    looping = message(b"Received: from a by b; today\r\n" * 51 + MAIL)
    async with house(tmp_path, mx, plugins={"ears": Ears}) as mta:
        [result] = await ears(mta).mta.submit(session(), envelope([CAROL]), looping)
        assert ears(mta).results == [("carol", "failed", "reception")]
    assert result.reply.status == "5.4.6"
    assert not mx.connections


class Ponders(Plugin):
    @hookimpl
    async def on_rcpt(self, recipient):
        if recipient.address.local_part == "carol":
            await asyncio.sleep(5)


async def test_plugins_have_only_the_patience_for_submitted_recipients(mx, tmp_path):
    async with house(tmp_path, mx, plugins={"ponders": Ponders}) as mta:
        lease, clock = mta.mta.reception.lease(), mta.mta.clock
        mail = envelope([CAROL, "dave@example.net"])
        first, second = await mta.mta.reception.submit(
            lease, mail.session, mail, message(), deadline=clock.monotonic() + 0.3
        )
    assert (first.reply.status, second.outcome) == ("4.4.7", Outcome.DEFERRED)
    assert not mx.received


async def submitted(running_house, patience):
    """Carol's mail, as a program submits it."""
    mail, reception = envelope([CAROL]), running_house.mta.reception
    deadline = running_house.mta.clock.monotonic() + patience
    [result] = await reception.submit(reception.lease(), mail.session, mail, message(), deadline)
    return result


async def test_submitted_mail_that_comes_again_joins_what_is_under_way(mx, tmp_path):
    """The next hop had the final dot and took its time; the program was told "in doubt", came again, and sent two."""
    mx.script("dot", delay=1.5)
    async with house(tmp_path, mx) as mta:
        first = await submitted(mta, 1.0)
        assert (first.outcome, first.in_doubt) == (Outcome.DEFERRED, True)
        assert (await submitted(mta, 10.0)).outcome is Outcome.DELIVERED
        assert len(mx.arrived) == 1
        assert (await submitted(mta, 10.0)).outcome is Outcome.DELIVERED
        assert to(mx) == [CAROL] * 2, "that one was on purpose"
        assert not len(mta.mta.book)


async def test_submitted_mail_whose_submitter_gave_up_waiting_is_found_delivered(mx, tmp_path):
    mx.script("dot", delay=0.5)
    async with house(tmp_path, mx) as mta:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(submitted(mta, 10.0), 0.3)
        await mx.until(lambda: mx.messages == 1)
        assert (await submitted(mta, 10.0)).outcome is Outcome.DELIVERED
    assert to(mx) == [CAROL]


async def test_a_sender_whose_domain_alone_is_beyond_ascii_gets_the_report_without_smtputf8(tmp_path):
    """The To field held the domain as the client wrote it: to a host without SMTPUTF8 no report could go."""
    async with ScriptedMx(extensions=("PIPELINING", "8BITMIME")) as mx:
        mx.script("rcpt", NOBODY, to=BOB, always=True)
        async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
            assert (await client.say("MAIL FROM:<alice@bücher.example> SMTPUTF8")).startswith("250 ")
            for recipient in (BOB, CAROL):
                assert (await client.say(f"RCPT TO:<{recipient}>")).startswith("250 ")
            await client.data()
            assert (await client.reply()).startswith("250 ")
    assert to(mx) == ["alice@xn--bcher-kva.example", CAROL]
    (report,) = [one for one in mx.received if one.reverse_path == ""]
    assert b"\r\nTo: <alice@xn--bcher-kva.example>\r\n" in report.raw
