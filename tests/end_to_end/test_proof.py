"""A real Postfix proves that it has read its replies: by QUIT with the dot, or by closing what it had cached."""

import asyncio

import pytest

from mtaframe.clock import SystemClock
from mtaframe.settings import ListenerSettings
from mtaframe.smtp_server import SmtpServer
from tests.end_to_end.conftest import StartPostfix
from tests.scripted_reception import ScriptedReception

MESSAGE = "From: a@sender.example\nSubject: hello\n\nbody\n"


@pytest.mark.parametrize(("kind", "relay"), [("mta", "smtp:[127.0.0.1]"), ("lmtp", "lmtp:inet:127.0.0.1")])
async def test_every_transaction_of_postfix_is_proven(start_postfix: StartPostfix, kind: str, relay: str) -> None:
    reception = ScriptedReception()
    settings = ListenerSettings.model_validate({"name": "test", "kind": kind, "addresses": ["127.0.0.1:0"]})
    server = SmtpServer(settings, reception, SystemClock(), "mx.example.org")  # type: ignore[arg-type]
    await server.start()
    try:
        postfix = await start_postfix(relay=f"{relay}:{server.addresses[0].rpartition(':')[2]}")
        for _ in range(5):
            await postfix.inject("a@sender.example", ["b@example.com", "c@example.com"], MESSAGE)
        await postfix.emptied()
        async with asyncio.timeout(20):
            while server.connections:
                await asyncio.sleep(0.05)
    finally:
        await server.close()
    assert [transaction.settled for transaction in reception.transactions] == [["proven"]] * 5
