"""Whom a client speaks for: PROXY headers, XCLIENT and XFORWARD, from those who are believed and from others."""

import asyncio
import ipaddress
import ssl
import struct
from pathlib import Path
from typing import Any

import pytest
import uvloop

from mtaframe.clock import SystemClock
from mtaframe.entrance import proxy
from mtaframe.envelope import Origin
from mtaframe.guard import Guard
from mtaframe.reply import Reply
from mtaframe.settings import ClientSettings, ListenerSettings
from mtaframe.smtp_server import SmtpServer
from mtaframe.testing import envelope, self_signed, session
from mtaframe.trace import received
from tests.scripted_reception import ScriptedReception

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
HELLO = b"EHLO client\r\nMAIL FROM:<>\r\n"


def binary(client: str, command: int = 0x21, family: int | None = None, more: bytes = b"") -> bytes:
    """A header of version 2; ``more`` stands behind the addresses."""
    packed = ipaddress.ip_address(client).packed
    block = packed + packed + struct.pack("!HH", 1234, 25) + more
    kind = family if family is not None else {4: 0x11, 16: 0x21}[len(packed)]
    return SIGNATURE + bytes((command, kind)) + struct.pack("!H", len(block)) + block


def lines(*said: str) -> bytes:
    return "".join(f"{line}\r\n" for line in said).encode()


class Door:
    def __init__(self, **settings: Any) -> None:
        defaults = {"name": "test", "kind": "mta", "addresses": ["127.0.0.1:0"], "proxy_from": ["127.0.0.1"]}
        self.reception = ScriptedReception()
        listener = ListenerSettings.model_validate(defaults | settings)
        clock = SystemClock()
        guard = Guard(clock, settings=ClientSettings(max_per_address=1000, max_per_network=1000, max_empty=1000))
        self.server = SmtpServer(listener, self.reception, clock, "mx.example.org", guard=guard)  # type: ignore[arg-type]

    async def __aenter__(self) -> "Door":
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.close()

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.server.addresses[0].startswith("/"):
            return await asyncio.open_unix_connection(self.server.addresses[0])
        host, _, port = self.server.addresses[0].rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def said_to(self, *pieces: bytes) -> bytes:
        """All that the server says to these pieces, each in a packet of its own, until it closes."""
        reader, writer = await self.client()
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)
            return await asyncio.wait_for(reader.read(), 5)
        except ConnectionError:
            return b""
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


