"""Reports of success (RFC 3461 §5.2.2): once, by whoever has the duty, and never in the way of the mail."""

import asyncio
import email

import pytest

from mtaframe.testing import DROP, ScriptedMx
from tests.core.keeping import BOB, CAROL, DAVE, house, to
from tests.dialogue import Dialogue

ALICE = "alice@example.com"
FINAL = ("PIPELINING", "SIZE", "8BITMIME", "DSN")


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def asking(client, *recipients, sender=ALICE, ending=" RET=FULL ENVID=QQ1"):
    """MAIL and every RCPT with its parameters, the message and its dot."""
    assert (await client.say(f"MAIL FROM:<{sender}>{ending}")).startswith("250")
    for mailbox, parameters in recipients:
        assert (await client.say(f"RCPT TO:<{mailbox}>{parameters}")).startswith("250")
    await client.data()


def report(mx):
    """The one report that went out, and the groups of its fields by recipient."""
    [dsn] = [received for received in mx.received if received.recipients == [ALICE]]
    assert dsn.reverse_path == ""
    groups = email.message_from_bytes(dsn.raw).get_payload()[1].get_payload()[1:]
    return dsn, {group["Final-Recipient"].partition("; ")[2]: group["Action"] for group in groups}


@pytest.fixture
async def mx():
    async with ScriptedMx() as scripted:
        yield scripted


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
async def test_who_asked_hears_of_success_where_the_next_hop_sends_no_reports(mx, tmp_path, door):
    hello = "LHLO up.example.com" if door == "lmtp" else "EHLO up.example.com"
    async with house(tmp_path, mx) as mta, Dialogue(mta.port(door), hello=hello) as client:
        asked = (BOB, " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob@Example.NET"), (CAROL, " NOTIFY=NEVER"), (DAVE, "")
        await asking(client, *asked)
        replies = [await client.reply() for _ in range(3 if door == "lmtp" else 1)]
        assert {reply[:3] for reply in replies} == {"250"}
        await until(lambda: ALICE in to(mx))
    dsn, actions = report(mx)
    assert actions == {BOB: "relayed"}
    assert b"Original-Recipient: rfc822;Bob@Example.NET" in dsn.raw
    assert b"Original-Envelope-Id: QQ1" in dsn.raw
    assert b"\r\nHello\r\n" not in dsn.raw


async def test_where_the_next_hop_offers_dsn_the_duty_goes_with_the_mail(tmp_path):
    async with ScriptedMx(extensions=FINAL) as mx:
        async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
            await asking(client, (BOB, " NOTIFY=SUCCESS"))
            assert (await client.reply()).startswith("250")
            await until(lambda: not mta.mta.dispatch.under_way)
        assert to(mx) == [BOB]
        assert mx.received[0].rcpt_parameters == ["NOTIFY=SUCCESS"]
        assert "RET=FULL ENVID=QQ1" in mx.received[0].mail_parameters


async def test_a_null_reverse_path_gets_none(mx, tmp_path):
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        await asking(client, (BOB, " NOTIFY=SUCCESS"), sender="")
        assert (await client.reply()).startswith("250")
        await until(lambda: not mta.mta.dispatch.under_way)
    assert to(mx) == [BOB]


async def test_each_recipient_is_reported_when_it_is_delivered_and_never_twice(mx, tmp_path):
    mx.script("rcpt", "450 4.2.1 busy", to=BOB)
    both = (BOB, " NOTIFY=SUCCESS"), (CAROL, " NOTIFY=SUCCESS")
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        await asking(client, *both)
        assert (await client.reply()).startswith("451")
        await until(lambda: to(mx) == [ALICE, CAROL])
        assert report(mx)[1] == {CAROL: "relayed"}
        mx.received.clear()
        await asking(client, *both)
        assert (await client.reply()).startswith("250")
        await until(lambda: to(mx) == [ALICE, BOB])
        assert report(mx)[1] == {BOB: "relayed"}


async def test_what_is_delivered_after_our_answer_is_reported_too(mx, tmp_path):
    mx.script("dot", "250 2.0.0 at last", delay=0.6)
    async with house(tmp_path, mx, patience="300ms") as mta, Dialogue(mta.port("smtp")) as client:
        await asking(client, (BOB, " NOTIFY=SUCCESS"))
        assert (await client.reply()).startswith("451 4.4.2")
        await until(lambda: to(mx) == [ALICE, BOB])
    assert report(mx)[1] == {BOB: "relayed"}


@pytest.mark.parametrize("said", ["450 4.2.1 busy", "550 5.1.1 no such user", DROP])
async def test_a_report_that_cannot_be_delivered_is_no_reason_to_try_again(mx, tmp_path, said, caplog):
    mx.script("rcpt", said, to=ALICE, always=True)
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        await asking(client, (BOB, " NOTIFY=SUCCESS"))
        assert (await client.reply()).startswith("250")
        await client.say("NOOP")
        await until(lambda: not mta.mta.dispatch.under_way)
        assert mta.mta.ledger.is_empty
    assert to(mx) == [BOB]
    [told] = [r.getMessage() for r in caplog.records if "no report of success" in r.getMessage()]
    assert "alice" not in told


async def test_the_client_waits_for_no_report(mx, tmp_path):
    mx.script("rcpt", "250 2.1.5 ok", to=ALICE, delay=0.5)
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        await asking(client, (BOB, " NOTIFY=SUCCESS"))
        begun = asyncio.get_running_loop().time()
        assert (await client.reply()).startswith("250")
        assert asyncio.get_running_loop().time() - begun < 0.4
        # the end of the house does
    assert to(mx) == [ALICE, BOB]


async def test_by_lmtp_the_next_hop_has_delivered(tmp_path):
    async with ScriptedMx(lmtp=True) as mx:
        async with house(tmp_path, mx, transport="lmtp") as mta, Dialogue(mta.port("smtp")) as client:
            await asking(client, (BOB, " NOTIFY=SUCCESS"))
            assert (await client.reply()).startswith("250")
            await until(lambda: ALICE in to(mx))
        assert report(mx)[1] == {BOB: "delivered"}
