"""One slow site or busy account leaves room for the others, and nobody is refused at connect for its sake."""

import asyncio
import gc
import random
from contextlib import suppress

import pytest

from mtaframe import Plugin, Reject, hookimpl
from mtaframe.bulkheads import Bulkhead, Bulkheads, site
from mtaframe.testing import HANG, ScriptedDns, ScriptedMx, running
from tests.core.keeping import BOB, CAROL
from tests.dialogue import MAIL, Dialogue

FULL = "451 4.3.2 too many transactions at once; try again later"
SITE_FULL = "451 4.3.2 too many transactions for this destination at once; try again later"

# Counting.


def alone(domain):
    return frozenset({domain})


def test_a_listener_has_so_many_places_and_no_more():
    bulkhead = Bulkhead(4)
    berths = [bulkhead.enter("shop") for _ in range(4)]
    assert None not in berths
    assert bulkhead.enter("shop") is None
    berths.pop().leave()
    assert bulkhead.enter("shop") is not None


def test_an_account_has_half_of_them_once_it_is_not_alone():
    bulkhead = Bulkhead(8)
    shop = [bulkhead.enter("shop") for _ in range(6)]
    assert None not in shop
    bank = bulkhead.enter("bank")
    assert bank is not None
    assert bulkhead.enter("shop") is None, "it had six of eight, and is no longer alone"
    bank.leave()
    assert bulkhead.enter("shop") is not None


def test_a_site_has_a_quarter_of_them_by_whatever_domains():
    bulkhead = Bulkhead(8)
    hosts = {"a.example": {"mx.big.example"}, "b.example": {"mx.big.example"}, "c.example": {"mx.small.example"}}

    def site_of(domain):
        return frozenset(hosts[domain])

    berths = [bulkhead.enter(None) for _ in range(5)]
    for berth, domain in zip(berths, ("a.example", "b.example"), strict=False):
        assert bulkhead.has_room(berth, domain, site_of)
        berth.join(domain)
    assert not bulkhead.has_room(berths[2], "a.example", site_of)
    assert bulkhead.has_room(berths[2], "c.example", site_of)
    assert bulkhead.has_room(berths[0], "b.example", site_of), "it is there already"


def test_nobody_asks_for_sites_where_little_is_open():
    def site_of(domain):
        raise AssertionError(domain)

    bulkhead = Bulkhead(400)
    berths = [bulkhead.enter(None) for _ in range(100)]
    for berth in berths:
        assert bulkhead.has_room(berth, "a.example", site_of)
        berth.join("a.example")


def test_a_worker_has_its_share():
    assert Bulkheads(0.25).of("smtp", 1000).limit == 250
    assert Bulkheads(0.01).of("smtp", 4).limit == 1


@pytest.mark.parametrize(
    ("records", "hosts"),
    [
        ([(20, "backup.example"), (10, "a.example"), (10, "b.example")], {"a.example", "b.example"}),
        ([], {"example.net"}),
        (None, {"example.net"}),
    ],
)
def test_a_site_is_the_best_hosts_of_a_domain(records, hosts):
    assert site("example.net", records) == hosts


def test_however_transactions_end_nothing_stays_counted():
    chance = random.Random(4)
    bulkhead = Bulkhead(50)
    open_ones = []
    for _ in range(20_000):
        berth = bulkhead.enter(chance.choice(["shop", "bank", None]))
        if berth is not None:
            open_ones.append(berth)
        for _ in range(chance.randrange(3)):
            if open_ones:
                chance.choice(open_ones).join(f"{chance.randrange(9)}.example")
        if open_ones and chance.random() < 0.5:
            berth = open_ones.pop(chance.randrange(len(open_ones)))
            if chance.random() < 0.7:
                berth.leave()
            if chance.random() < 0.2:
                berth.leave()
    assert not bulkhead.is_clear
    del berth
    open_ones.clear()
    assert bulkhead.is_clear


# With real sockets.

