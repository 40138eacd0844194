"""A whole house at level debug, mail full of canaries, and every way in which it can end: the log shows none of them.

Canaries: local parts, subject, body, merge variables, header fields, user names, passwords, commands, remote replies,
and the text of every exception that a plugin raises.
"""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from mtaframe import Delivery, Envelope, Event, EventType, Message, Plugin, Result, Route, Transport, hookimpl, logs
from mtaframe.settings import LogSettings
from mtaframe.testing import DROP, House, ScriptedMx, running
from tests.dialogue import Dialogue

CANARY = "canary"
SENDER = f"{CANARY}-sender@example.com"
GOOD, BAD, LATER, OURS, LOST, KEPT = (
    f"{CANARY}-{name}@{domain}"
    for name, domain in (
        ("good", "example.net"),
        ("bad", "example.net"),
        ("later", "example.net"),
        ("ours", "example.net"),
        ("lost", "example.net"),
        ("kept", "sandbox.example"),
    )
)

CONF = """
hostname = "mta.example.org"
plugins = ["merge_tags", "dkim", "smart_host", "sandbox", "clumsy"]
drain = "1s"
[route]
transport = "sandbox"
[logs]
level = "debug"
format = "{format}"
recipient = "{recipient}"
[[listener]]
name = "smtp"
kind = "mta"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
auth_without_tls = true
[[listener]]
name = "lmtp"
kind = "lmtp"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
[plugin.clumsy]
budget = "100ms"
"""
SMART_HOST = """
[[host]]
name = "mx"
next_hop = "127.0.0.1"
port = {port}
tls = "off"
domains = ["example.net", "example.com"]
"""
DKIM = '[[key]]\ndomain = "example.com"\nselector = "s1"\nfile = "key.pem"\n'


class ClumsyError(Exception):
    """Says all that it knows."""


class Clumsy(Plugin):
    """Fails where the field X-Clumsy says, and tells in its exception what it was working on."""

    def transports(self) -> dict[str, Transport]:
        return {"clumsy": self}  # type: ignore[dict-item]

    test_only = False

    async def deliver(self, deliveries: Any, route: Route, attempt: object) -> Any:
        raise self._error(deliveries[0].message)

    def _error(self, message: Message) -> ClumsyError:
        return ClumsyError(message.raw.decode(), message.first("Subject"))

    def _stumble(self, message: Message, hook: str) -> None:
        if message.first("X-Clumsy") == hook:
            raise self._error(message)

    @hookimpl
    def on_data(self, envelope: Envelope, message: Message) -> Any:
        self._stumble(message, "on_data")
        self.mta.emit(Event(envelope.id, EventType.REQUEST, envelope.received_at, recipient=envelope.reverse_path))
        return message.raw.decode() if message.first("X-Clumsy") == "wrong" else None

    @hookimpl
    async def before_sign(self, delivery: Delivery) -> None:
        await asyncio.sleep(0)
        self._stumble(delivery.message, "before_sign")
        if delivery.message.first("X-Clumsy") == "late":
            await asyncio.sleep(5)

    @hookimpl
    def route(self, delivery: Delivery, route: Route) -> Route | None:
        self._stumble(delivery.message, "route")
        return Route(transport="clumsy") if delivery.message.first("X-Clumsy") == "transport" else None

    @hookimpl
    def sign(self, message: Message) -> None:
        self._stumble(message, "sign")

    @hookimpl
    def on_result(self, delivery: Delivery, result: Result) -> None:
        self._stumble(delivery.message, "on_result")

    @hookimpl
    def on_event(self, event: Event) -> None:
        raise ClumsyError(event.recipient.mailbox if event.recipient else CANARY)


def mail(clumsy: str = "no", variables: str | None = None) -> bytes:
    told = variables or json.dumps({"*": {"WORD": f"{CANARY}-word"}, GOOD: {"WORD": f"{CANARY}-own-word"}})
    text = (
        f"From: {CANARY}-name <{SENDER}>\nTo: {GOOD}\nSubject: {CANARY}-subject [WORD]\nX-Clumsy: {clumsy}\n"
        f"Message-ID: <{CANARY}-id@example.com>\nX-Merge-Vars: {told}\n\n{CANARY}-body [WORD]\n"
    )
    return text.replace("\n", "\r\n").encode()


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("mtaframe")
    before = (root.handlers[:], root.level, ours.level)
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


