"""The books balance: whatever next hops say, at the end each recipient has one copy or stands in one bounce."""

import asyncio
import re
import smtplib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mtaframe.notation import Endpoint
from mtaframe.testing import ScriptedMx
from tests.end_to_end.chain import Mtaframe
from tests.end_to_end.conftest import StartPostfix
from tests.end_to_end.postfix import Postfix, free_port
from tests.end_to_end.test_chains import behind, postfix_before

SENDER = "sender@sender.example"
RECIPIENTS = 5
FATES = ("fine", "later", "gone", "fine", "refused-later")
FINAL_RECIPIENT = re.compile(rb"^Final-Recipient: rfc822; *(\S+)", re.MULTILINE | re.IGNORECASE)


def recipients(message: int) -> list[str]:
    """Each message has another mix, so that there are transactions of every kind."""
    fates = [FATES[(message * step + step) % len(FATES)] for step in range(1, RECIPIENTS + 1)]
    return [f"{fate}-{message}-{index}@example.com" for index, fate in enumerate(fates)]


def scripted(mx: ScriptedMx, mailbox: str) -> None:
    if mailbox.startswith("later"):
        mx.script("rcpt", "450 4.2.1 busy", to=mailbox)
    elif mailbox.startswith("gone"):
        mx.script("rcpt", "550 5.1.1 no such user", to=mailbox, always=True)
    elif mailbox.startswith("refused-later"):
        mx.script("rcpt", "451 4.7.1 greylisted", to=mailbox)
        mx.script("rcpt", "552 5.2.2 full", to=mailbox)


@pytest.mark.parametrize("by", ["lmtp", "smtp"])
async def test_sixty_messages_to_five_recipients_each(start_postfix: StartPostfix, tmp_path: Path, by: str) -> None:
    await balance(start_postfix, tmp_path, by, messages=60)


@pytest.mark.long
@pytest.mark.parametrize("by", ["lmtp", "smtp"])
async def test_a_thousand_messages_to_five_recipients_each(
    start_postfix: StartPostfix, tmp_path: Path, by: str
) -> None:
    await balance(start_postfix, tmp_path, by, messages=1000)


async def balance(start_postfix: StartPostfix, tmp_path: Path, by: str, messages: int) -> None:
    endpoint = Endpoint(f"127.0.0.1:{free_port()}")
    everyone = [mailbox for number in range(messages) for mailbox in recipients(number)]
    async with ScriptedMx() as mx:
        for mailbox in everyone:
            scripted(mx, mailbox)
        settings = behind(mx, endpoint) if by == "lmtp" else behind(mx, endpoint).replace('"lmtp"', '"mta"')
        async with Mtaframe(tmp_path / "conf", settings):
            start: Callable[..., object] = postfix_before if by == "lmtp" else _by_smtp
            postfix: Postfix = await start(start_postfix, endpoint)  # type: ignore[misc]
            await asyncio.to_thread(_inject, postfix.port, messages)
            await postfix.emptied(within=90)
    copies = Counter(to for received in mx.received for to in received.recipients if to != SENDER)
    bounced = Counter(
        mailbox.decode()
        for received in mx.received
        if SENDER in received.recipients
        for mailbox in FINAL_RECIPIENT.findall(received.raw)
    )
    for mailbox in everyone:
        fails = mailbox.startswith(("gone", "refused"))
        assert (copies[mailbox], bounced[mailbox]) == ((0, 1) if fails else (1, 0)), mailbox
    assert sum(copies.values()) + sum(bounced.values()) == messages * RECIPIENTS
    assert not mx.faults


async def _by_smtp(start_postfix: StartPostfix, endpoint: Endpoint) -> Postfix:
    return await start_postfix(relay=f"smtp:[{endpoint.host}]:{endpoint.port}")


def _inject(port: int, messages: int) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        for number in range(messages):
            text = (
                f"From: {SENDER}\r\nSubject: {number}\r\nMessage-ID: <{number}@sender.example>\r\n\r\nbody {number}\r\n"
            )
            client.sendmail(SENDER, recipients(number), text)
