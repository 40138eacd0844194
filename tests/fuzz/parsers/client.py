"""What a hostile server says: replies cut anywhere, its EHLO, and what we say that it must not misread."""

from typing import Any

from aiosmtplib import SMTPException, SMTPResponse

import mtaframe.smtp_client.wire as wire_module
from mtaframe.delivery import Tls
from mtaframe.message import Message
from mtaframe.reply import Reply
from mtaframe.smtp_client.connection import Target
from mtaframe.smtp_client.opening import Greeting
from mtaframe.smtp_client.transaction import _octets
from mtaframe.smtp_client.trouble import Kind
from mtaframe.smtp_client.wire import Wire
from mtaframe.smtp_server.framing import Framing
from tests.fuzz.cut import HEAD, pieces
from tests.fuzz.parser import Parser
from tests.fuzz.still import LOOP, Transport, finished, running

_LIMIT = 600
"""Octets that a reply may have here, for inputs are short."""


def _reference(octets: bytes, due: int) -> tuple[list[tuple[int, str]], Kind | None]:
    """The replies that are due, one after the other, and what spoils the connection."""
    replies: list[tuple[int, str]] = []
    texts: list[bytes] = []
    size = 0
    *lines, rest = octets.split(b"\n")
    for line in lines:
        line = line.rstrip(b"\r")
        size += len(line)
        code, mark, text = line[:3], line[3:4], line[4:].strip()
        if not (len(code) == 3 and code.isdigit()) or mark not in (b"", b" ", b"-") or size > _LIMIT:
            return replies, Kind.GARBLED
        texts.append(text)
        if mark == b"-":
            continue
        if len(replies) == due:
            return replies, Kind.LOST if code == b"421" else Kind.GARBLED
        replies.append((int(code), b"\n".join(texts).decode("utf-8", "surrogateescape")))
        texts, size = [], 0
        if code == b"421":
            return replies, Kind.LOST
    return replies, Kind.GARBLED if size + len(rest) > _LIMIT else None


def wire(octets: bytes) -> None:
    """The fifth octet says how many commands are under way behind the banner."""
    head, rest = octets[: HEAD + 1], octets[HEAD + 1 :]
    due = 1 + (head[HEAD] & 7 if len(head) > HEAD else 0)
    before, wire_module.MAX_RESPONSE_LENGTH = wire_module.MAX_RESPONSE_LENGTH, _LIMIT
    try:
        with running():
            replies, fault = _heard(head[:HEAD], rest, due)
    finally:
        wire_module.MAX_RESPONSE_LENGTH = before
    assert (replies, fault) == _reference(rest, due)
    for code, text in replies:
        assert len(text) <= _LIMIT
        assert len(Reply.parse(code, text).octets) <= 512


def _heard(sizes: bytes, octets: bytes, due: int) -> tuple[list[tuple[int, str]], Kind | None]:
    protocol, transport = Wire(LOOP), Transport()  # type: ignore[arg-type]
    protocol.connection_made(transport)  # type: ignore[arg-type]
    protocol.expect(due - 1)
    waiting: Any = protocol.replies(due, 10)
    is_waiting, got = True, []
    waiting.send(None)
    for piece in pieces(sizes, octets):
        protocol.data_received(piece)
        if is_waiting and protocol._waiter is not None and protocol._waiter.done():
            got, is_waiting = _outcome(waiting), False
    fault = protocol.fault
    protocol.eof_received()
    protocol.connection_lost(None)
    if is_waiting:
        got = _outcome(waiting)
    assert protocol.fault is not None
    assert not protocol.is_usable
    return [(reply.code, reply.message) for reply in got], fault


def _outcome(waiting: Any) -> list[SMTPResponse]:
    try:
        waiting.send(None)
    except StopIteration as stop:
        got: list[SMTPResponse] = stop.value
        return got
    raise AssertionError("it still waits")


_TARGET = Target("mx.example.net", None, "192.0.2.1", 25, None, "mta.example.com", Tls.OFF, None, None, False)


class Greeted(Greeting):
    """One whose server answers EHLO and HELO as told."""

    def __init__(self) -> None:
        super().__init__(_TARGET)
        self.answers: list[SMTPResponse] = []

    async def execute_command(self, *arguments: Any, **more: Any) -> SMTPResponse:
        return self.answers.pop(0)


def ehlo(octets: bytes) -> None:
    """The answer to EHLO, its lines as the wire hands them over."""
    with running():
        greeting = Greeted()
    text = "\n".join(line.strip() for line in octets.decode("utf-8", "surrogateescape").split("\n"))
    greeting.answers = [SMTPResponse(250, text)]
    try:
        finished(greeting.hello(10))
    except (SMTPException, ValueError):
        return
    connection = greeting.connection
    assert connection.size_limit is None or connection.size_limit > 0
    assert all(0 < number < 1_000_000 for number in connection.limits.values())
    domains = ["a.example", "b.example", "a.example"]
    places = connection.fitting(domains, 100)
    assert places == sorted(set(places))
    assert places
    assert places[0] == 0


def stuffing(octets: bytes) -> None:
    """A message that we send comes out of our own server as it went in, whatever dots it holds."""
    message = Message.parse(octets.replace(b"\r", b"").replace(b"\n", b"\r\n"))
    header, body, last = _octets(message)
    framing = Framing(512)
    framing.expect_message(1 << 20)
    framing.input += b"".join((header, b"\r\n", body, last))
    assert framing.is_there()
    taken = framing.take_message()
    assert taken is not None
    assert not framing.input, "what follows would be taken for commands"
    assert taken == message.raw + (b"" if message.raw.endswith(b"\r\n") else b"\r\n")


def smuggling(octets: bytes) -> None:
    """With bare line ends, too, nothing in a message looks like its end, however lax the server is."""
    message = Message.parse(octets)
    header, body, _ = _octets(message)
    lax = b"".join((b"\r\n", header, b"\r\n", body)).replace(b"\r\n", b"\n")
    assert b"\n.\n" not in lax
    assert b"\n.\r\n" not in lax


PARSERS = [
    Parser(
        "client_wire",
        wire,
        (
            b"250 ok\r\n",
            b"250-",
            b"421 4.3.2 bye\r\n",
            b"\n",
            b"\r\n",
            b"354",
            b"550 5.1.1 ",
            b"\r\r\n",
            b"25",
            b"250\n",
        ),
        longest=768,
    ),
    Parser(
        "client_ehlo",
        ehlo,
        (
            b"\nSIZE ",
            b"\nPIPELINING",
            b"\n8BITMIME",
            b"\nSMTPUTF8",
            b"\nDSN",
            b"\nSTARTTLS",
            b"\nAUTH PLAIN LOGIN",
            b"\nAUTH=PLAIN",
            b"\nLIMITS RCPTMAX=1",
            b" RCPTDOMAINMAX=1",
            b"\xd9\xa1",
            b"0",
        ),
    ),
    Parser("client_stuffing", stuffing, (b"\n.", b"\n..\n", b"\n.\n", b"a: b\n", b"\n\n"), longest=256),
    Parser(
        "client_smuggling",
        smuggling,
        (b"\n.\n", b"\r\n.\r\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"a: b\r\n"),
        longest=256,
    ),
]
