"""True replies, with real sockets: each row of the tables in docs/replies.md, and what a repeat finds."""

import asyncio
import email

import pytest

from mtaframe import Defer, Discard, EventType, Outcome, Plugin, Recipient, Reject, hookimpl
from mtaframe.envelope import Mail
from mtaframe.testing import DROP, HANG, ScriptedMx, VirtualClock, address, envelope, message, running, session
from tests.dialogue import MAIL, Dialogue

BOB, CAROL, DAVE = "bob@example.net", "carol@example.net", "dave@example.net"

CONF = """
hostname = "mta.example.org"
plugins = {plugins}
give_up = "4d"
drain = "1s"
[route]
next_hop = "127.0.0.1"
port = {mx}
tls = "off"
[delivery]
command_timeout = "20s"
[[listener]]
name = "smtp"
kind = "mta"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
patience = "{patience}"
[[listener]]
name = "app"
kind = "application"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
patience = "{patience}"
[[listener]]
name = "lmtp"
kind = "lmtp"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
patience = "{patience}"
[[listener]]
name = "open"
kind = "mta"
addresses = ["127.0.0.1:0"]
relay_domains = ["example.net"]
{more}
"""


@pytest.fixture
async def mx():
    async with ScriptedMx() as scripted:
        yield scripted


def house(folder, mx, *, patience="20s", plugins=None, clock=None, more="", **files):
    conf = CONF.format(mx=mx.port, patience=patience, plugins=str(list(plugins or {})).replace("'", '"'), more=more)
    written = {"mtaframe.toml": conf, **{f"{name}.toml": text for name, text in files.items()}}
    return running(folder, written, plugins=plugins, clock=clock)


class Ears(Plugin):
    """Hears every result and event."""

    def __init__(self, config, mta):
        super().__init__(config, mta)
        self.results, self.events = [], []

    @hookimpl
    def on_result(self, delivery, result):
        self.results.append((delivery.recipient.address.local_part, result))

    @hookimpl
    def on_event(self, event):
        self.events.append(event)


def ears(running_house):
    return running_house.mta.generation.plugins.loaded[-1].instance


def to(mx):
    """Every recipient of every accepted transaction."""
    return sorted(one for received in mx.received for one in received.recipients)


# Plain SMTP: one reply for all.


async def test_all_delivered_is_250_with_the_next_hops_words_and_our_id(mx, tmp_path):
    mx.script("dot", "250 2.0.0 queued as 42")
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        reply = await client.mail(BOB, CAROL)
    assert reply.startswith("250 2.0.0 queued as 42 [")
    assert to(mx) == [BOB, CAROL]
    assert len(mx.received) == 1


async def test_all_failed_alike_is_that_5xx(mx, tmp_path):
    mx.script("rcpt", "550 5.1.1 no such user", always=True)
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        assert await client.mail(BOB, CAROL) == "550 5.1.1 no such user"


async def test_all_failed_unlike_is_554(mx, tmp_path):
    mx.script("rcpt", "550 5.1.1 no such user", to=BOB)
    mx.script("rcpt", "552 5.2.2 full", to=CAROL)
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB, CAROL)).startswith("554 5.0.0 ")


async def test_delivered_and_failed_is_250_and_the_sender_gets_a_report_first(mx, tmp_path):
    mx.script("rcpt", "550 5.1.1 no such user", to=BOB)
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB, CAROL)).startswith("250 2.0.0 ")
    mail, dsn = mx.received
    assert (mail.recipients, dsn.recipients, dsn.reverse_path) == ([CAROL], ["alice@example.com"], "")
    report = email.message_from_bytes(dsn.raw)
    assert report.get_content_type() == "multipart/report"
    assert dsn.raw.count(b"Final-Recipient:") == 1
    assert b"Final-Recipient: rfc822; bob@example.net" in dsn.raw