HEADERS = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.1 1234 25\r\n", "192.0.2.1"),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 65535 0\r\n", "2001:db8::1"),
    (b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 1\r\n", "192.0.2.1"),
    (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    (b"PROXY UNKNOWN ffff:f...f:ffff whatever 65535\r\n", "127.0.0.1"),
    (binary("192.0.2.1"), "192.0.2.1"),
    (binary("2001:db8::1", more=b"\x03\0\4abcd\x04\0\0"), "2001:db8::1"),
    (binary("192.0.2.1", command=0x20), "127.0.0.1"),
    (SIGNATURE + b"\x20\0\0\0", "127.0.0.1"),
    (binary("192.0.2.1", family=0x00), "127.0.0.1"),
    (SIGNATURE + b"\x21\x31\0\xd8" + b"/run/x".ljust(216, b"\0"), "127.0.0.1"),
]


@pytest.mark.parametrize(("header", "client"), HEADERS)
async def test_the_client_is_whom_the_proxy_told(header: bytes, client: str) -> None:
    async with Door(trusted=["192.0.2.0/24"]) as door:
        said = await door.said_to(header + HELLO + b"QUIT\r\n")
        assert said.startswith(b"220 ")
        connected, begun = door.reception.sessions
        assert {connected.client, begun.client} == {client}
        assert begun.trusted == (client == "192.0.2.1")


@pytest.mark.parametrize("header", [HEADERS[0][0], HEADERS[3][0], HEADERS[6][0]])
async def test_a_header_may_be_cut_anywhere_and_nothing_behind_it_is_lost(header: bytes) -> None:
    async with Door() as door:
        wire = header + HELLO + b"QUIT\r\n"
        cuts = range(1, len(header) + 3)
        said = await asyncio.gather(*(door.said_to(wire[:cut], wire[cut:]) for cut in cuts))
    assert all(words.startswith(b"220 ") and words.endswith(b"221 2.0.0 bye\r\n") for words in said)
    assert len(door.reception.mails) == len(cuts)


async def test_a_header_comes_octet_by_octet() -> None:
    async with Door() as door:
        header = HEADERS[0][0]
        said = await door.said_to(*(header[i : i + 1] for i in range(len(header))), b"QUIT\r\n")
    assert said.startswith(b"220 ")
    assert door.reception.sessions[0].client == "192.0.2.1"


def test_it_stands_before_implicit_tls_under_both_loops(tmp_path: Path) -> None:
    certificate, key = self_signed("mx.example.org", tmp_path)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    async def run(header: bytes) -> str:
        async with Door(tls="implicit", certificate=str(certificate), key=str(key)) as door:
            reader, writer = await door.client()
            writer.write(header)
            await writer.start_tls(context)
            writer.write(HELLO + b"QUIT\r\n")
            said = await asyncio.wait_for(reader.read(), 5)
            assert said.startswith(b"220 ")
            assert said.endswith(b"221 2.0.0 bye\r\n")
            writer.close()
            assert door.reception.sessions[-1].tls == "TLSv1.3"
            return door.reception.sessions[-1].client

    for loop in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=loop) as runner:
            for header, client in (HEADERS[0], HEADERS[5]):
                assert runner.run(run(header)) == client


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"EHLO client.example.com\r\n", "no header"),
        (b"PROXY TCP4 192.0.2.1\r\nEHLO client\r\n", "malformed header"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 1234 65536\r\n", "malformed header"),
        (b"PROXY TCP4 2001:db8::1 2001:db8::2 1234 25\r\n", "malformed header"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.256 1234 25\r\n", "malformed header"),
        (b"PROXY TCP6 fe80::1%\x1b[31m 2001:db8::2 1234 25\r\n", "malformed header"),
        (b"PROXY TCP5 192.0.2.1 198.51.100.1 1234 25\r\n", "malformed header"),
        (b"PROXY TCP4 192.0.2.1  198.51.100.1 1234 25\r\n", "malformed header"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 1234 25\n" + b"x" * 100, "header too long"),
        (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "header too long"),
        (binary("192.0.2.1", command=0x11), "malformed header"),
        (binary("192.0.2.1", command=0x22), "malformed header"),
        (binary("192.0.2.1", family=0x12), "malformed header"),
        (binary("192.0.2.1", family=0x21), "malformed header"),
        (SIGNATURE + b"\x21\x11\0\4abcd", "malformed header"),
        (SIGNATURE + b"\x21\x11\xff\xff", "header too long"),
    ],
)
async def test_without_a_sound_header_nobody_is_answered(
    octets: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Door() as door:
        assert await door.said_to(octets) == b""
        assert door.reception.sessions == []
    assert [r.getMessage() for r in caplog.records if r.name == "mtaframe.entrance"] == [
        f"proxy not believed listener=test reason={reason}"
    ]


async def test_a_proxy_that_says_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(proxy, "TIMEOUT", 0.1)
    async with Door() as door:
        assert await door.said_to(b"PROXY TCP4") == b""
    assert "no header in time" in caplog.text


async def test_the_end_of_the_server_does_not_wait_for_a_header() -> None:
    door = Door()
    await door.server.start()
    reader, writer = await door.client()
    await asyncio.sleep(0.05)
    await asyncio.wait_for(door.server.close(), 1)
    assert await asyncio.wait_for(reader.read(), 1) == b""
    writer.close()


async def test_only_proxies_begin_with_a_header(caplog: pytest.LogCaptureFixture) -> None:
    async with Door(proxy_from=["192.0.2.0/24"]) as door:
        said = await door.said_to(HEADERS[0][0])
        assert said == b"220 mx.example.org ESMTP mtaframe\r\n421 4.7.0 you are not known as a proxy\r\n"
        assert [session.client for session in door.reception.sessions] == ["127.0.0.1"]
    assert "reason=not in proxy_from" in caplog.text


async def test_a_unix_socket_has_no_proxy(tmp_path: Path) -> None:
    async with Door(addresses=[str(tmp_path / "smtp.sock")], proxy_from=["0.0.0.0/0"]) as door:
        assert (await door.said_to(b"QUIT\r\n")).startswith(b"220 ")


# XCLIENT


async def test_xclient_puts_another_client_in_place_and_asks_on_connect_again() -> None:
    async with Door(proxy_from=[], forward_from=["127.0.0.1"], trusted=["127.0.0.1"]) as door:
        await door.said_to(
            lines(
                "EHLO proxy.example",
                "XCLIENT ADDR=192.0.2.1 NAME=client.example PROTO=ESMTP HELO=c.example LOGIN=shop",
                "MAIL FROM:<>",
                "RSET",
                "XCLIENT LOGIN=nobody ADDR=IPV6:::1 HELO=d.example PROTO=SMTP",
                "MAIL FROM:<>",
                "QUIT",
            )
        )
        first, second, begun, third, last = door.reception.sessions
    assert [(one.client, one.trusted) for one in (first, second)] == [("127.0.0.1", True), ("192.0.2.1", False)]
    assert (begun.client, begun.ehlo, begun.protocol, begun.account) == ("192.0.2.1", "c.example", "ESMTPA", "shop")
    assert (third.client, third.account) == ("::1", None)
    assert (last.ehlo, last.protocol, last.account, last.trusted) == ("d.example", "SMTP", None, False)
    assert begun.notes["seen"]


async def test_a_client_told_by_xclient_may_be_refused_like_any_other() -> None:
    async with Door(proxy_from=[], forward_from=["127.0.0.1"]) as door:
        reader, writer = await door.client()
        assert (await reader.readline()).startswith(b"220 ")
        door.reception.connect_answer = Reply(554, "5.7.1", "not you")
        writer.write(b"XCLIENT ADDR=192.0.2.1\r\n")
        assert await asyncio.wait_for(reader.read(), 5) == b"554 5.7.1 not you\r\n"
        writer.close()


async def test_xclient_is_the_right_of_whom_the_proxy_told() -> None:
    async with Door(forward_from=["127.0.0.1"]) as door:
        assert b"550 5.7.0 " in await door.said_to(HEADERS[0][0] + b"XCLIENT ADDR=192.0.2.7\r\nQUIT\r\n")


# XFORWARD


async def test_xforward_informs_for_one_transaction_and_changes_nobodys_rights() -> None:
    async with Door(proxy_from=[], forward_from=["127.0.0.1"], trusted=["127.0.0.1"]) as door:
        await door.said_to(
            lines(
                "EHLO up.example",
                "XFORWARD ADDR=192.0.2.1 NAME=client.example",
                "XFORWARD HELO=c.example PROTO=ESMTP",
                *("MAIL FROM:<>", "RSET"),
                *("MAIL FROM:<>", "RSET"),
                "XFORWARD ADDR=[UNAVAILABLE] HELO=x",
                "MAIL FROM:<>",
                "QUIT",
            )
        )
        _, told, after, local = door.reception.sessions
    assert told.origin is not None
    assert (told.origin.client, told.origin.name, told.origin.ehlo, told.origin.protocol) == (
        "192.0.2.1",
        "client.example",
        "c.example",
        "ESMTP",
    )
    assert (told.client, told.trusted, told.ehlo) == ("127.0.0.1", True, "up.example")
    assert after.origin is None
    assert local.origin is None
    field = received(envelope(session=told), "mx.example.org")
    assert field.startswith(
        "from up.example ([127.0.0.1])\r\n (for c.example client.example [192.0.2.1])\r\n by mx.example.org (mtaframe) "
    )


def test_no_name_leaves_the_comment_of_the_received_field() -> None:
    told = session(origin=Origin("2001:db8::1", "a)b\r\nX-Evil: 1", "(("))
    field = received(envelope(session=told), "mx.example.org")
    assert "(for ?? a?b??X-Evil:?1 [IPv6:2001:db8::1])" in field
