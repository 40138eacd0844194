"""webhooks in the whole program: mail comes in, receivers are told; reload, SIGTERM, rehearsal, the docs' snippet."""

import asyncio
import logging
import re
import time
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from mtaframe import Address, Delivery, Plugin, Recipient, Reject, hookimpl
from mtaframe.assembly import read
from mtaframe.cli.rehearsal import rehearsed
from mtaframe.clock import SystemClock
from mtaframe.notation import Endpoint
from mtaframe.testing import RecordingMta, ScriptedMx, delivery, result, running
from mtaframe_plugins.webhooks import Webhooks
from mtaframe_plugins.webhooks.settings import WebhooksSettings
from tests.conftest import ROOT
from tests.dialogue import Dialogue
from tests.end_to_end.chain import PROGRAM, Mtaframe
from tests.end_to_end.postfix import free_port
from tests.plugins.webhooks_receiver import SECRET, TOKEN, Receiver, until

SETTINGS = """
plugins = {plugins}
[route]
next_hop = "127.0.0.1"
port = {port}
tls = "off"
[[listener]]
name = "lmtp"
kind = "lmtp"
addresses = ["{endpoint}"]
trusted = ["127.0.0.0/8"]
"""
ACCOUNTS = '[[account]]\nname = "acme"\ndomains = ["example.com"]\n'
OTHER = '[[endpoint]]\nurl = "http://127.0.0.1:1/"\nprivate = true\nevents = ["spam"]\n'


def hook(receiver: Receiver, more: str = "") -> str:
    return f'{more}\n[[endpoint]]\nurl = "{receiver.url}"\nsecret = "{SECRET}"\ntoken = "{TOKEN}"\nprivate = true\n'


def settings(mx: ScriptedMx, *plugins: str, endpoint: str = "127.0.0.1:0") -> str:
    return SETTINGS.format(plugins=list(plugins), port=mx.port, endpoint=endpoint)


class Picky(Plugin):
    """Refuses one recipient at RCPT, and one copy."""

    @hookimpl
    def on_rcpt(self, recipient: Recipient) -> Reject | None:
        return Reject("no") if recipient.address.local_part == "never" else None

    @hookimpl
    def before_sign(self, delivery: Delivery) -> Reject | None:
        return Reject("no") if delivery.recipient.address.local_part == "later" else None


async def test_a_message_with_every_ending_is_told_of_and_nothing_is_logged_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with ScriptedMx() as mx, Receiver() as receiver:
        mx.script("rcpt", "550 5.1.1 no canary here", to="gone@canary.example")
        mx.script("rcpt", "450 4.2.0 canary, later", to="busy@canary.example")
        files = {
            "mtaframe.toml": settings(mx, "webhooks", "picky") + '[logs]\nlevel = "debug"\nrecipient = "none"\n',
            "accounts.toml": ACCOUNTS,
            "webhooks.toml": hook(receiver),
        }
        async with running(tmp_path, files, plugins={"picky": Picky}) as house:
            async with Dialogue(house.port("lmtp"), hello="LHLO x.example.com") as client:
                people = [f"{name}@canary.example" for name in ("good", "gone", "busy", "never", "later")]
                said = await client.envelope(*people)
                assert [each[:3] for each in said] == ["250", "250", "250", "550", "250"]
                await client.data(b'From: Canary <a@example.com>\r\nX-Vars: {"k": "canary"}\r\n\r\ncanary\r\n')
                assert [(await client.reply())[:3] for _ in range(4)] == ["250", "550", "450", "550"]
            await until(lambda: len(receiver.taken) == 9)
        told = {(each["to_email"].partition("@")[0], each["event"]): each for each in receiver.taken}
        assert sorted(told) == [
            ("busy", "deferred"),
            ("busy", "request"),
            ("gone", "bounce_hard"),
            ("gone", "request"),
            ("good", "delivered"),
            ("good", "request"),
            ("later", "block_hard"),
            ("later", "request"),
            ("never", "block_hard"),
        ]
        assert {each["account"] for each in receiver.taken} == {"acme"}
        assert sorted(each["sequence"] for each in receiver.taken) == list(range(1, 10))
        assert told["gone", "bounce_hard"]["server_response"] == "550 5.1.1 no canary here"
        assert told["later", "block_hard"]["by"] == told["never", "block_hard"]["by"] == "picky"
        assert told["good", "delivered"]["vars"] == told["good", "request"]["vars"] == {"k": "canary"}
        assert told["good", "request"]["from_email"] == "a@example.com"
        assert receiver.unproven == 0
        kept = [record.getMessage() for record in caplog.records if record.name.startswith("mtaframe")]
        assert "canary" not in "\n".join(kept).lower()