async def test_a_report_that_is_deferred_makes_it_451_and_the_repeat_sends_only_the_report(mx, tmp_path):
    mx.script("rcpt", "550 5.1.1 no such user", to=BOB)
    mx.script("rcpt", "450 4.2.1 busy", to="alice@example.com")
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB, CAROL)).startswith("451 4.4.0 ")
        assert to(mx) == [CAROL]
        assert (await client.mail(BOB, CAROL)).startswith("250 2.0.0 ")
        assert to(mx) == ["alice@example.com", CAROL]
        assert await client.say("NOOP")
        assert mta.mta.ledger.is_empty


async def test_a_report_that_is_refused_for_good_is_250_and_an_event(mx, tmp_path):
    mx.script("rcpt", "550 5.1.1 no such user", to=BOB)
    mx.script("rcpt", "550 5.1.1 no sender here", to="alice@example.com")
    async with house(tmp_path, mx, plugins={"ears": Ears}) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(BOB, CAROL)).startswith("250 2.0.0 ")
        [event] = ears(mta).events
    assert (event.type, event.recipient, event.data["unreported"]) == (
        EventType.BOUNCE_HARD,
        address(BOB),
        "report refused",
    )


async def test_with_a_null_reverse_path_it_is_250_told_by_event_only(mx, tmp_path):
    mx.script("rcpt", "550 5.1.1 no such user", to=BOB)
    async with house(tmp_path, mx, plugins={"ears": Ears}) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(BOB, CAROL, sender="")).startswith("250 2.0.0 ")
        assert [event.data["unreported"] for event in ears(mta).events] == ["no reverse-path"]
    assert to(mx) == [CAROL]


async def test_with_notify_never_it_is_250_told_by_event_only(mx, tmp_path):
    mx.script("rcpt", "550 5.1.1 no such user", to=BOB)
    async with house(tmp_path, mx, plugins={"ears": Ears}) as mta:
        listener = mta.mta.listeners["smtp"].settings
        mail = await mta.mta.reception.begin(session(), listener, Mail(address("alice@example.com")))
        await mail.add(Recipient(address(BOB), notify=frozenset({"NEVER"})))
        await mail.add(Recipient(address(CAROL)))
        replies = []
        await mail.complete(MAIL, replies.append)
        assert [reply.code for reply in replies] == [250]
        mail.proven()
        await asyncio.sleep(0)
        assert [event.data["unreported"] for event in ears(mta).events] == ["not wanted"]
    assert to(mx) == [CAROL]


async def test_any_not_final_is_451_and_the_repeat_tries_only_the_rest(mx, tmp_path):
    mx.script("rcpt", "450 4.2.1 busy", to=BOB)
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB, CAROL)).startswith("451 4.2.1 1 of 2 recipients not done yet")
        assert to(mx) == [CAROL]
        again = MAIL.replace(b"Subject", b"Received: from somewhere by upstream; today\r\nSubject")
        assert (await client.mail(BOB, CAROL, octets=again)).startswith("250 2.0.0 ")
        assert to(mx) == [BOB, CAROL]
        await client.say("NOOP")
        assert mta.mta.ledger.is_empty


async def test_still_mixed_after_give_up_is_250_and_a_report_for_the_rest(mx, tmp_path):
    mx.script("rcpt", "450 4.2.1 busy", to=BOB, always=True)
    clock = VirtualClock()
    async with house(tmp_path, mx, clock=clock) as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB, CAROL)).startswith("451 ")
        clock.advance(3 * 86400)
        assert (await client.mail(BOB, CAROL)).startswith("451 ")
        clock.advance(86400 + 1)
        assert (await client.mail(BOB, CAROL)).startswith("250 ")
    assert to(mx) == ["alice@example.com", CAROL]
    assert b"Status: 5.2.1" in mx.received[1].raw


class Bin(Plugin):
    @hookimpl
    def before_sign(self, delivery):
        return Discard() if delivery.recipient.address.local_part == "bob" else None


