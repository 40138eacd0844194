"""Header sections made to be dear: what is taken and what is not, and that others do not wait for it."""

import asyncio
from typing import Any

import pytest

from mtaframe.message import Message
from mtaframe.testing import ScriptedMx
from tests.core.test_reception import house
from tests.dialogue import MAIL, Dialogue

TOO_BIG = "552 5.3.4 the header section is too big"
BOMBS = {
    "more than 1 MB": (b"X-A: %s\r\n" % (b"a" * 900) * 1200, TOO_BIG),
    "more than 10,000 lines": (b"X: y\r\n" * 10_001, TOO_BIG),
    "one field of 10,001 lines": (b"X:" + b" y\r\n" * 10_001, TOO_BIG),
    "one line of 1.1 MB": (b"X: " + b"y" * 1_100_000 + b"\r\n", TOO_BIG),
    "9,990 fields": (b"X: y\r\n" * 9_990, "250"),
    "9,000 addresses": (b"To: " + b"a@example.org,\r\n " * 9_000 + b"b@example.org\r\n", "250"),
    "one line of 900 KB": (b"X: " + b"y" * 900_000 + b"\r\n", "250"),
    "one line of 900 KB with blanks": (b"X: " + b"y " * 450_000 + b"\r\n", "250"),
    "one line of 900 KB of encoded words": (b"Subject: " + b"=?utf-8?q?=41?= " * 56_000 + b"\r\n", "250"),
    "parameters": (b"Content-Type: text/plain; " + b'a="b"; ' * 120_000 + b"\r\n", "250"),
    "open quotes": (b"Content-Type: multipart/mixed; boundary=" + b'"\\' * 400_000 + b"\r\n", "250"),
}


@pytest.mark.parametrize("lines", [b"X: y\r\n", b" y\r\n"])
def test_no_more_of_an_excessive_section_is_looked_at_than_it_takes(lines: bytes) -> None:
    """Two hundred thousand fields cost each other client of the worker 8 ms, a thousand times a minute."""
    raw = b"X: y\r\n" + lines * 200_000 + b"\r\nbody\r\n"
    message = Message.parse(raw, is_bounded=True)
    assert message.is_excessive
    assert len(message.header) < 200_000
    assert Message.parse(raw).body == b"body\r\n"
    raw = b"X: y\r\n" + lines * 9_999 + b"\r\nbody\r\n"
    assert Message.parse(raw, is_bounded=True) == Message.parse(raw)
    assert not Message.parse(raw).is_excessive


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_bomb_is_refused_or_delivered_while_others_are_served(bomb: str, tmp_path: Any) -> None:
    fields, answer = BOMBS[bomb]
    async with ScriptedMx() as mx, house(tmp_path, mx) as mta:
        async with Dialogue(mta.port("smtp")) as hostile, Dialogue(mta.port("smtp")) as honest:
            await hostile.envelope("bob@example.net")
            await hostile.data(fields + MAIL)
            slowest, loop = 0.0, asyncio.get_running_loop()
            reply = asyncio.create_task(hostile.reply())
            while not reply.done():
                at = loop.time()
                assert (await honest.say("NOOP"))[:3] == "250"
                slowest = max(slowest, loop.time() - at)
            assert (await reply).startswith(answer)
            assert (await honest.mail("carol@example.net"))[:3] == "250"
    assert slowest < 1
    assert mx.messages == 1 + (answer == "250")
    assert mx.faults == []
    if "blanks" in bomb or "words" in bomb or bomb == "parameters":
        assert max(map(len, mx.received[0].raw.split(b"\r\n"))) <= 998, "it is folded"