async def test_a_reload_under_load_loses_nothing_and_sends_nothing_twice(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, Receiver(delay=0.01) as receiver:
        files = {
            "mtaframe.toml": settings(mx, "webhooks"),
            "accounts.toml": ACCOUNTS,
            "webhooks.toml": hook(receiver, "connections = 2"),
        }
        async with running(tmp_path, files) as house:
            async with Dialogue(house.port("lmtp"), hello="LHLO x.example.com") as client:
                for number in range(20):
                    assert (await client.mail("b@example.net", "c@example.net")).startswith("250")
                    assert (await client.reply()).startswith("250")
                    if number % 4 == 0:
                        house.write("webhooks.toml", hook(receiver, f"connections = {1 + number % 3}") + OTHER)
                        assert await house.mta.reload()
            assert house.mta.generation is not None
            assert house.mta.generation.number == 6
            await until(lambda: len(receiver.taken) == 80)
        assert len(receiver.events) == len(set(receiver.ids)) == 80
        assert sorted(each["sequence"] for each in receiver.taken) == list(range(1, 81))
        assert receiver.unproven == 0


async def test_sigterm_sends_what_is_queued(tmp_path: Path) -> None:
    listen = Endpoint(f"127.0.0.1:{free_port()}")
    async with ScriptedMx() as mx, Receiver(delay=0.05) as receiver, Receiver(delay=60) as silent:
        conf = tmp_path / "conf"
        conf.mkdir()
        both = hook(receiver) + hook(silent).replace("/hook", "/hook?silent")
        (conf / "webhooks.toml").write_text(f'drain = "1500ms"\n{both}')
        text = settings(mx, "webhooks", endpoint=str(listen))
        async with Mtaframe(conf, text) as mta:
            async with Dialogue(listen.port, hello="LHLO x.example.com") as client:
                for _ in range(20):
                    assert (await client.mail("b@example.net")).startswith("250")
            assert len(receiver.taken) < 40
            shown = await _output("webhooks", "show", "--json", "--conf", str(conf))
            assert receiver.url in shown
            tried = await _output("webhooks", "test", receiver.url, "--event", "click", "--conf", str(conf))
            assert "click" in tried
            assert "200" in tried
            began = time.monotonic()
            await mta.stop()
            assert time.monotonic() - began < 6
        real = [each for each in receiver.taken if "test" not in each]
        assert len(real) == len({each["id"] for each in real}) == 40
        assert receiver.unproven == 0
        assert "events lost at the end host=127.0.0.1 count=40" in mta.log
        assert "Traceback" not in mta.log
        assert "example.net" not in mta.log.replace("to=example.net", "")


async def _output(*words: str) -> str:
    process = await asyncio.create_subprocess_exec(*PROGRAM, *words, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_a_rehearsal_tells_nobody(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, Receiver() as receiver:
        (tmp_path / "mtaframe.toml").write_text(settings(mx, "webhooks"))
        (tmp_path / "webhooks.toml").write_text(hook(receiver))
        configuration = read(tmp_path)
        listener = configuration.settings.listener[0]
        bob = Address("bob", "example.net")
        seen = await rehearsed(configuration, listener, b"From: a@example.com\r\n\r\nx\r\n", None, [bob])
        assert [asked.plugin for asked in seen.on_data] == ["webhooks"]
        assert receiver.events == []


async def test_the_snippet_of_the_docs_verifies_what_arrives_and_nothing_else(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "plugins" / "webhooks.md").read_text()
    [snippet] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(snippet, names)
    async with Receiver() as receiver:
        plugin = Webhooks(
            WebhooksSettings.model_validate({"endpoint": [{"url": receiver.url, "secret": SECRET, "private": True}]}),
            mta := RecordingMta(clock=SystemClock()),
        )
        plugin.on_result(delivery(), result())
        await plugin.stop()
        await mta.http.close()  # type: ignore[attr-defined]
    [headers], [body] = receiver.headers, receiver.bodies
    assert names["received"](SECRET, headers, body)["event"] == "delivered"
    with pytest.raises(WebhookVerificationError):
        names["received"](SECRET, headers, body.replace(b"bob", b"eve"))