CONF = """
hostname = "mta.example.org"
plugins = {plugins}
drain = "1s"
[route]
port = {port}
tls = "off"
[dns]
servers = ["{dns}"]
"""
DOOR = """
[[listener]]
name = "{name}"
kind = "{kind}"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
patience = "{patience}"
max_transactions = {limit}
barrier = 0
"""
ZONE = {
    "slow.example": {"MX": [(10, "mx.slow.example.")]},
    "slower.example": {"MX": [(10, "mx.slow.example.")]},
    "fast.example": {"MX": [(10, "mx.fast.example.")]},
    "example.net": {"MX": [(10, "mx.fast.example.")]},
    "mx.slow.example": {"A": ["127.0.0.1"]},
    "mx.fast.example": {"A": ["127.0.0.1"]},
}


@pytest.fixture
async def mx():
    async with ScriptedMx() as scripted:
        yield scripted


@pytest.fixture
async def dns():
    async with ScriptedDns(ZONE) as scripted:
        yield scripted


def house(folder, mx, dns, *, limit=8, patience="20s", plugins=None, accounts=""):
    kinds = (("smtp", "mta"), ("app", "application"), ("lmtp", "lmtp"))
    doors = "".join(DOOR.format(name=name, kind=kind, limit=limit, patience=patience) for name, kind in kinds)
    conf = CONF.format(port=mx.port, dns=dns.server, plugins=str(list(plugins or {})).replace("'", '"'))
    return running(folder, {"mtaframe.toml": conf + doors, "accounts.toml": accounts}, plugins=plugins)


class Crowd:
    """Clients that have begun a transaction and go no further."""

    def __init__(self, port, lmtp=False):
        self.port, self.hello = port, "LHLO x.example" if lmtp else "EHLO x.example"
        self.clients = []

    async def send(self, *recipients, sender="alice@example.com"):
        """One more; the reply to its last RCPT."""
        client = await Dialogue(self.port, hello=self.hello).__aenter__()
        self.clients.append(client)
        return (await client.envelope(*recipients, sender=sender))[-1]

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        for client in self.clients:
            await client.cut()


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
async def test_a_full_share_is_told_at_that_recipient_to_who_has_a_queue(mx, dns, tmp_path, door):
    async with house(tmp_path, mx, dns) as mta, Crowd(mta.port(door), door == "lmtp") as crowd:
        async with Dialogue(mta.port("smtp")) as client:
            for mailbox in ("a@slow.example", "b@slower.example"):
                await client.mail(mailbox)  # their site is known from now on
        assert await crowd.send("a@slow.example") == "250 2.1.5 recipient ok"
        assert await crowd.send("b@slower.example") == "250 2.1.5 recipient ok"
        assert await crowd.send("c@slow.example") == SITE_FULL, "two of eight, at one site"
        assert await crowd.send("d@fast.example") == "250 2.1.5 recipient ok"
        assert await crowd.send("a@slow.example", "e@fast.example") == "250 2.1.5 recipient ok"


async def test_applications_are_told_at_data_before_the_message_is_sent(mx, dns, tmp_path):
    async with house(tmp_path, mx, dns) as mta, Crowd(mta.port("app")) as crowd:
        for _ in range(3):
            assert (await crowd.send("a@slow.example")).startswith("250")
        assert await crowd.clients[-1].say("DATA") == SITE_FULL
        assert (await crowd.clients[-1].mail("b@fast.example")).startswith("250 ")


async def test_applications_are_told_at_mail_if_the_listener_is_full(mx, dns, tmp_path):
    async with house(tmp_path, mx, dns, limit=4) as mta, Crowd(mta.port("app")) as crowd:
        for domain in ("fast.example", "slow.example", "nowhere.example", "elsewhere.example"):
            await crowd.send(f"a@{domain}")
        async with Dialogue(mta.port("app")) as client:
            assert await client.say("MAIL FROM:<alice@example.com>") == FULL


async def test_mta_listeners_are_told_at_the_recipient_if_the_listener_is_full(mx, dns, tmp_path):
    async with house(tmp_path, mx, dns, limit=4) as mta, Crowd(mta.port("smtp")) as crowd:
        for domain in ("fast.example", "slow.example", "nowhere.example", "elsewhere.example"):
            assert (await crowd.send(f"a@{domain}")).startswith("250 ")
        assert await crowd.send("a@other.example") == FULL
        assert (await crowd.clients[0].say("RSET")).startswith("250 ")
        assert (await crowd.clients[-1].say("RCPT TO:<a@other.example>")).startswith("250 "), "a place became free"