async def test_discard_is_the_only_250_that_is_not_the_next_hops(mx, tmp_path):
    grants = "[plugin.bin]\nallow_discard = true"
    async with house(tmp_path, mx, plugins={"bin": Bin, "ears": Ears}, more=grants) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert (await client.mail(BOB)).startswith("250 2.0.0 message discarded [")
        [(who, result)] = ears(mta).results
    assert (who, result.outcome, result.by) == ("bob", Outcome.DISCARDED, "bin")
    assert not mx.received


async def test_without_leave_a_discard_is_a_fault(mx, tmp_path):
    async with house(tmp_path, mx, plugins={"bin": Bin}) as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB)).startswith("451 4.3.0 ")


# Who may send.


async def test_a_stranger_may_not_relay(mx, tmp_path):
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("open")) as client:
        assert await client.envelope("a@example.com") == ["550 5.7.1 relaying denied; authenticate first"]


async def test_a_stranger_has_one_recipient_at_a_time_and_so_never_causes_a_report(mx, tmp_path):
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("open")) as client:
        one, two = await client.envelope(BOB, CAROL)
        assert one.startswith("250 2.1.5 ")
        assert two.startswith("452 4.5.3 ")


# LMTP: one reply per recipient.


async def test_lmtp_has_one_reply_per_recipient_in_order(mx, tmp_path):
    mx.script("rcpt", "550 5.1.1 no such user", to=BOB)
    mx.script("rcpt", "450 4.2.1 busy", to=DAVE)
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("lmtp"), hello="LHLO up.example.com") as client:
        replies = [await client.mail(BOB, CAROL, DAVE), await client.reply(), await client.reply()]
    assert [reply[:9] for reply in replies] == ["550 5.1.1", "250 2.0.0", "450 4.2.1"]


async def test_lmtp_the_same_recipient_twice_gets_two_replies_and_two_copies(mx, tmp_path):
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("lmtp"), hello="LHLO up.example.com") as client:
        assert (await client.mail(BOB, BOB)).startswith("250")
        assert (await client.reply()).startswith("250")
    assert to(mx) == [BOB, BOB]


# The ledger: what a repeat finds.


@pytest.mark.parametrize("listener", ["smtp", "app"])
async def test_the_same_octets_sent_twice_on_purpose_are_two_deliveries(mx, tmp_path, listener):
    async with house(tmp_path, mx) as mta, Dialogue(mta.port(listener)) as client:
        await client.mail(BOB)
        await client.mail(BOB)
    assert to(mx) == [BOB, BOB]


async def test_a_client_cut_before_it_read_the_answer_finds_it_done(mx, tmp_path):
    mx.script("dot", "250 2.0.0 ok", delay=0.1)
    async with house(tmp_path, mx) as mta:
        client = await Dialogue(mta.port("smtp")).__aenter__()
        await client.envelope(BOB)
        await client.data()
        client.deafen()
        while not mx.received:
            await asyncio.sleep(0.01)
        await client.cut()
        while mta.mta.ledger.is_empty or mta.mta.ledger.detached:
            await asyncio.sleep(0.01)
        async with Dialogue(mta.port("smtp")) as again:
            assert (await again.mail(BOB)).startswith("250 2.0.0 delivered before [")
            assert await again.say("NOOP")
            assert mta.mta.ledger.is_empty
            assert (await again.mail(BOB)).startswith("250 2.0.0 ")
    assert to(mx) == [BOB, BOB]


async def test_a_client_that_vanishes_before_the_dot_aborts_the_attempt(mx, tmp_path):
    mx.script("rcpt", HANG)
    async with house(tmp_path, mx) as mta:
        client = await Dialogue(mta.port("smtp")).__aenter__()
        await client.envelope(BOB)
        await client.data()
        while not any(line.startswith("RCPT") for line in mx.commands):
            await asyncio.sleep(0.01)
        await client.cut()
        while mta.mta.dispatch.under_way:
            await asyncio.sleep(0.01)
        assert mta.mta.ledger.is_empty
    assert not mx.received


