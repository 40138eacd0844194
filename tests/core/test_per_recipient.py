"""PRDR and LMTP with real next hops: each recipient is told its own, nobody gets a report, what is told is proven."""

import asyncio
import socket

import pytest

from mtaframe.testing import ScriptedMx
from tests.core.keeping import BOB, CAROL, DAVE, house, to
from tests.dialogue import MAIL, Dialogue
from tests.scripted_reception import connected

ALL = (BOB, CAROL, DAVE)


@pytest.fixture
async def mx():
    async with ScriptedMx() as scripted:
        yield scripted


async def mail(client, *recipients, sender="alice@example.com"):
    """A transaction with PRDR; all replies behind the dot."""
    assert (await client.say(f"MAIL FROM:<{sender}> PRDR")).startswith("250")
    for mailbox in recipients:
        assert (await client.say(f"RCPT TO:<{mailbox}>")).startswith("250")
    await client.data()
    return [await client.reply() for _ in range(len(recipients) + 2)]


async def test_mixed_outcomes_need_no_report_and_no_second_try_of_all(mx, tmp_path):
    mx.script("rcpt", "550 5.1.1 no such user", to=BOB)
    mx.script("rcpt", "450 4.2.1 busy", to=DAVE)
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        begun, *each, whole = await mail(client, BOB, CAROL, DAVE)
        assert begun.startswith("353 ")
        assert [reply[:9] for reply in each] == ["550 5.1.1", "250 2.0.0", "450 4.2.1"]
        # 250: else Exim would try all of them again
        assert whole.startswith("250 2.0.0 each recipient has its reply [")
        await client.say("NOOP")
        assert mta.mta.ledger.is_empty
    assert to(mx) == [CAROL]


@pytest.mark.parametrize("said", ["550 5.1.1 no such user", "450 4.2.1 busy"])
async def test_a_refusal_that_all_share_is_that_of_the_whole(mx, tmp_path, said):
    mx.script("rcpt", said, always=True)
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        _, *rest = await mail(client, BOB, CAROL)
    assert rest == [said] * 3


async def test_the_client_hears_at_once_that_there_will_be_a_reply_for_each(mx, tmp_path):
    mx.script("rcpt", "550 5.1.1 no such user", to=BOB)
    mx.script("dot", "250 2.0.0 at last", delay=0.6)
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        await client.say("MAIL FROM:<alice@example.com> PRDR")
        await client.say(f"RCPT TO:<{CAROL}>")
        await client.say(f"RCPT TO:<{BOB}>")
        await client.data()
        begun = asyncio.get_running_loop().time()
        assert (await client.reply()).startswith("353 ")
        assert asyncio.get_running_loop().time() - begun < 0.3
        assert [(await client.reply())[:3] for _ in range(3)] == ["250", "550", "250"]


def cut_after(address, hello, prdr, lines):
    """A client that reads so many lines behind its dot, and closes with the rest unread."""
    with connected(address) as client:
        heard = client.makefile("rb", buffering=0)
        for said in (hello, f"MAIL FROM:<alice@example.com>{prdr}", *(f"RCPT TO:<{mailbox}>" for mailbox in ALL)):
            client.sendall(said.encode() + b"\r\n")
        client.sendall(b"DATA\r\n")
        while not heard.readline().startswith(b"354"):
            pass
        client.sendall(MAIL + b".\r\n")
        for _ in range(lines):
            heard.readline()
        client.recv(1, socket.MSG_PEEK)


@pytest.mark.parametrize(("door", "read"), [("smtp", 1), ("smtp", 2), ("smtp", 4), ("lmtp", 0), ("lmtp", 2)])
async def test_a_client_cut_before_the_last_reply_has_proven_nothing(mx, tmp_path, door, read):
    """Nobody knows what a client keeps of the replies that it has read, before it has the last one."""
    mx.script("rcpt", "450 4.2.1 busy", to=DAVE)
    async with house(tmp_path, mx) as mta:
        listener = mta.mta.listeners[door]
        words = ("LHLO up.example.com", "") if door == "lmtp" else ("EHLO up.example.com", " PRDR")
        await asyncio.to_thread(cut_after, listener.addresses[0], *words, read)
        while listener.connections:
            await asyncio.sleep(0.01)
        async with Dialogue(mta.port("smtp")) as again:
            assert not mta.mta.ledger.is_empty
            _, *each, _ = await mail(again, *ALL)
            assert [reply[:3] for reply in each] == ["250", "250", "250"]
            await again.say("NOOP")
            assert mta.mta.ledger.is_empty
    assert to(mx) == [BOB, CAROL, DAVE]


async def test_an_application_asks_for_prdr_too(mx, tmp_path):
    mx.script("rcpt", "450 4.2.1 busy", to=DAVE)
    async with house(tmp_path, mx, terms='barrier = "5s"') as mta, Dialogue(mta.port("app")) as client:
        _, *each, _ = await mail(client, BOB, DAVE)
    # nothing holds the others back: everybody is told its own
    assert [reply[:3] for reply in each] == ["250", "450"]
    assert to(mx) == [BOB]


async def test_the_header_section_that_is_too_big_is_said_to_each_and_all(mx, tmp_path):
    big = b"".join(b"X-%d: y\r\n" % number for number in range(10_001)) + MAIL
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        await client.say("MAIL FROM:<alice@example.com> PRDR")
        await client.say(f"RCPT TO:<{BOB}>")
        await client.say(f"RCPT TO:<{CAROL}>")
        await client.data(big)
        assert [(await client.reply())[:9] for _ in range(4)][1:] == ["552 5.3.4"] * 3
