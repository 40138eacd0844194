"""What can't be delivered now is handed off within the patience; what may have been delivered never is."""

import asyncio
import time
from dataclasses import replace

import pytest

from mtaframe import Defer, Outcome, Plugin, hookimpl
from mtaframe.assembly import read
from mtaframe.config import ConfigError
from mtaframe.testing import DROP, HANG, ScriptedMx, envelope, message, result, session
from tests.core.keeping import BOB, CAROL, DAVE, Ears, ears, house, to
from tests.dialogue import MAIL, Dialogue

LATER = "450 4.2.1 busy"


@pytest.fixture
async def mx():
    async with ScriptedMx() as scripted:
        yield scripted


@pytest.fixture
async def smart():
    async with ScriptedMx(name="smart.test") as scripted:
        scripted.script("dot", "250 2.0.0 queued as 7", always=True)
        yield scripted


async def test_what_is_deferred_goes_to_the_smart_host_octet_for_octet(mx, smart, tmp_path):
    mx.script("dot", LATER)
    async with house(tmp_path, mx, smart, on_defer="handoff", plugins={"ears": Ears}) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            reply = await client.mail(BOB)
        assert ears(mta).results == [("bob", "deferred", "smtp"), ("bob", "delivered", "handoff")]
    assert reply.startswith("250 2.0.0 handed off to 127.0.0.1, which keeps it until it is delivered: queued as 7 [")
    assert [(one.reverse_path, one.recipients) for one in smart.received] == [("alice@example.com", [BOB])]
    assert smart.received[0].raw == mx.arrived[0].raw
    assert not mx.received


@pytest.mark.parametrize("answer", ["451 4.3.0 full", "550 5.7.1 not from you", DROP])
async def test_only_a_yes_of_the_smart_host_changes_anything(mx, smart, tmp_path, answer):
    mx.script("rcpt", LATER)
    smart.script("rcpt", answer)
    async with house(tmp_path, mx, smart, on_defer="handoff", plugins={"ears": Ears}) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert await client.mail(BOB) == LATER
        assert ears(mta).results == [("bob", "deferred", "smtp")], "a hand-off that failed is no second deferral"


async def test_the_first_try_leaves_time_for_the_hand_off(mx, smart, tmp_path):
    mx.script("rcpt", HANG)
    async with house(tmp_path, mx, smart, on_defer="handoff", patience="1500ms", reserve="1s") as mta:
        async with Dialogue(mta.port("app")) as client:
            began = time.monotonic()
            assert (await client.mail(BOB)).startswith("250 2.0.0 handed off ")
            assert 0.4 < time.monotonic() - began < 1.2
    assert to(smart) == [BOB]


async def test_a_smart_host_that_is_too_late_is_451_within_the_patience(mx, smart, tmp_path):
    mx.script("rcpt", HANG)
    smart.script("rcpt", HANG)
    async with house(tmp_path, mx, smart, on_defer="handoff", patience="600ms", reserve="300ms") as mta:
        async with Dialogue(mta.port("app")) as client:
            began = time.monotonic()
            assert (await client.mail(BOB)).startswith("451 4.4.")
            assert time.monotonic() - began < 1.5
        assert not mta.mta.dispatch.under_way
    assert not smart.received


async def test_what_is_in_doubt_is_never_handed_off(mx, smart, tmp_path):
    mx.script("dot", DROP)
    async with house(tmp_path, mx, smart, on_defer="handoff") as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB)).startswith("451 4.4.2 in doubt")
    assert not smart.connections


async def test_nor_is_what_has_not_been_answered_yet(mx, smart, tmp_path):
    mx.script("dot", "450 4.2.1 after all not", delay=0.6)
    async with house(tmp_path, mx, smart, on_defer="handoff", patience="400ms", reserve="200ms") as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(BOB)).startswith("451 4.4.2 the next hop has not answered yet")
            while mta.mta.dispatch.under_way:
                await asyncio.sleep(0.01)
    assert not smart.connections, "nobody waits for its answer any more"


