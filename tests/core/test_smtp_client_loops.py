"""The same on uvloop, which the server runs on: sockets of our own, TLS, Unix sockets, flow control, closing."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from mtaframe import Outcome, Tls
from mtaframe.testing import HANG, ScriptedMx, message, route, self_signed, server_context
from tests.core.sending import Names, sender

LARGE = message("Subject: x\n\n" + ("x" * 70 + "\n") * 200_000)


async def plain(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, sender() as out:
        for mail in (None, LARGE, None):
            assert (await out.send(out.to(mx), mail=mail))[0].outcome is Outcome.DELIVERED
    assert mx.connections == 1
    assert not mx.faults


async def encrypted(tmp_path: Path) -> None:
    names = Names(hosts={"example.net": ["127.0.0.1"]})
    context = server_context(*self_signed("example.net", tmp_path))
    async with ScriptedMx(tls=context) as mx, sender(names) as out:
        for mail in (None, LARGE, None):
            (result,) = await out.send(route(port=mx.port, tls=Tls.REQUIRED), mail=mail)
            assert result.outcome is Outcome.DELIVERED
        (result,) = await out.send(route(port=mx.port, tls=Tls.VERIFIED))
        assert result.reply.status == "4.7.5"
    assert mx.received[1].raw == LARGE.raw


async def unix(tmp_path: Path) -> None:
    async with ScriptedMx(lmtp=True, unix=str(tmp_path / "s")) as mx, sender() as out:
        results = await out.send(out.to(mx), "a@example.net", "b@example.net", mail=LARGE)
        assert [result.outcome for result in results] == [Outcome.DELIVERED] * 2


async def stalled(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, sender() as out:
        mx.script("content", HANG)
        (result,) = await out.send(out.to(mx), mail=LARGE, patience=0.5)
        assert (result.outcome, out.attempt.dot_sent) == (Outcome.DEFERRED, False)


@pytest.mark.parametrize("story", [plain, encrypted, unix, stalled])
def test_on_uvloop(story: Callable[[Path], Coroutine[Any, Any, None]], tmp_path: Path) -> None:
    uvloop.run(story(tmp_path))
