"""SMTP smuggling (2023): one message in, never two out, whatever the next hop takes for the end of one.

The law: messages are counted where they arrive. What the sender is told proves nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mtaframe.testing import ScriptedMx, running
from tests.lax_mx import LaxMx

CONF = """
hostname = "mta.example.org"
[route]
next_hop = "127.0.0.1"
port = {mx}
tls = "off"
[[listener]]
name = "smtp"
kind = "mta"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
bare_newline = "{bare_newline}"
"""
ENDS = {
    "CRLF . LF": b"\r\n.\n",
    "LF . CRLF": b"\n.\r\n",
    "LF . LF": b"\n.\n",
    "CR . CR": b"\r.\r",
    "CRLF . CR": b"\r\n.\r",
    "CR . CRLF": b"\r.\r\n",
    "LF . CR": b"\n.\r",
    "CR . LF": b"\r.\n",
    "CR CRLF . CR CRLF": b"\r\r\n.\r\r\n",
    "CRLF . CR CRLF": b"\r\n.\r\r\n",
    "CRLF NUL . CRLF": b"\r\n\0.\r\n",
    "CRLF . NUL CRLF": b"\r\n.\0\r\n",
    "CR NUL LF . CRLF": b"\r\0\n.\r\n",
    "CRLF . CR NUL LF": b"\r\n.\r\0\n",
    "LF NUL . LF": b"\n\0.\n",
    "CRLF .. CRLF": b"\r\n..\r\n",
    "LF .. LF": b"\n..\n",
    "CRLF .. LF": b"\r\n..\n",
    "LF .. CRLF": b"\n..\r\n",
    "CR .. CR": b"\r..\r",
    "CRLF ... CRLF": b"\r\n...\r\n",
    "CRLF . blank CRLF": b"\r\n. \r\n",
}
TRUE_END = b"\r\n.\r\n"
"""Behind BDAT it is content like any other."""
SECOND = (
    b"MAIL FROM:<admin@example.net>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled\r\n"
)
HEADER = b"From: a@example.org\r\nSubject: hi\r\n\r\ntext"
BEGIN = b"EHLO client\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n"


@pytest.fixture(params=["strict", "lax"])
async def mx(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async with ScriptedMx() if request.param == "strict" else LaxMx() as server:
        yield server


async def send(port: int, way: str, end: bytes) -> None:
    """What an attacker sends, who thinks that the next hop will take ``end`` for the end of a message."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    content = HEADER + end + SECOND
    match way:
        case "as one":
            writer.write(BEGIN + b"DATA\r\n" + content + b".\r\n")
        case "in two":
            writer.write(BEGIN + b"DATA\r\n")
            while not (await reader.readline()).startswith(b"354"):
                pass
            middle = len(HEADER) + len(end) // 2
            for piece in (content[:middle], content[middle:], b".\r\n"):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.005)
        case "octet by octet":
            for octet in BEGIN + b"DATA\r\n" + content + b".\r\n":
                writer.write(bytes((octet,)))
                await asyncio.sleep(0)
        case "BDAT":
            writer.write(BEGIN + b"BDAT %d LAST\r\n" % len(content) + content)
        case "BDAT in two":
            middle = len(HEADER) + len(end) // 2
            writer.write(BEGIN + b"BDAT %d\r\n" % middle + content[:middle])
            writer.write(b"BDAT %d LAST\r\n" % (len(content) - middle) + content[middle:])
    writer.write(b"QUIT\r\n")
    await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)


def envelopes(mx: Any) -> list[tuple[str, list[str]]]:
    if isinstance(mx, LaxMx):
        return [(reverse_path.strip("<>"), [r.strip("<>") for r in to]) for reverse_path, to, _ in mx.received]
    return [(received.reverse_path, received.recipients) for received in mx.received]


@pytest.mark.parametrize("bare_newline", ["reject", "normalize"])
@pytest.mark.parametrize("end", [*ENDS, "CRLF . CRLF"])
async def test_one_message_stays_one(mx: Any, end: str, bare_newline: str, tmp_path) -> None:
    octets = ENDS.get(end, TRUE_END)
    bare = octets.replace(b"\r\n", b"")
    is_refused = b"\0" in octets or (bare_newline == "reject" and (b"\r" in bare or b"\n" in bare))
    ways = ["BDAT", "BDAT in two"] + ["as one", "in two", "octet by octet"] * (octets != TRUE_END)
    async with running(tmp_path, {"mtaframe.toml": CONF.format(mx=mx.port, bare_newline=bare_newline)}) as house:
        for count, way in enumerate(ways, 1):
            await send(house.port("smtp"), way, octets)
            assert mx.messages == (0 if is_refused else count), way
    assert {("a@example.org", ("b@example.net",))} >= {(path, tuple(to)) for path, to in envelopes(mx)}


async def test_the_lax_next_hop_is_lax() -> None:
    """Else the tests above would prove nothing."""
    for name, end in ENDS.items():
        if ".." in name or "blank" in name or name == "CRLF . CR CRLF":
            continue
        async with LaxMx() as mx:
            await send(mx.port, "as one", end)
            assert envelopes(mx)[-1] == ("admin@example.net", ["victim@example.net"]), name
            assert mx.messages == 2