async def test_patience_ends_what_hangs_before_the_dot(mx, tmp_path):
    mx.script("rcpt", HANG)
    async with house(tmp_path, mx, patience="300ms") as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB)).startswith("451 4.4.")
        assert not mta.mta.dispatch.under_way


class Ponders(Plugin):
    @hookimpl
    async def on_data(self, message):
        await asyncio.sleep(5)


async def test_patience_ends_plugins_that_take_too_long_together(mx, tmp_path):
    plugins = {"ponders": Ponders, "ears": Ears}
    async with house(tmp_path, mx, patience="300ms", plugins=plugins) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            assert await client.mail(BOB) == "451 4.4.7 not processed in time; try again"
        [(_, result)] = ears(mta).results
        assert (result.outcome, result.by) == (Outcome.DEFERRED, "reception")
        assert mta.mta.generation.plugins.loaded[0].faults == 0, "its own budget is longer"
    assert not mx.received


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
async def test_an_attempt_beyond_its_dot_goes_on_and_a_repeat_joins_it(mx, tmp_path, door):
    mx.script("dot", "250 2.0.0 at last", delay=0.6)
    hello = "LHLO up.example.com" if door == "lmtp" else "EHLO up.example.com"
    async with house(tmp_path, mx, patience="300ms") as mta, Dialogue(mta.port(door), hello=hello) as client:
        assert (await client.mail(BOB)).startswith("451 4.4.2 the next hop has not answered yet")
        assert len(mta.mta.ledger.detached) == 1
        joined = await client.mail(BOB)
        while joined.startswith("451"):
            joined = await client.mail(BOB)
        assert joined.startswith("250 2.0.0 ")
        await client.say("NOOP")
        assert mta.mta.ledger.is_empty
    assert to(mx) == [BOB]


async def test_a_connection_that_breaks_between_dot_and_answer_is_not_final(mx, tmp_path):
    mx.script("dot", DROP)
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB)).startswith("451 4.4.2")
        assert mx.connections == 1


# The application listener.


class Busy(Plugin):
    @hookimpl
    def on_rcpt(self, recipient):
        local = recipient.address.local_part
        return Defer("greylisted") if local == "bob" else Reject("no such user", "5.1.1") if local == "dave" else None


async def test_a_temporary_refusal_of_one_recipient_is_told_for_the_whole_transaction(mx, tmp_path):
    async with house(tmp_path, mx, plugins={"busy": Busy}) as mta, Dialogue(mta.port("app")) as client:
        await client.say("MAIL FROM:<alice@example.com>")
        assert (await client.say(f"RCPT TO:<{BOB}>")).startswith("250 ")
        assert (await client.say(f"RCPT TO:<{CAROL}>")).startswith("250 ")
        assert await client.say(f"RCPT TO:<{DAVE}>") == "550 5.1.1 no such user"
        assert await client.say("DATA") == "451 4.7.1 greylisted", "before the message is sent"
        assert (await client.envelope(CAROL)) == ["250 2.1.5 recipient ok"]
    assert not mx.received


async def test_other_listeners_tell_it_for_the_recipient_alone(mx, tmp_path):
    async with house(tmp_path, mx, plugins={"busy": Busy}) as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.envelope(BOB, CAROL))[0] == "451 4.7.1 greylisted"
        await client.data()
        assert (await client.reply()).startswith("250 ")
    assert to(mx) == [CAROL]


BARE = b"From: alice@example.com\r\nBcc: secret@example.org\r\nSubject: hi\r\n\r\nHello\r\n"