async def test_a_repeat_joins_a_hand_off_that_is_beyond_its_dot(mx, smart, tmp_path):
    mx.script("rcpt", LATER)
    smart.script("dot", "250 2.0.0 queued at last", delay=0.8)
    async with house(tmp_path, mx, smart, on_defer="handoff", patience="500ms", reserve="400ms") as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(BOB)).startswith("451 4.4.2 ")
            assert len(mta.mta.ledger.detached) == 1
            reply = await client.mail(BOB)
            while reply.startswith("451"):
                reply = await client.mail(BOB)
            assert reply.startswith("250 ")
    assert to(smart) == [BOB]
    assert not mx.received


class Greylist(Plugin):
    @hookimpl
    def before_sign(self, delivery):
        return Defer("not yet") if delivery.recipient.address.local_part == "dave" else None


async def test_by_lmtp_only_what_a_next_hop_has_deferred_is_handed_off(mx, smart, tmp_path):
    mx.script("rcpt", LATER, to=BOB)
    plugins = {"greylist": Greylist}
    async with house(tmp_path, mx, smart, on_defer="handoff", plugins=plugins) as mta:
        async with Dialogue(mta.port("lmtp"), hello="LHLO up.example.com") as client:
            replies = [await client.mail(BOB, CAROL, DAVE), await client.reply(), await client.reply()]
    assert replies[0].startswith("250 2.0.0 handed off to ")
    assert replies[1].startswith("250 2.0.0 taken [")
    assert replies[2] == "451 4.7.1 not yet"
    assert (to(mx), to(smart)) == ([CAROL], [BOB])


async def test_mail_that_has_been_here_before_is_not_handed_off_again(mx, smart, tmp_path):
    """The smart host gave it back to us: it still has it, and keeps it."""
    mx.script("rcpt", LATER, always=True)
    async with house(tmp_path, mx, smart, on_defer="handoff") as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB)).startswith("250 ")
        back = b"Received: from us by smart.test; today\r\n" + smart.received[0].raw
        assert await client.mail(BOB, octets=back) == LATER
    assert len(smart.received) == 1


@pytest.mark.parametrize(("listener", "account"), [("upstream", "handoff"), ("handoff", "upstream")])
async def test_what_the_account_says_goes_before_what_the_listener_says(mx, smart, tmp_path, listener, account):
    mx.script("rcpt", LATER)
    accounts = f'[[account]]\nname = "shop"\ndomains = ["example.com"]\non_defer = "{account}"'
    async with house(tmp_path, mx, smart, on_defer=listener, accounts=accounts) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(BOB)).startswith("250 " if account == "handoff" else "450 ")


async def test_a_submitters_mail_is_handed_off_if_its_account_says_so(mx, smart, tmp_path):
    mx.script("rcpt", LATER)
    accounts = '[[account]]\nname = "shop"\non_defer = "handoff"'
    async with house(tmp_path, mx, smart, plugins={"ears": Ears}, accounts=accounts) as mta:
        facade = ears(mta).mta
        [result] = await facade.submit(session(), envelope([BOB], account="shop"), message())
    assert (result.outcome.value, result.by) == ("delivered", "handoff")


async def test_strangers_keep_their_mail(mx, smart, tmp_path):
    mx.script("rcpt", LATER)
    door = '[[listener]]\nname = "open"\nkind = "mta"\naddresses = ["127.0.0.1:0"]\nrelay_domains = ["example.net"]\n'
    async with house(tmp_path, mx, smart, more=door + 'on_defer = "handoff"') as mta:
        async with Dialogue(mta.port("open")) as client:
            assert await client.mail(BOB) == LATER
    assert not smart.connections


async def test_a_client_that_vanishes_takes_its_mail_with_it(mx, smart, tmp_path):
    mx.script("rcpt", HANG)
    async with house(tmp_path, mx, smart, on_defer="handoff") as mta:
        client = await Dialogue(mta.port("smtp")).__aenter__()
        await client.envelope(BOB)
        await client.data()
        await mx.until(lambda: any(line.startswith("RCPT") for line in mx.commands))
        await client.cut()
        while mta.mta.dispatch.under_way:
            await asyncio.sleep(0.01)
    assert not smart.connections


