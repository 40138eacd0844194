"""Editing each plugin's TOML under load changes what it does within a second, and nothing is lost."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from mtaframe.notation import Endpoint
from mtaframe.testing import Received, ScriptedMx
from tests.dialogue import Dialogue
from tests.end_to_end.chain import Mtaframe
from tests.end_to_end.postfix import free_port
from tests.end_to_end.test_reload import SESSIONS, replaced
from tests.plugins.dkim_oracle import rsa_key
from tests.plugins.webhooks_receiver import SECRET, Receiver

SETTINGS = """
hostname = "mta.example.org"
plugins = ["thresholds", "merge_tags", "spam_filter", "dkim", "ip_pools", "smart_host", "webhooks"]
[route]
next_hop = "127.0.0.1"
port = {port}
tls = "off"
[[listener]]
name = "in"
kind = "mta"
addresses = ["{endpoint}"]
trusted = ["127.0.0.0/8"]
account = "shop"
"""
SOURCE = """
default_pool = "all"
[[source]]
name = "a"
address = "127.0.4.{last}"
ehlo = "a.example.org"
[[pool]]
name = "all"
sources = ["a"]
"""
KEY = '[[key]]\ndomain = "example.com"\nselector = "s1"\nfile = "s1.pem"\n[[third_party]]\ndomain = "example.com"\n'
HOST = '[[host]]\nname = "other"\nnext_hop = "127.0.0.1"\nport = {port}\ntls = "off"\n'
CHECKS = 'url = ""\n[checks]\nfrom_field = "off"\n'
ENDPOINT = '[[endpoint]]\nurl = "{url}"\nsecret = "{secret}"\nprivate = true\n'


class Load:
    """Sessions that stay open, a hundred messages a second together. A refused recipient is counted, and they go on."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.replies: dict[str, str] = {}
        self.refused: list[str] = []
        self.stopped = False

    async def session(self, number: int) -> None:
        async with Dialogue(self._port) as client:
            count = 0
            while not self.stopped:
                count += 1
                name = f"{number}-{count}"
                [answer] = await client.envelope("bob@example.net")
                if answer.startswith("250"):
                    await client.data(f"Message-ID: <{name}@example.com>\r\nSubject: x\r\n\r\nbody\r\n".encode())
                    self.replies[name] = await client.reply()
                else:
                    self.refused.append(answer)
                    await client.say("RSET")
                await asyncio.sleep(SESSIONS / 100)

    def newest(self, text: str) -> bool:
        """Whether the last reply after a message begins so."""
        return next(reversed(self.replies.values())).startswith(text)


async def seen(what: Callable[[], object], since: float) -> float:
    """Seconds from ``since`` until it is so."""
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.002)
    return time.monotonic() - since


async def test_each_edit_is_in_use_within_a_second_and_nothing_is_lost(tmp_path: Path) -> None:
    endpoint = Endpoint(f"127.0.0.1:{free_port()}")
    conf = tmp_path / "conf"
    conf.mkdir()
    rsa_key(conf / "s1.pem")
    (conf / "spam_filter.toml").write_text(CHECKS)
    (conf / "accounts.toml").write_text('[[account]]\nname = "shop"\n')
    delays: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        mx, other = [await stack.enter_async_context(ScriptedMx()) for _ in range(2)]
        receiver = await stack.enter_async_context(Receiver())
        mta = await stack.enter_async_context(Mtaframe(conf, SETTINGS.format(port=mx.port, endpoint=endpoint)))
        load = Load(endpoint.port)
        clients = [asyncio.create_task(load.session(number)) for number in range(10)]
        await asyncio.sleep(1)
        assert load.newest("250"), mta.log

        async def edit(name: str, text: str, what: Callable[[], object]) -> None:
            try:
                delays[name] = await seen(what, replaced(conf / f"{name}.toml", text))
            except TimeoutError:
                raise AssertionError(f"{name} did not change: {mta.log[-1000:]}") from None

        def last() -> Received:
            return mx.received[-1]

        await edit("ip_pools", SOURCE.format(last=1), lambda: last().client == "127.0.4.1")
        await edit("dkim", KEY, lambda: last().raw.startswith(b"DKIM-Signature:"))
        await edit("webhooks", ENDPOINT.format(url=receiver.url, secret=SECRET), lambda: receiver.taken)
        await edit("merge_tags", 'field = "X-Other"\n', lambda: "configuration in force number=5" in mta.log)
        await edit("smart_host", HOST.format(port=other.port), lambda: other.received)
        await edit("spam_filter", CHECKS + 'date = "reject"\n', lambda: load.newest("554 5.6.0"))
        await edit("spam_filter", CHECKS, lambda: load.newest("250"))
        await edit("thresholds", "[[limit]]\nper_hour = 1\n", lambda: load.refused or load.newest("451 4.7.1"))
        load.stopped = True
        await asyncio.gather(*clients)
    delivered = [name for name, reply in load.replies.items() if reply.startswith("250")]
    everything = [received for hop in (mx, other) for received in hop.received]
    copies = Counter(received.raw.split(b"<")[1].split(b"@")[0].decode() for received in everything)
    assert copies == Counter(delivered), "each message that was acknowledged, exactly once"
    assert all(load.replies.values()), "no session was dropped"
    assert max(delays.values()) < 1.0, delays
    assert "Traceback" not in mta.log