async def test_an_application_gets_date_and_message_id_and_loses_bcc(mx, tmp_path):
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("app")) as client:
        await client.mail(BOB, octets=BARE)
        await client.mail(BOB, octets=BARE)
        await client.mail(BOB, octets=BARE.replace(b"Hello", b"Other"))
    sent = [email.message_from_bytes(received.raw) for received in mx.received]
    assert all(mail["Date"] and mail["Bcc"] is None for mail in sent)
    ids = [mail["Message-ID"] for mail in sent]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].endswith("@mta.example.org>")


async def test_an_upstreams_mail_is_not_mended(mx, tmp_path):
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        await client.mail(BOB, octets=BARE)
    sent = mx.received[0].raw
    assert sent.endswith(BARE)
    assert sent.startswith(
        b"Received: from client.example.com ([127.0.0.1])\r\n by mta.example.org (mtaframe) with ESMTP"
    )


async def test_a_message_in_a_loop_is_refused(mx, tmp_path):
    looping = b"Received: from a by b; today\r\n" * 51 + MAIL
    async with house(tmp_path, mx) as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail(BOB, octets=looping)).startswith("554 5.4.6 ")


# Whose mail it is.

ACCOUNTS = """
[[account]]
name = "shop"
domains = ["shop.example"]
streams = ["news"]
[[account]]
name = "bank"
domains = ["bank.example"]
"""


class Tells(Plugin):
    @hookimpl
    def on_data(self, envelope, message):
        return Reject(f"account {envelope.account} stream {envelope.stream} field {message.first('X-Stream')}")


@pytest.mark.parametrize(
    ("sender", "fields", "told"),
    [
        ("a@shop.example", "", "account shop stream None"),
        ("a@bank.example", "From: x@shop.example\r\n", "account bank stream None"),
        ("", "From: X <x@shop.example>\r\n", "account shop stream None"),
        ("a@elsewhere.example", "From: x@elsewhere.example\r\n", "account None stream None"),
        ("a@shop.example", "X-Stream: news\r\n", "account shop stream news field None"),
    ],
)
async def test_a_trusted_clients_account_is_found_by_reverse_path_then_from(mx, tmp_path, sender, fields, told):
    async with house(tmp_path, mx, plugins={"tells": Tells}, accounts=ACCOUNTS) as mta:
        async with Dialogue(mta.port("smtp")) as client:
            octets = f"{fields}Subject: hi\r\n\r\nHello\r\n".encode()
            assert told in await client.mail(BOB, sender=sender, octets=octets)


async def test_a_stream_that_the_account_does_not_have_is_refused(mx, tmp_path):
    async with house(tmp_path, mx, accounts=ACCOUNTS) as mta, Dialogue(mta.port("smtp")) as client:
        reply = await client.mail(BOB, sender="a@bank.example", octets=b"X-Stream: news\r\n\r\nx\r\n")
        assert reply.startswith("554 5.6.0 ")


# Submitted mail.


async def test_submitted_mail_takes_the_same_walk(mx, tmp_path):
    mx.script("rcpt", "550 5.1.1 no such user", to=CAROL)
    async with house(tmp_path, mx, plugins={"busy": Busy, "ears": Ears}) as mta:
        facade = ears(mta).mta
        results = await facade.submit(session(), envelope([BOB, CAROL, "eve@example.net"]), message())
    assert [result.outcome for result in results] == [Outcome.DEFERRED, Outcome.FAILED, Outcome.DELIVERED]
    assert [result.by for result in results] == ["busy", "smtp", "smtp"]


async def test_nothing_internal_is_told_to_strangers(mx, tmp_path, caplog):
    class Leaks(Plugin):
        @hookimpl
        def on_data(self, message):
            raise RuntimeError("/etc/secret/path")

    async with house(tmp_path, mx, plugins={"leaks": Leaks}) as mta, Dialogue(mta.port("smtp")) as client:
        assert await client.mail(BOB) == "451 4.3.0 temporary trouble while processing, try again later"
    assert "secret" not in caplog.text