ACCOUNTS = """
[[account]]
name = "shop"
domains = ["shop.example"]
[[account]]
name = "bank"
domains = ["bank.example"]
"""


async def test_an_account_leaves_room_for_the_others(mx, dns, tmp_path):
    async with house(tmp_path, mx, dns, limit=8, accounts=ACCOUNTS) as mta, Crowd(mta.port("smtp")) as crowd:
        for number in range(5):
            assert (await crowd.send(f"a@{number}.example", sender="a@shop.example")).startswith("250 ")
        assert (await crowd.send("a@5.example", sender="a@bank.example")).startswith("250 ")
        assert await crowd.send("a@6.example", sender="a@shop.example") == FULL
        assert (await crowd.send("a@6.example", sender="a@bank.example")).startswith("250 ")


async def test_where_all_mail_goes_to_one_smart_host_there_are_no_sites(mx, dns, tmp_path):
    async with house(tmp_path, mx, dns) as mta:
        text = (tmp_path / "mtaframe.toml").read_text().replace("[route]", '[route]\nnext_hop = "127.0.0.1"')
        mta.write("mtaframe.toml", text)
        assert await mta.mta.reload()
        async with Crowd(mta.port("smtp")) as crowd:
            for _ in range(8):
                assert (await crowd.send("a@slow.example")).startswith("250 ")
        assert not dns.questions


async def test_one_site_that_hangs_does_not_keep_the_others_mail(mx, dns, tmp_path):
    mx.script("rcpt", HANG, to="a@slow.example", always=True)
    async with house(tmp_path, mx, dns) as mta, Crowd(mta.port("smtp")) as crowd:
        for _ in range(2):
            assert (await crowd.send("a@slow.example")).startswith("250 ")
            await crowd.clients[-1].data()
        assert (await crowd.send("b@fast.example")).startswith("250 ")
        assert await crowd.send("a@slow.example") == SITE_FULL
        for _ in range(10):
            async with Dialogue(mta.port("smtp")) as client:
                assert (await client.mail("b@fast.example")).startswith("250 ")


class Moody(Plugin):
    """Refuses some, fails with others."""

    @hookimpl
    def on_rcpt(self, recipient):
        return Reject() if recipient.address.local_part == "refused" else None

    @hookimpl
    def on_data(self, message):
        if b"moody" in message.body:
            raise RuntimeError
        return None


async def ended_somehow(port, chance):
    """One client, which behaves in one of many ways, and takes no for an answer."""
    client = await Dialogue(port).__aenter__()
    with suppress(AssertionError):
        to = chance.sample([BOB, CAROL, "refused@example.net", "later@example.net", "no@example.net"], 2)
        match chance.randrange(8):
            case 0:
                await client.envelope(*to)
            case 1:
                await client.envelope(*to)
                await client.say(chance.choice(["RSET", "EHLO again.example", "QUIT"]))
            case 2:
                await client.envelope("refused@example.net")
                await client.say("DATA")
            case 3 | 4:
                await client.envelope(*to)
                body = chance.choice([b"moody\r\n", b"bare\nline\r\n", b"X" * 400_000 + b"\r\n", b"fine\r\n"])
                await client.data(MAIL + body)
                await client.reply()
            case 5:
                await client.envelope(*to)
                await client.data()
            case 6:
                client.send(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n")
            case _:
                await client.mail(BOB)
    await client.cut()


@pytest.mark.parametrize("door", ["smtp", "app"])
async def test_after_a_thousand_random_ends_all_counts_are_zero(mx, dns, tmp_path, door):
    mx.script("rcpt", "450 4.2.1 busy", to="later@example.net", always=True)
    mx.script("rcpt", "550 5.1.1 no", to="no@example.net", always=True)
    chance = random.Random(door)
    async with house(tmp_path, mx, dns, limit=30, plugins={"moody": Moody}) as mta:
        bulkhead = mta.mta.reception.bulkheads.of(door, 30)
        for _ in range(50):
            await asyncio.gather(*(ended_somehow(mta.port(door), chance) for _ in range(20)))
        async with asyncio.timeout(10):
            while not bulkhead.is_clear:
                gc.collect()
                await asyncio.sleep(0.05)
    assert mx.received
