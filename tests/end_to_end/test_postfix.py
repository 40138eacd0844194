"""The Postfix that other tests build on: it relays by LMTP, keeps what is deferred, and bounces what failed."""

import asyncio

from mtaframe.testing import ScriptedMx
from tests.end_to_end.conftest import StartPostfix

MESSAGE = "From: a@sender.example\nSubject: hello\nMessage-ID: <1@sender.example>\n\nbody\n"


async def test_relays_by_lmtp(start_postfix: StartPostfix) -> None:
    async with ScriptedMx(lmtp=True) as mx:
        postfix = await start_postfix(relay=f"lmtp:inet:{mx.host}:{mx.port}")
        await postfix.inject("a@sender.example", ["b@example.com", "c@example.org"], MESSAGE)
        await postfix.emptied()
    assert [received.reverse_path for received in mx.received] == ["a@sender.example"]
    assert sorted(mx.received[0].recipients) == ["b@example.com", "c@example.org"]
    assert b"\r\nSubject: hello\r\n" in mx.received[0].raw


async def test_a_refused_recipient_comes_back_as_a_bounce(start_postfix: StartPostfix) -> None:
    async with ScriptedMx(lmtp=True) as mx:
        mx.script("dot", "550 5.1.1 no such user", to="gone@example.com")
        postfix = await start_postfix(relay=f"lmtp:inet:{mx.host}:{mx.port}")
        await postfix.inject("a@sender.example", ["gone@example.com", "b@example.com"], MESSAGE)
        await postfix.emptied()
    to = {recipient: received for received in mx.received for recipient in received.recipients}
    assert sorted(to) == ["a@sender.example", "b@example.com"]
    bounce = to["a@sender.example"]
    assert bounce.reverse_path == ""
    assert b"5.1.1" in bounce.raw
    assert b"gone@example.com" in bounce.raw


async def test_a_deferred_recipient_stays_and_is_tried_again(start_postfix: StartPostfix) -> None:
    async with ScriptedMx(lmtp=True) as mx:
        mx.script("dot", "451 4.2.0 later", to="b@example.com")
        postfix = await start_postfix(relay=f"lmtp:inet:{mx.host}:{mx.port}")
        await postfix.inject("a@sender.example", ["b@example.com"], MESSAGE)
        await postfix.logged("status=deferred")
        while not (queued := await postfix.queue()):  # a look may miss what goes from one queue to another
            await asyncio.sleep(0.05)
        assert queued[0]["recipients"][0]["address"] == "b@example.com"
        await postfix.emptied()
    assert [received.recipients for received in mx.received] == [["b@example.com"]]
