"""The chains of ``contrib/exim``, with the very lines that ``mtaframe setup exim`` writes."""

import asyncio
import re
import smtplib
from collections import Counter
from pathlib import Path

import pytest

from mtaframe.cli.exim_files import Protocol, additions
from mtaframe.notation import Endpoint
from mtaframe.testing import ScriptedMx
from tests.end_to_end.chain import Mtaframe
from tests.end_to_end.conftest import StartExim
from tests.end_to_end.exim import USER
from tests.end_to_end.test_books import SENDER, recipients, scripted
from tests.end_to_end.test_chains import MESSAGE, behind, mx_saw

MESSAGES = 30
FAILED = re.compile(rb"^Final-Recipient: rfc822; *(\S+)", re.MULTILINE | re.IGNORECASE)
PROTOCOLS: tuple[Protocol, ...] = ("lmtp", "smtp")


def listening(mx: ScriptedMx, endpoint: Endpoint, protocol: Protocol) -> str:
    """What hands over to Exim's mail to the MX, by the listener that speaks the protocol."""
    settings = behind(mx, endpoint)
    return settings if protocol == "lmtp" else settings.replace('"lmtp"', '"mta"')


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_each_recipient_gets_one_copy_or_one_bounce(
    start_exim: StartExim, endpoint: Endpoint, tmp_path: Path, protocol: Protocol
) -> None:
    """Of each message some are delivered, some refused for good, some only at the second try: in every mix."""
    everyone = [mailbox for number in range(MESSAGES) for mailbox in recipients(number)]
    async with ScriptedMx() as mx:
        for mailbox in everyone:
            scripted(mx, mailbox)
        async with Mtaframe(tmp_path / "conf", listening(mx, endpoint, protocol)):
            exim = await start_exim(relay=additions("behind", endpoint, protocol))
            await asyncio.to_thread(_inject, exim.port)
            await exim.emptied(within=60)
    copies = Counter(to for received in mx.received for to in received.recipients if to != SENDER)
    bounced = Counter(
        mailbox.decode()
        for received in mx.received
        if SENDER in received.recipients
        for mailbox in FAILED.findall(received.raw)
    )
    for mailbox in everyone:
        fails = mailbox.startswith(("gone", "refused"))
        assert (copies[mailbox], bounced[mailbox]) == ((0, 1) if fails else (1, 0)), mailbox
    assert copies.total() + bounced.total() == len(everyone)
    assert (" PRDR " in exim.log()) == (protocol == "smtp"), "Exim logs it"
    assert not mx.faults


async def test_by_a_unix_socket(start_exim: StartExim, unix_socket: Endpoint, tmp_path: Path) -> None:
    """But for the group: an Exim with a configuration of its own can't become another one."""
    async with ScriptedMx() as mx, Mtaframe(tmp_path / "conf", behind(mx, unix_socket)):
        mx.script("rcpt", "550 5.1.1 no such user", to="gone@example.com", always=True)
        mx.script("rcpt", "450 4.2.1 greylisted", to="later@example.com")
        relay = dict(additions("behind", unix_socket))
        relay["transports"] = relay["transports"].replace("group = mtaframe", f"group = {USER}")
        exim = await start_exim(relay=relay)
        await exim.inject(SENDER, ["b@example.com", "gone@example.com", "later@example.com"], MESSAGE)
        await exim.emptied()
    to = sorted(recipient for received in mx.received for recipient in received.recipients)
    assert to == ["b@example.com", "later@example.com", SENDER]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_mtaframe_had_in_hand_when_it_was_killed_arrives(
    start_exim: StartExim, endpoint: Endpoint, tmp_path: Path, protocol: Protocol
) -> None:
    """And what comes meanwhile waits for no longer than mtaframe is away."""
    async with ScriptedMx() as mx, Mtaframe(tmp_path / "conf", listening(mx, endpoint, protocol)) as mta:
        mx.script("data", "354 go on", delay=1)
        exim = await start_exim(relay=additions("behind", endpoint, protocol), back_off=3600)
        await exim.inject(SENDER, ["b@example.com"], MESSAGE)
        await mx_saw(mx, "DATA")
        await mta.stop(kill=True)
        await exim.inject(SENDER, ["c@example.com"], MESSAGE)
        await exim.logged("Connection refused")
        await mta.start()
        await exim.emptied()
    to = sorted(recipient for received in mx.received for recipient in received.recipients)
    assert to == ["b@example.com", "c@example.com"]


async def test_mtaframe_hands_its_mail_to_exim(start_exim: StartExim, endpoint: Endpoint, tmp_path: Path) -> None:
    """In front: many messages by one connection, and none of them waits for a queue run."""
    async with ScriptedMx(lmtp=True) as mx:
        onward = additions("behind", Endpoint(f"{mx.host}:{mx.port}"))
        exim = await start_exim(relay={**onward, **additions("front")}, queue_runs=False)
        settings = f"""
workers = 1
[route]
next_hop = "{exim.host}"
port = {exim.port}
tls = "off"
[delivery]
connections = 1
[[listener]]
name = "submission"
kind = "application"
addresses = ["{endpoint}"]
trusted = ["127.0.0.0/8"]
"""
        async with Mtaframe(tmp_path / "conf", settings):
            await asyncio.to_thread(_inject, endpoint.port)
        await exim.emptied()
    to = sorted(recipient for received in mx.received for recipient in received.recipients)
    assert to == sorted(mailbox for number in range(MESSAGES) for mailbox in recipients(number))


def _inject(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        for number in range(MESSAGES):
            text = f"From: {SENDER}\r\nSubject: {number}\r\nMessage-ID: <{number}@sender.example>\r\n\r\nbody\r\n"
            client.sendmail(SENDER, recipients(number), text)
