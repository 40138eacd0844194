"""spam_filter in a whole house, with a real rspamd: what clients are told, and what the next hop gets."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mtaframe import Delivery, EventType, Plugin, Result, event_type, hookimpl
from mtaframe.testing import House, ScriptedMx, running
from tests.conftest import Program
from tests.dialogue import Dialogue
from tests.end_to_end.rspamd import GTUBE, Rspamd

BOB, CAROL, DAVE = "bob@example.net", "carol@example.net", "dave@example.net"
SPAM = "the message looks like spam"
Told = tuple[str, str, EventType]

CONF = """
hostname = "mta.example.org"
plugins = ["merge_tags", "spam_filter", "watcher"]
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
"""


@pytest.fixture(scope="module")
def rspamd(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rspamd]:
    with Rspamd(tmp_path_factory.mktemp("rspamd"), program("rspamd")) as real:
        yield real


@asynccontextmanager
async def house(folder: Path, mx: ScriptedMx, config: str) -> AsyncIterator[tuple[House, list[Told]]]:
    """The house, and what on_result was told in it: local part, by whom, which event it is."""
    told: list[Told] = []

    class Watcher(Plugin):
        @hookimpl
        def on_result(self, delivery: Delivery, result: Result) -> None:
            told.append((delivery.recipient.address.local_part, result.by, event_type(result)))

    files = {"mtaframe.toml": CONF.format(mx=mx.port), "accounts.toml": ACCOUNTS, "spam_filter.toml": config}
    async with running(folder, files, plugins={"watcher": Watcher}) as whole:
        yield whole, told


def mail(body: str = "Hello.", *fields: str) -> bytes:
    lines = (
        "From: Alice <alice@example.com>",
        "To: Bob <bob@example.net>",
        "Subject: hi",
        "Date: Sun, 01 Mar 2026 12:00:00 +0000",
        "Message-ID: <1@example.com>",
        *fields,
        "",
        body,
        "",
    )
    return "\r\n".join(lines).encode()


async def say(house: House, octets: bytes, *to: str, sender: str = "alice@example.com") -> str:
    async with Dialogue(house.port("smtp")) as client:
        return await client.mail(*(to or [BOB]), sender=sender, octets=octets)


async def test_clean_mail_goes_out_as_it_is_and_rspamd_knew_all_of_it(tmp_path: Path, rspamd: Rspamd) -> None:
    async with ScriptedMx() as mx:
        async with house(tmp_path, mx, f'url = "{rspamd.url}"') as (whole, told):
            assert (await say(whole, mail(), BOB, '"x,y"@example.net')).startswith("250")
    (received,) = mx.received
    assert b"X-Spam" not in received.raw
    assert received.raw.endswith(mail())
    log = rspamd.log
    assert "told rcpt=bob@example.net,x,y@example.net" in log
    assert "told from=alice@example.com" in log
    assert "told user=shop ip=127.0.0.1 helo=client.example.com" in log
    assert "mta=mta.example.org" in log
    assert {by for _, by, _ in told} == {"smtp"}


@pytest.mark.parametrize(
    ("fields", "body", "reply", "tag"),
    [
        ((), GTUBE, f"550 5.7.1 {SPAM}", None),
        (("X-Test-Score: 15.5",), "x", f"550 5.7.1 {SPAM}", None),
        (("X-Test-Score: 4.5",), "x", "250", b""),
        (("X-Test-Score: 7.25",), "x", "250", b"X-Spam: Yes\r\nX-Spam-Score: 7.25\r\n"),
        (("X-Test-Score: 3",), "x", "250", b""),
    ],
)
async def test_the_client_is_told_what_rspamd_found(
    fields: tuple[str, ...], body: str, reply: str, tag: bytes | None, tmp_path: Path, rspamd: Rspamd
) -> None:
    async with ScriptedMx() as mx:
        async with house(tmp_path, mx, f'url = "{rspamd.url}"') as (whole, told):
            assert (await say(whole, mail(body, *fields))).startswith(reply)
    assert len(mx.received) == (tag is not None)
    if tag is not None:
        assert mx.received[0].raw.startswith(tag + b"Received: ")
    else:
        blocked = EventType.BLOCK_HARD if reply.startswith("5") else EventType.BLOCK_SOFT
        assert told == [("bob", "spam_filter", blocked)]


async def test_spam_in_an_attachment_is_spam(tmp_path: Path, rspamd: Rspamd) -> None:
    encoded = base64.b64encode(f"<p>{GTUBE}</p>\r\n".encode()).decode()
    octets = mail(encoded, "MIME-Version: 1.0", "Content-Type: text/html", "Content-Transfer-Encoding: base64")
    async with ScriptedMx() as mx:
        async with house(tmp_path, mx, f'url = "{rspamd.url}"') as (whole, _):
            assert (await say(whole, octets)).startswith("550 5.7.1")


def merged(values: dict[str, dict[str, str]]) -> bytes:
    folded = json.dumps(values).replace(", ", ",\r\n ")
    return mail("Dear friend, [TEXT]", f"X-Merge-Vars: {folded}")


async def test_spam_in_one_recipients_value_stops_that_copy_alone(tmp_path: Path, rspamd: Rspamd) -> None:
    values = {BOB: {"TEXT": "hello " * 12}, CAROL: {"TEXT": GTUBE}, DAVE: {"TEXT": "short"}}
    async with ScriptedMx() as mx:
        async with house(tmp_path, mx, f'url = "{rspamd.url}"') as (whole, told):
            async with Dialogue(whole.port("lmtp"), hello="LHLO client.example.com") as client:
                await client.envelope(BOB, CAROL, DAVE)
                await client.data(merged(values))
                replies = [await client.reply() for _ in range(3)]
    assert [reply[:3] for reply in replies] == ["250", "550", "250"]
    assert SPAM in replies[1]
    assert sorted(to for received in mx.received for to in received.recipients) == [BOB, DAVE]
    assert not any(GTUBE.encode() in received.raw for received in mx.received)
    assert sorted(told) == [
        ("bob", "smtp", EventType.DELIVERED),
        ("carol", "spam_filter", EventType.BLOCK_HARD),
        ("dave", "smtp", EventType.DELIVERED),
    ]


async def test_a_repeat_brings_the_copies_that_were_over_the_budget(tmp_path: Path, rspamd: Rspamd) -> None:
    values = {who: {"TEXT": f"{who} " * 5} for who in (BOB, CAROL, DAVE)}
    async with ScriptedMx() as mx:
        async with house(tmp_path, mx, f'url = "{rspamd.url}"\nmerge_scans = 2') as (whole, _):
            first = await say(whole, merged(values), BOB, CAROL, DAVE)
            assert (first[:3], len(mx.received)) == ("451", 2)
            assert (await say(whole, merged(values), BOB, CAROL, DAVE)).startswith("250")
    assert sorted(to for received in mx.received for to in received.recipients) == [BOB, CAROL, DAVE]


async def test_without_rspamd_mail_waits_and_goes_out_once_it_is_back(
    tmp_path: Path, program: Program, rspamd: Rspamd
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "rspamd").mkdir()
    other = Rspamd(tmp_path / "rspamd", program("rspamd"))
    async with ScriptedMx() as mx:
        async with house(tmp_path / "conf", mx, f'url = "{other.url}"') as (whole, told):
            assert (await say(whole, mail())).startswith("451 4.7.1")
            assert mx.received == []
            with other:
                assert (await say(whole, mail())).startswith("250")
            assert (await say(whole, mail("Another one."))).startswith("451 4.7.1")
    assert len(mx.received) == 1
    assert [by for _, by, _ in told] == ["spam_filter", "smtp", "spam_filter"]


async def test_a_stream_may_go_out_unscanned(tmp_path: Path, rspamd: Rspamd) -> None:
    rules = '[[rule]]\nstreams = ["news"]\nscan = false\n'
    async with ScriptedMx() as mx:
        async with house(tmp_path, mx, f'url = "{rspamd.url}"\n{rules}') as (whole, _):
            assert (await say(whole, mail(GTUBE, "X-Stream: news"))).startswith("250")
            assert (await say(whole, mail(GTUBE))).startswith("550")
