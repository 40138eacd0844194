"""The chains of ``contrib/postfix``, with the very lines that ``mtaframe setup postfix`` writes."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from mtaframe.cli.postfix_files import additions
from mtaframe.notation import Endpoint
from mtaframe.testing import DROP, ScriptedMx
from tests.end_to_end.chain import Mtaframe
from tests.end_to_end.conftest import StartPostfix
from tests.end_to_end.postfix import Postfix, free_port

MESSAGE = "From: a@sender.example\nSubject: hello\nMessage-ID: <1@sender.example>\n\nbody\n"


def behind(mx: ScriptedMx, endpoint: Endpoint) -> str:
    return f"""
[route]
next_hop = "{mx.host}"
port = {mx.port}
tls = "off"
[[listener]]
name = "postfix"
kind = "lmtp"
addresses = ["{endpoint}"]
trusted = ["127.0.0.0/8"]
socket_mode = "0666"
"""


async def postfix_before(
    start_postfix: StartPostfix, endpoint: Endpoint, *, more: Mapping[str, str] | None = None, back_off: int = 1
) -> Postfix:
    """With the lines of ``setup postfix``, and ``more`` in main.cf."""
    added = additions("behind", endpoint)
    lines = (line.partition(" = ") for line in added.main.splitlines() if not line.startswith("#"))
    main = {key: value for key, _, value in lines} | dict(more or {})
    return await start_postfix(main=main, master=added.master, back_off=back_off)


async def test_each_recipient_gets_its_own_answer(
    start_postfix: StartPostfix, unix_socket: Endpoint, tmp_path: Path
) -> None:
    """One is delivered, one bounced by Postfix with the MX's words, one kept by Postfix until it is taken."""
    async with ScriptedMx() as mx, Mtaframe(tmp_path / "conf", behind(mx, unix_socket)):
        mx.script("rcpt", "550 5.1.1 no such user", to="gone@example.com", always=True)
        mx.script("rcpt", "450 4.2.1 greylisted", to="later@example.com")
        postfix = await postfix_before(start_postfix, unix_socket)
        await postfix.inject("a@sender.example", ["b@example.com", "gone@example.com", "later@example.com"], MESSAGE)
        await postfix.logged("status=deferred")
        await postfix.emptied()
    to = [(recipient, received) for received in mx.received for recipient in received.recipients]
    assert sorted(recipient for recipient, _ in to) == ["a@sender.example", "b@example.com", "later@example.com"]
    [bounce] = [received for recipient, received in to if recipient == "a@sender.example"]
    assert bounce.reverse_path == ""
    assert b"5.1.1" in bounce.raw
    assert b"no such user" in bounce.raw
    assert not mx.faults


async def test_what_mtaframe_had_in_hand_when_it_was_killed_arrives(
    start_postfix: StartPostfix, endpoint: Endpoint, tmp_path: Path
) -> None:
    """Postfix still has it: nothing is lost, whatever moment it was."""
    async with ScriptedMx() as mx, Mtaframe(tmp_path / "conf", behind(mx, endpoint)) as mta:
        mx.script("data", "354 go on", delay=0.5)
        postfix = await postfix_before(start_postfix, endpoint)
        await postfix.inject("a@sender.example", ["b@example.com"], MESSAGE)
        await mx_saw(mx, "DATA")
        await mta.stop(kill=True)
        await postfix.logged("status=deferred")
        await mta.start()
        await postfix.emptied()
    assert [received.recipients for received in mx.received] == [["b@example.com"]]


async def test_postfix_keeps_what_the_next_hop_did_not_take(
    start_postfix: StartPostfix, endpoint: Endpoint, tmp_path: Path
) -> None:
    async with ScriptedMx() as mx, Mtaframe(tmp_path / "conf", behind(mx, endpoint)):
        mx.script("dot", DROP)
        postfix = await postfix_before(start_postfix, endpoint)
        await postfix.inject("a@sender.example", ["b@example.com"], MESSAGE)
        await postfix.logged("status=deferred")
        await postfix.emptied()
    assert [received.recipients for received in mx.received] == [["b@example.com"]]


async def test_mtaframe_hands_its_mail_to_postfix(start_postfix: StartPostfix, tmp_path: Path) -> None:
    """In front: the smtpd for mtaframe takes it, Postfix has the queue."""
    ours, theirs = (Endpoint(f"127.0.0.1:{free_port()}") for _ in range(2))
    settings = f"""
[route]
next_hop = "{theirs.host}"
port = {theirs.port}
tls = "off"
[[listener]]
name = "submission"
kind = "application"
addresses = ["{ours}"]
trusted = ["127.0.0.0/8"]
"""
    async with ScriptedMx() as mx:
        mx.script("rcpt", "450 4.2.1 greylisted")
        postfix = await start_postfix(relay=f"smtp:[{mx.host}]:{mx.port}", master=additions("front", theirs).master)
        async with Mtaframe(tmp_path / "conf", settings):
            await postfix.inject("a@sender.example", ["b@example.com"], MESSAGE, port=ours.port)
        await postfix.logged("status=deferred")
        await postfix.emptied()
    [received] = mx.received
    assert received.recipients == ["b@example.com"]
    assert received.raw.count(b"\r\nReceived: ") + received.raw.startswith(b"Received: ") == 2


async def mx_saw(mx: ScriptedMx, command: str) -> None:
    async with asyncio.timeout(20):
        while command not in mx.commands:
            await asyncio.sleep(0.02)
