"""What messages take of the memory: bounded, shared, and given back."""

import asyncio
import gc

import pytest

from mtaframe.consistency import of_settings
from mtaframe.memory import Memory
from mtaframe.settings import Settings
from mtaframe.testing import ScriptedMx, running
from tests.dialogue import MAIL, Dialogue

BOB = "bob@example.net"

NO_MEMORY = "452 4.3.1 too much mail at once for this server's memory; try again later"
CONF = """
hostname = "mta.example.org"
max_in_flight = "400 KB"
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
BIG = MAIL + b"X" * 98 + b"\r\n" + (b"Y" * 98 + b"\r\n") * 2500
"""250 KB."""


@pytest.fixture
async def mx():
    async with ScriptedMx() as scripted:
        yield scripted


def house(folder, mx):
    return running(folder, {"mtaframe.toml": CONF.format(port=mx.port)})


async def is_free(mta):
    async with asyncio.timeout(5):
        while mta.mta.reception.memory.used:
            gc.collect()
            await asyncio.sleep(0.01)


def test_an_account_has_half_of_the_room_once_it_is_not_alone():
    memory = Memory()
    memory.limit_to(100)
    shop, bank = memory.place("shop"), memory.place("bank")
    assert shop.grow_to(80)
    assert not bank.grow_to(30), "there is no room for it"
    assert bank.grow_to(20)
    assert not shop.grow_to(81)
    del shop
    assert memory.used == 20
    again = memory.place("shop")
    assert again.grow_to(50)
    assert not again.grow_to(51), "half of it"


def test_a_worker_has_its_share():
    memory = Memory(0.5)
    memory.limit_to(100)
    assert not memory.place(None).grow_to(51)
    assert memory.place(None).grow_to(50)


def test_check_warns_where_a_message_may_never_fit_in():
    def warns(**more):
        listener = {"name": "smtp", "kind": "mta", "addresses": ["127.0.0.1:25"], "trusted": ["127.0.0.1"], **more}
        settings = Settings.model_validate({"workers": 2, "max_in_flight": "100 MB", "listener": [listener]})
        return [finding.text for finding in of_settings(settings) if "max_in_flight" in finding.text]

    assert warns() == []
    assert warns(max_size="26 MB") == ['such a message may never fit into max_in_flight: make that at least "104 MB"']


async def test_who_says_its_size_is_told_at_mail(mx, tmp_path):
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        assert await client.say("MAIL FROM:<alice@example.com> SIZE=400001") == NO_MEMORY
        assert (await client.say("MAIL FROM:<alice@example.com> SIZE=300000")).startswith("250 ")
        async with Dialogue(mta.port("smtp")) as other:
            assert await other.say("MAIL FROM:<alice@example.com> SIZE=300000") == NO_MEMORY
            assert (await client.say("RSET")).startswith("250 ")
            assert (await other.say("MAIL FROM:<alice@example.com> SIZE=300000")).startswith("250 ")
    await is_free(mta)


async def test_who_does_not_say_it_is_told_at_the_end_and_nothing_is_kept_meanwhile(mx, tmp_path):
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        [conversation] = mta.mta.listeners["smtp"]._connections
        await client.envelope(BOB)
        assert (await client.say("DATA")).startswith("354")
        for _ in range(20):
            client.send(b"Z" * 98 + b"\r\n" + (b"Z" * 98 + b"\r\n") * 999)
            await asyncio.sleep(0.01)
            assert len(conversation.framing.input) < 600_000
        client.send(b".\r\n")
        assert await client.reply() == NO_MEMORY
        assert (await client.mail(BOB)).startswith("250 ")
        assert (await client.say("NOOP")).startswith("250 ")
    await is_free(mta)


async def test_what_is_under_way_counts_until_it_has_ended(mx, tmp_path):
    mx.script("dot", "250 2.0.0 taken", delay=1.0)
    async with house(tmp_path, mx) as mta:
        client = await Dialogue(mta.port("smtp")).__aenter__()
        async with Dialogue(mta.port("smtp")) as other:
            await client.envelope(BOB)
            await client.data(BIG)
            await mx.until(lambda: mx.messages == 1)
            assert len(BIG) <= mta.mta.reception.memory.used < len(BIG) + 100_000
            await other.envelope(BOB)
            await other.data(BIG)
            assert await other.reply() == NO_MEMORY
            await client.cut()
            assert mta.mta.reception.memory.used >= len(BIG), "the attempt goes on"
            assert (await other.mail(BOB)).startswith("250 ")
        await is_free(mta)


async def test_a_chunk_that_there_is_no_room_for_is_refused_before_it_is_read(mx, tmp_path):
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        await client.envelope(BOB)
        client.send(b"BDAT 500000 LAST\r\n" + b"X" * 500_000)
        assert await client.reply() == NO_MEMORY
        assert (await client.mail(BOB)).startswith("250 ")
