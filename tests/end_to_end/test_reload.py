"""Hot reload under load: a whole new configuration takes effect while mail flows, or none of it does."""

import asyncio
import os
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mtaframe.notation import Endpoint
from mtaframe.testing import ScriptedMx
from tests.dialogue import Dialogue
from tests.end_to_end.chain import Mtaframe
from tests.end_to_end.postfix import free_port

SESSIONS = 10
RATE = 300
"""Messages a second, all sessions together."""

SETTINGS = """
[route]
next_hop = "127.0.0.1"
port = {port}
tls = "off"
[[listener]]
name = "smtp"
kind = "mta"
addresses = ["{endpoint}"]
trusted = ["127.0.0.0/8"]
"""


class Load:
    """Sessions that stay open and send one message after the other; each reply is kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.replies: dict[str, str] = {}
        self.dropped = 0
        self.stopped = False

    async def session(self, number: int) -> None:
        async with Dialogue(self._port) as client:
            count = 0
            began = time.monotonic()
            while not self.stopped:
                name = f"{number}-{count}"
                octets = f"Subject: x\r\nMessage-ID: <{name}@example.com>\r\n\r\nbody\r\n".encode()
                reply = await client.mail("bob@example.net", octets=octets)
                self.dropped += not reply
                self.replies[name] = reply
                count += 1
                await asyncio.sleep(max(0.0, began + count * SESSIONS / RATE - time.monotonic()))


def replaced(path: Path, text: str) -> float:
    """As editors do it: a new file takes the old one's name. The moment when that is done."""
    new = path.with_name(".new")
    new.write_text(text)
    os.replace(new, path)
    return time.monotonic()


async def first_use(mx: ScriptedMx, seen: int) -> float:
    async with asyncio.timeout(10):
        while len(mx.received) <= seen:
            await asyncio.sleep(0.002)
    return time.monotonic()


async def test_edits_take_effect_under_load_and_an_invalid_one_changes_nothing(tmp_path: Path) -> None:
    await edited_under_load(tmp_path, edits=4)


@pytest.mark.long
async def test_a_hundred_edits_under_load(tmp_path: Path) -> None:
    await edited_under_load(tmp_path, edits=100)


async def edited_under_load(tmp_path: Path, edits: int) -> None:
    endpoint = Endpoint(f"127.0.0.1:{free_port()}")
    async with AsyncExitStack() as stack:
        hops = [await stack.enter_async_context(ScriptedMx()) for _ in range(2)]
        texts = [SETTINGS.format(port=mx.port, endpoint=endpoint) for mx in hops]
        conf = tmp_path / "conf"
        mta = await stack.enter_async_context(Mtaframe(conf, texts[0]))
        texts = [f'control = "{conf}/control.sock"\n{text}' for text in texts]
        load = Load(endpoint.port)
        clients = [asyncio.create_task(load.session(number)) for number in range(SESSIONS)]
        began, delays = time.monotonic(), []
        await asyncio.sleep(1)
        for turn in [1, 0] * (edits // 2):
            seen = len(hops[turn].received)
            written = replaced(conf / "mtaframe.toml", texts[turn])
            delays.append(await first_use(hops[turn], seen) - written)
            await asyncio.sleep(0.5)
        replaced(conf / "mtaframe.toml", texts[1].replace("next_hop", "nexthop").replace('"mta"', '"mail"'))
        await asyncio.sleep(1)
        seen = len(hops[1].received)
        await asyncio.sleep(1)
        seconds = time.monotonic() - began
        load.stopped = True
        await asyncio.gather(*clients)
    copies = Counter(received.raw.split(b"<")[1].split(b"@")[0].decode() for mx in hops for received in mx.received)
    assert len(load.replies) > seconds * RATE / 3, "the load was too small to say anything"
    assert not load.dropped
    assert {reply[:9] for reply in load.replies.values()} == {"250 2.0.0"}
    assert copies == Counter(list(load.replies)), "each message exactly once"
    assert max(delays) < 1.0, delays
    assert len(hops[1].received) == seen, "an invalid file changed something"
    assert 'mtaframe.toml:4: route.nexthop: unknown key "nexthop"; did you mean "next_hop"?' in mta.log
    assert "listener.0.kind" in mta.log
    assert "Traceback" not in mta.log
    print(f"{len(load.replies)} messages, edits in use after {', '.join(f'{delay * 1000:.0f} ms' for delay in delays)}")
