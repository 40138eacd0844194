"""The whole house with the plugin in it: what clients read, by SMTP and LMTP, and what a reload changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from mtaframe import AccountStanding, Event, EventType, Mta, Plugin, Recipient, Reject, Standing, hookimpl
from mtaframe.testing import House, ScriptedMx, VirtualClock, running
from mtaframe_plugins.thresholds import Thresholds
from tests.core.keeping import house as keeping
from tests.dialogue import MAIL, Dialogue

CONF = """
hostname = "mta.example.org"
plugins = ["thresholds", "refuser", "ears"]
drain = "1s"
[route]
next_hop = "127.0.0.1"
port = {mx}
tls = "off"
[[listener]]
name = "smtp"
kind = "mta"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
[[listener]]
name = "app"
kind = "application"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
[[listener]]
name = "lmtp"
kind = "lmtp"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
"""
ACCOUNTS = """
[[account]]
name = "shop"
domains = ["example.com"]
streams = ["news"]
[[account]]
name = "other"
domains = ["example.org"]
"""
POLICY = """
min_volume = 10
min_events = 2
limited_per_hour = 3
[[policy]]
name = "bounces"
of = "bounce"
at_most = "10 %"
against = "sent"
"""
GONE = "550 5.1.1 no such user"


class Ears(Plugin):
    """Hears every event."""

    def __init__(self, config: Any, mta: Mta) -> None:
        super().__init__(config, mta)
        self.events: list[Event] = []

    def adopt(self, old: "Ears") -> None:
        self.events = old.events

    @hookimpl
    def on_event(self, event: Event) -> None:
        self.events.append(event)


class Refuser(Plugin):
    """Some other plugin: it lets nobody write to bad@."""

    @hookimpl
    def on_rcpt(self, recipient: Recipient) -> Reject | None:
        return Reject("not there") if recipient.address.local_part == "bad" else None


@pytest.fixture
async def mx() -> AsyncIterator[ScriptedMx]:
    async with ScriptedMx() as scripted:
        yield scripted


def house(
    folder: Path, mx: ScriptedMx, policy: str = POLICY, clock: VirtualClock | None = None
) -> AbstractAsyncContextManager[House]:
    files = {"mtaframe.toml": CONF.format(mx=mx.port), "accounts.toml": ACCOUNTS, "thresholds.toml": policy}
    return running(folder, files, plugins={"ears": Ears, "refuser": Refuser}, clock=clock)


def told(running_house: House) -> list[EventType]:
    assert running_house.mta.generation is not None
    events = running_house.mta.generation.plugins.loaded[-1].instance.events
    return [event.type for event in events if event.type.value.startswith("account_")]


async def standing(running_house: House, name: str) -> Standing:
    assert running_house.mta.generation is not None
    return await running_house.mta.generation.plugins.ask(AccountStanding(name))


def octets(number: int) -> bytes:
    return MAIL.replace(b"<1@", b"<%d@" % number)


async def test_an_account_goes_up_the_ladder_and_its_client_reads_why(mx: ScriptedMx, tmp_path: Path) -> None:
    async with house(tmp_path, mx, clock=VirtualClock()) as mta, Dialogue(mta.port("smtp")) as client:
        for number in range(9):
            assert (await client.mail("bob@example.net", octets=octets(number))).startswith("250 ")
        mx.script("rcpt", GONE, to="gone@example.net", always=True)
        assert await client.mail("gone@example.net", octets=octets(10)) == GONE
        assert (await standing(mta, "shop"), told(mta)) == (Standing.GOOD, []), "10 %, but one event"
        assert await client.mail("gone@example.net", octets=octets(11)) == GONE
        assert (await standing(mta, "shop"), told(mta)) == (Standing.LIMITED, [EventType.ACCOUNT_LIMITED])
        assert await client.envelope("bob@example.net") == [
            "451 4.7.1 account limited: bounces 18.18 % (at most 10 % in 7d): at most 3 recipients an hour; "
            "try again after 13:00 UTC"
        ]
        await client.say("RSET")
        mta.mta.clock.advance(3600)  # type: ignore[attr-defined]
        assert await client.mail("gone@example.net", octets=octets(12)) == GONE
        assert (
            await client.envelope("bob@example.net", "carol@example.net")
            == ["550 5.7.1 account suspended: bounces 25 % (at most 10 % in 7d)"] * 2
        )
        await client.say("RSET")
        assert (await client.mail("bob@example.net", sender="ann@example.org", octets=octets(13))).startswith("250 ")
        assert (await client.mail("shop@example.com", sender="", octets=octets(14))).startswith("250 ")
        await mta.mta._call("thresholds.resume", {"account": "shop"})
        assert (await client.mail("bob@example.net", octets=octets(15))).startswith("250 ")
        await asyncio.sleep(0.01)
        assert told(mta) == [
            EventType.ACCOUNT_LIMITED,
            EventType.ACCOUNT_SUSPENDED,
            EventType.ACCOUNT_RESUMED,
        ]
        [other, shop] = await mta.mta._call("thresholds.show", {})
        assert (other["account"], other["sent"], shop["account"], shop["sent"]) == ("other", 1, "shop", 1)


LIMIT = "[[limit]]\nper_hour = 2\n"


async def test_lmtp_refuses_the_single_recipient(mx: ScriptedMx, tmp_path: Path) -> None:
    clock = VirtualClock()
    async with house(tmp_path, mx, LIMIT, clock) as mta, Dialogue(mta.port("lmtp"), hello="LHLO x.example") as client:
        replies = await client.envelope("a@example.net", "b@example.net", "c@example.net")
        assert replies == ["250 2.1.5 recipient ok"] * 2 + [
            "451 4.7.1 at most 2 recipients an hour; try again after 13:00 UTC"
        ]
        await client.data()
        assert [(await client.reply())[:3], (await client.reply())[:3]] == ["250", "250"]
        clock.advance(3600)
        assert (await client.mail("c@example.net")).startswith("250 ")


async def test_an_application_is_told_before_the_data_for_the_whole_message(mx: ScriptedMx, tmp_path: Path) -> None:
    async with house(tmp_path, mx, LIMIT, VirtualClock()) as mta, Dialogue(mta.port("app")) as client:
        replies = await client.envelope("a@example.net", "b@example.net", "c@example.net")
        assert replies == ["250 2.1.5 recipient ok"] * 3
        assert await client.say("DATA") == "451 4.7.1 at most 2 recipients an hour; try again after 13:00 UTC"
        assert mx.received == []


async def test_a_recipient_that_is_deferred_gives_its_place_back(mx: ScriptedMx, tmp_path: Path) -> None:
    mx.script("rcpt", "450 4.2.0 greylisted", to="a@example.net")
    async with house(tmp_path, mx, LIMIT, VirtualClock()) as mta, Dialogue(mta.port("smtp")) as client:
        assert await client.mail("a@example.net") == "450 4.2.0 greylisted"
        assert (await client.mail("a@example.net")).startswith("250 ")
        assert (await client.mail("b@example.net")).startswith("250 ")
        assert (await client.envelope("c@example.net"))[0].startswith("451 4.7.1 at most 2 ")


@pytest.mark.parametrize(("on_defer", "tries"), [("hold", 5), ("handoff", 1)])
async def test_what_is_deferred_and_kept_by_us_or_a_smart_host_counts_once_when_it_goes_out(
    on_defer: str, tries: int, mx: ScriptedMx, tmp_path: Path
) -> None:
    for _ in range(tries):
        mx.script("rcpt", "450 4.2.0 greylisted", to="a@example.net")
    async with ScriptedMx(name="smart.test") as smart:
        async with keeping(
            tmp_path, mx, smart, on_defer=on_defer, hold='schedule = ["20ms"]', plugins={"thresholds": Thresholds},
            accounts=ACCOUNTS, thresholds=LIMIT,
        ) as mta, Dialogue(mta.port("smtp")) as client:  # fmt: skip
            assert (await client.mail("a@example.net")).startswith("250 ")
            async with asyncio.timeout(5):
                while not (mx.received or smart.received):
                    await asyncio.sleep(0.01)
            assert (await client.mail("b@example.net")).startswith("250 ")
            assert (await client.envelope("c@example.net"))[0].startswith("451 4.7.1 at most 2 ")


async def test_a_stream_is_limited_at_the_dot_and_the_accounts_place_is_given_back(
    mx: ScriptedMx, tmp_path: Path
) -> None:
    limits = '[[limit]]\nstreams = ["news"]\nper_hour = 1\n[[limit]]\nper_hour = 2\n'
    news = b"X-Stream: news\r\n" + MAIL
    async with house(tmp_path, mx, limits, VirtualClock()) as mta, Dialogue(mta.port("smtp")) as client:
        assert (await client.mail("a@example.net", octets=news)).startswith("250 ")
        refused = await client.mail("b@example.net", octets=news)
        assert refused == "451 4.7.1 at most 1 recipient an hour; try again after 13:00 UTC"
        assert (await client.mail("b@example.net")).startswith("250 ")
        assert (await client.envelope("c@example.net"))[0].startswith("451 4.7.1 at most 2 ")


async def test_an_account_that_only_the_from_field_names_is_refused_at_the_dot(mx: ScriptedMx, tmp_path: Path) -> None:
    async with house(tmp_path, mx, clock=VirtualClock()) as mta, Dialogue(mta.port("smtp")) as client:
        await mta.mta._call("thresholds.suspend", {"account": "shop"})
        assert await client.envelope("a@example.net", sender="x@elsewhere.example") == ["250 2.1.5 recipient ok"]
        await client.data()
        assert await client.reply() == "550 5.7.1 account suspended"
        assert mx.received == []


async def test_what_another_plugin_refuses_is_a_block_but_not_of_a_report(mx: ScriptedMx, tmp_path: Path) -> None:
    async with house(tmp_path, mx, clock=VirtualClock()) as mta:
        for sender in ("alice@example.com", ""):
            async with Dialogue(mta.port("smtp")) as client:
                assert await client.envelope("bad@example.net", sender=sender) == ["550 5.7.1 not there"]
        await asyncio.sleep(0.01)
        [row] = await mta.mta._call("thresholds.show", {})
        assert (row["account"], row["sent"]) == ("shop", 1)


async def test_a_reload_keeps_standings_and_changes_the_limit_for_the_next_transaction(
    mx: ScriptedMx, tmp_path: Path
) -> None:
    async with house(tmp_path, mx, POLICY + LIMIT, VirtualClock()) as mta, Dialogue(mta.port("smtp")) as client:
        await mta.mta._call("thresholds.suspend", {"account": "other"})
        assert (await client.mail("a@example.net", octets=octets(1))).startswith("250 ")
        assert await client.envelope("b@example.net") == ["250 2.1.5 recipient ok"]
        mta.write("thresholds.toml", POLICY + LIMIT.replace("2", "5"))
        assert await mta.mta.reload()
        assert (await client.say("RCPT TO:<c@example.net>")).startswith("451 4.7.1 at most 2 "), "it began before"
        await client.say("RSET")
        assert await client.envelope("c@example.net", "d@example.net", "e@example.net", "f@example.net") == [
            *["250 2.1.5 recipient ok"] * 3,
            "451 4.7.1 at most 5 recipients an hour; try again after 13:00 UTC",
        ]
        await client.say("RSET")
        assert await standing(mta, "other") is Standing.SUSPENDED
        assert await client.envelope("a@example.net", sender="ann@example.org") == ["550 5.7.1 account suspended"]
        await client.say("RSET")
        mta.write("thresholds.toml", 'mode = "shadow"\n' + POLICY + LIMIT)
        assert await mta.mta.reload()
        assert await standing(mta, "other") is Standing.GOOD
        assert await client.envelope("a@example.net", sender="ann@example.org") == ["250 2.1.5 recipient ok"]
        await client.say("RSET")
        assert await client.envelope("c@example.net") == ["250 2.1.5 recipient ok"]
        await client.say("RSET")
        mta.write("thresholds.toml", POLICY + LIMIT)
        assert await mta.mta.reload()
        assert await standing(mta, "other") is Standing.SUSPENDED, "an enforced standing outlives a shadow run"


async def test_an_edited_rule_judges_by_what_was_counted_before(mx: ScriptedMx, tmp_path: Path) -> None:
    async with house(tmp_path, mx, clock=VirtualClock()) as mta, Dialogue(mta.port("smtp")) as client:
        mx.script("rcpt", GONE, to="gone@example.net", always=True)
        for number in range(11):
            to = "gone@example.net" if number > 8 else "bob@example.net"
            await client.mail(to, octets=octets(number))
        assert await standing(mta, "shop") is Standing.LIMITED
        mta.write("thresholds.toml", POLICY.replace("10 %", "40 %"))
        assert await mta.mta.reload()
        assert await standing(mta, "shop") is Standing.GOOD
        mta.write("thresholds.toml", POLICY.replace("10 %", "9 %"))
        assert await mta.mta.reload()
        assert await standing(mta, "shop") is Standing.SUSPENDED, "18.18 % is more than twice 9 %"
