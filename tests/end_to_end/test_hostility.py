"""An honest client among two hundred that are not; and what smugglers reach at a real Postfix."""

import asyncio
import os
import signal
import statistics
import sys
from pathlib import Path

import pytest

from mtaframe.accounts import hash_password
from mtaframe.notation import Endpoint
from mtaframe.testing import ScriptedMx
from tests.conftest import ROOT
from tests.core.test_smuggling import ENDS, send
from tests.dialogue import Dialogue
from tests.end_to_end.chain import Mtaframe
from tests.end_to_end.conftest import StartPostfix

SETTINGS = """
workers = 2
drain = "1s"
[state]
backend = "memory"
[route]
next_hop = "127.0.0.1"
port = {hop}
tls = "off"
[clients]
max_per_address = 4
auth_failures = 3
[[listener]]
name = "smtp"
kind = "mta"
addresses = ["{endpoint}"]
trusted = ["127.0.0.1"]
relay_domains = ["example.net"]
auth_without_tls = true
idle_timeout = "1s"
"""
MENDING = """
[[listener]]
name = "mending"
kind = "mta"
addresses = ["{endpoint}"]
trusted = ["127.0.0.1"]
bare_newline = "{bare_newline}"
"""


@pytest.mark.parametrize(("count", "mails"), [(60, 20), pytest.param(200, 50, marks=pytest.mark.long)])
async def test_an_honest_client_is_served_among_many_that_are_not(
    endpoint: Endpoint, tmp_path: Path, count: int, mails: int
) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    secret = f'[[account]]\nname = "shop"\n[[account.credential]]\nuser = "shop"\nhash = "{hash_password("secret")}"\n'
    (folder / "accounts.toml").write_text(secret)
    took: list[float] = []
    loop = asyncio.get_running_loop()
    async with ScriptedMx() as mx, Mtaframe(folder, SETTINGS.format(hop=mx.port, endpoint=endpoint)) as mta:
        before = await mta.status()
        crowd = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.end_to_end.crowd", str(endpoint.port), str(count)), cwd=ROOT
        )
        try:
            async with asyncio.timeout(20):
                while (await mta.status())["connections"] < count / 4:
                    await asyncio.sleep(0.1)
            for _ in range(mails):
                begun = loop.time()
                async with Dialogue(endpoint.port) as client:
                    assert (await client.mail("bob@example.net"))[:3] == "250"
                took.append(loop.time() - begun)
            async with asyncio.timeout(20):
                while "logins banned" not in mta.log:
                    await asyncio.sleep(0.1)
            assert crowd.returncode is None
        finally:
            crowd.kill()
            await crowd.wait()
        async with asyncio.timeout(20):
            while (after := await mta.status())["connections"]:
                await asyncio.sleep(0.1)
    assert [worker["pid"] for worker in after["workers"]] == [worker["pid"] for worker in before["workers"]]
    assert mx.messages == mails
    assert statistics.median(took) < 1
    assert max(took) < 3
    assert "logins banned" in mta.log
    assert "internal_error" not in mta.log
    assert "127.1." not in mta.log


async def test_workers_count_together_and_a_worker_that_dies_takes_its_clients_along(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    async def banners(count: int) -> list[bytes]:
        found = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port, local_addr=("127.2.2.2", 0))
            writers.append(writer)
            found.append((await asyncio.wait_for(reader.readline(), 10))[:9])
        return sorted(found)

    async def connections(total: int) -> list[tuple[int, int]]:
        """By worker, once there are so many and two workers."""
        async with asyncio.timeout(20):
            while True:
                found = [(worker["pid"], worker["connections"] or 0) for worker in (await mta.status())["workers"]]
                if len(found) == 2 and sum(count for _, count in found) == total:
                    return found
                await asyncio.sleep(0.1)

    writers: list[asyncio.StreamWriter] = []
    text = SETTINGS.replace('idle_timeout = "1s"', "")
    async with Mtaframe(tmp_path / "conf", text.format(hop=1, endpoint=endpoint)) as mta:
        assert [banner[:3] for banner in await banners(6)] == [b"220"] * 4 + [b"421"] * 2
        victim, survivor = await connections(4)
        os.kill(victim[0], signal.SIGKILL)
        await connections(survivor[1])
        assert [banner[:3] for banner in await banners(5)] == [b"220"] * victim[1] + [b"421"] * (5 - victim[1])
        for writer in writers:
            writer.close()


@pytest.mark.parametrize("bare_newline", ["reject", "normalize"])
async def test_postfix_gets_one_message_of_each_smuggler_or_none(
    endpoint: Endpoint, tmp_path: Path, start_postfix: StartPostfix, bare_newline: str
) -> None:
    """Postfix as it was before 2023, without ``smtpd_forbid_bare_newline``; what it queues is counted."""
    async with ScriptedMx() as last:
        postfix = await start_postfix(
            relay=f"smtp:[{last.host}]:{last.port}",
            main={"smtpd_forbid_bare_newline": "no", "smtpd_forbid_unauth_pipelining": "no"},
        )
        text = SETTINGS.split("[clients]")[0].format(hop=postfix.port)
        text += MENDING.format(endpoint=endpoint, bare_newline=bare_newline)
        async with Mtaframe(tmp_path / "conf", text):
            for end in ENDS.values():
                await send(endpoint.port, "as one", end)
        await postfix.emptied()
        clean = [end for end in ENDS.values() if b"\0" not in end]
        if bare_newline == "reject":
            clean = [end for end in clean if not {10, 13} & set(end.replace(b"\r\n", b""))]
        assert last.messages == len(clean)
        assert {received.reverse_path for received in last.received} == {"a@example.org"}
        assert {to for received in last.received for to in received.recipients} == {"b@example.net"}