class Trial(Plugin):
    """Keeps mail on this machine."""

    test_only = True

    def transports(self):
        return {"trial": self}

    @hookimpl
    def route(self, delivery, route):
        return replace(route, transport="trial")

    async def deliver(self, deliveries, route, attempt):
        return [result(Outcome.DEFERRED, by="trial", route=route) for _ in deliveries]


async def test_mail_of_a_trial_does_not_leave_the_machine(mx, smart, tmp_path):
    async with house(tmp_path, mx, smart, on_defer="handoff", plugins={"trial": Trial}) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(BOB)).startswith("451 ")
    assert not smart.connections


async def test_a_report_that_is_deferred_is_handed_off_too(mx, smart, tmp_path):
    mx.script("rcpt", "550 5.1.1 no such user", to=BOB)
    mx.script("rcpt", LATER, to="alice@example.com")
    async with house(tmp_path, mx, smart, on_defer="handoff") as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB, CAROL)).startswith("250 ")
    assert (to(mx), to(smart)) == ([CAROL], ["alice@example.com"])


DOOR = '[[listener]]\nname = "in"\nkind = "mta"\naddresses = ["{address}"]\non_defer = "{on_defer}"\n'


@pytest.mark.parametrize(
    ("address", "on_defer", "handoff", "said"),
    [
        ("127.0.0.1:2525", "handoff", "", "listener.0.on_defer: there is no [handoff]"),
        ("127.0.0.1:2525", "hold", "", "listener.0.on_defer: mail in RAM needs a smart host"),
        ("127.0.0.1:2525", "handoff", 'next_hop = "127.0.0.1"\nport = 2525', 'the listener "in" of this server'),
        ("127.0.0.1:2525", "handoff", 'next_hop = "localhost"\nport = 2525', 'the listener "in" of this server'),
        ("[::]:2525", "handoff", 'next_hop = "::1"\nport = 2525', 'the listener "in" of this server'),
        ("10.0.0.1:2525", "handoff", 'next_hop = "mta.example.org"\nport = 2525', 'the listener "in" of this server'),
        ("/run/in.sock", "handoff", 'next_hop = "/run/in.sock"', 'the listener "in" of this server'),
        ("127.0.0.1:2525", "handoff", 'next_hop = "127.0.0.1"\nreserve = "280s"', "takes all of the patience"),
    ],
)
def test_what_the_configuration_can_know_to_be_wrong(tmp_path, address, on_defer, handoff, said):
    conf = 'hostname = "mta.example.org"\n' + (f"[handoff]\n{handoff}\n" if handoff else "")
    (tmp_path / "mtaframe.toml").write_text(conf + DOOR.format(address=address, on_defer=on_defer))
    with pytest.raises(ConfigError) as fault:
        read(tmp_path)
    assert said in str(fault.value)


def test_another_port_of_this_machine_is_a_fine_smart_host(tmp_path):
    conf = '[handoff]\nnext_hop = "127.0.0.1"\nport = 25\n' + DOOR.format(address="127.0.0.1:2525", on_defer="handoff")
    (tmp_path / "mtaframe.toml").write_text(conf)
    assert not read(tmp_path).warnings


def test_each_place_where_hold_is_on_is_warned_of(tmp_path):
    conf = '[handoff]\nnext_hop = "10.0.0.1"\n' + DOOR.format(address="127.0.0.1:2525", on_defer="hold")
    (tmp_path / "mtaframe.toml").write_text(conf)
    (tmp_path / "accounts.toml").write_text('[[account]]\nname = "a"\non_defer = "hold"\n')
    warnings = [str(fault) for fault in read(tmp_path).warnings]
    assert ["listener.0.on_defer" in warnings[0], "account.0.on_defer" in warnings[1]] == [True, True]
    assert all("only in RAM" in warning for warning in warnings)


async def test_octets_are_as_they_were(mx, smart, tmp_path):
    """The message of the dialogue, with our Received field and nothing else."""
    mx.script("rcpt", LATER)
    async with house(tmp_path, mx, smart, on_defer="handoff") as mta, Dialogue(mta.port("smtp")) as client:
        await client.mail(BOB)
    assert smart.received[0].raw.endswith(MAIL)
    assert smart.received[0].raw.count(b"Received:") == 1