@asynccontextmanager
async def house(folder: Path, mx: ScriptedMx, settings: LogSettings) -> AsyncIterator[House]:
    key = ed25519.Ed25519PrivateKey.generate()
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*pem))
    (folder / "key.pem").chmod(0o600)
    files = {
        "mtaframe.toml": CONF.format(format=settings.format, recipient=settings.recipient),
        "smart_host.toml": SMART_HOST.format(port=mx.port),
        "dkim.toml": DKIM,
    }
    async with running(folder, files, plugins={"clumsy": Clumsy}) as running_house:
        logs.set_up(settings)
        yield running_house


def remote_texts(mx: ScriptedMx) -> None:
    mx.script("dot", f"250 2.0.0 {CANARY}-remote taken", always=True)
    mx.script("rcpt", f"550 5.1.1 <{BAD}> unknown", to=BAD, always=True)
    mx.script("rcpt", f"450 4.2.1 <{LATER}> busy", to=LATER, always=True)
    mx.script("rcpt", f"503 5.5.1 <{OURS}> bad sequence", to=OURS, always=True)


async def every_outcome(client: Dialogue, mx: ScriptedMx) -> None:
    for recipients in ((GOOD,), (BAD,), (LATER,), (OURS,), (KEPT,), (GOOD, BAD, KEPT), (GOOD, LATER, BAD)):
        await client.mail(*recipients, sender=SENDER, octets=mail())
    mx.script("dot", DROP)
    await client.mail(LOST, sender=SENDER, octets=mail())
    await client.mail(GOOD, sender=SENDER, octets=mail(variables=f'{{"{CANARY}": '))
    for where in ("on_data", "wrong", "late", "route", "transport", "sign", "on_result"):
        await client.mail(GOOD, sender=SENDER, octets=mail(where))
        await client.mail(
            GOOD, sender=SENDER, octets=mail()
        )  # a success between, for five faults in a row would rest it
    await client.mail(GOOD, sender=SENDER, octets=b"From: x\n" + mail())


async def rude_words(client: Dialogue) -> None:
    secret = base64.b64encode(f"\0{CANARY}-user\0{CANARY}-password".encode()).decode()
    for line in (
        f"AUTH PLAIN {secret}",
        f"{CANARY}@example.com",
        f"MAIL FROM:{CANARY}",
        f"MAIL FROM:<{CANARY}@-> X={CANARY}",
        f"EHLO {CANARY} {CANARY}",
        f"VRFY {CANARY}@example.com",
    ):
        await client.say(line)


@pytest.mark.parametrize(
    "settings",
    [LogSettings(level="debug", format="text"), LogSettings(level="debug", format="json", recipient="tag")],
    ids=lambda settings: settings.format,
)
async def test_no_canary_is_heard(
    settings: LogSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with ScriptedMx() as mx, house(tmp_path, mx, settings) as running_house:
        logging.getLogger().addHandler(caplog.handler)
        remote_texts(mx)
        async with Dialogue(running_house.port("smtp")) as client:
            await every_outcome(client, mx)
            await rude_words(client)
        async with Dialogue(running_house.port("lmtp"), hello=f"LHLO {CANARY}.example.com") as client:
            await client.mail(GOOD, BAD, KEPT, sender=SENDER, octets=mail())
            await client.reply()
            await client.reply()
        await asyncio.sleep(0)
        status = json.dumps(running_house.mta.status())
    log = capsys.readouterr().err
    assert CANARY in mx.received[0].raw.decode(), "the mail itself had them"
    assert f"{CANARY}-own-word".encode() in mx.received[0].raw
    assert b"DKIM-Signature" in mx.received[0].raw
    for outcome in ("delivered", "failed", "deferred"):
        assert outcome in log, f"this test no longer sees mail that ends {outcome}"
    for fault in ("on_data", "before_sign", "route", "sign", "on_result", "on_event", "wrong answer", "late answer"):
        assert fault in log, f"this test no longer sees the fault: {fault}"
    heard = [line for line in log.splitlines() if CANARY in line]
    assert heard == [], "a log line says what is private: log our id, code and status, and nothing of the message"
    assert [record.getMessage() for record in caplog.records if CANARY in record.getMessage()] == []
    assert CANARY not in status
