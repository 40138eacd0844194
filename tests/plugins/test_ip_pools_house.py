"""A whole house on four addresses of this machine: the MX sees who comes, under which name, and who no longer comes."""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mtaframe import AccountStanding, Event, EventType, Plugin, RestingSources, RestSource, Standing, hookimpl
from mtaframe.assembly import read
from mtaframe.cli import main
from mtaframe.cli.check import faults_of
from mtaframe.testing import House, ScriptedDns, ScriptedMx, running
from tests.dialogue import Dialogue

SETTINGS = """
hostname = "mta.example.com"
plugins = ["ip_pools"{more}]

[route]
port = {mx}
tls = "off"

[dns]
servers = ["{dns}"]

[[listener]]
name = "in"
kind = "mta"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
"""
ACCOUNTS = """
[[account]]
name = "shop"
domains = ["shop.example"]
[[account]]
name = "bank"
domains = ["bank.example"]
"""
SOURCES = "".join(
    f"""
[[source]]
name = "s{number}"
address = "127.0.1.{number}"
ehlo = "s{number}.example.com"
"""
    for number in (1, 2, 3, 4)
)
POOLS = """
[[pool]]
name = "good"
sources = { s1 = 1, s2 = 1, s3 = 2 }
[[pool]]
name = "poor"
sources = ["s4"]
"""
NAMES = {f"127.0.1.{number}": f"s{number}.example.com" for number in (1, 2, 3, 4)}
ZONE = {"example.net": {"MX": [(10, "mx.example.net.")]}, "mx.example.net": {"A": ["127.0.0.1"]}}


class Witness(Plugin):
    """Notes at which message a source began to rest, and what it was told."""

    told: tuple[Mapping[str, Any], ...] = ()

    @hookimpl
    def on_event(self, event: Event) -> None:
        if event.type is EventType.SOURCE_RESTED:
            type(self).told += (dict(event.data),)


class Judge(Plugin):
    """Answers as thresholds would: the bank is limited."""

    def answers(self) -> Any:
        return {AccountStanding: self.judged}

    async def judged(self, question: AccountStanding) -> Standing:
        return Standing.LIMITED if question.account == "bank" else Standing.GOOD


@asynccontextmanager
async def a_house(tmp_path: Path, ip_pools: str, **plugins: type[Plugin]) -> AsyncIterator[tuple[House, ScriptedMx]]:
    async with ScriptedMx() as mx, ScriptedDns(ZONE) as dns:
        more = "".join(f', "{name}"' for name in plugins)
        files = {
            "mtaframe.toml": SETTINGS.format(more=more, mx=mx.port, dns=dns.server),
            "accounts.toml": ACCOUNTS,
            "ip_pools.toml": ip_pools,
        }
        async with running(tmp_path, files, plugins=plugins) as house:
            yield house, mx
        assert mx.faults == []


async def send(house: House, count: int, *, sender: str = "a@shop.example", first: int = 0) -> None:
    async with Dialogue(house.port("in")) as client:
        for number in range(first, first + count):
            reply = await client.mail(f"user{number}@example.net", sender=sender)
            if reply.startswith("451 4.3.2 the outgoing address rests"):  # since its route was chosen
                reply = await client.mail(f"user{number}@example.net", sender=sender)
            assert reply.startswith("250 "), reply


async def asked(house: House, question: Any) -> Any:
    assert house.mta.generation is not None
    return await house.mta.generation.plugins.ask(question)


def clients(mx: ScriptedMx, start: int = 0) -> Counter[str]:
    return Counter(received.client for received in mx.received[start:])


async def test_the_mx_sees_the_sources_by_weight_each_under_its_own_name(tmp_path: Path) -> None:
    async with a_house(tmp_path, f'default_pool = "good"\n{SOURCES}{POOLS}') as (house, mx):
        await send(house, 120)
    assert {(received.client, received.ehlo) for received in mx.received} == set(list(NAMES.items())[:3])
    seen = clients(mx)
    assert sum(seen.values()) == 120
    assert seen["127.0.1.3"] > seen["127.0.1.1"]


async def test_nothing_goes_out_by_a_source_after_the_event_and_only_its_share_moves(tmp_path: Path) -> None:
    Witness.told = ()
    async with a_house(tmp_path, f'default_pool = "good"\n{SOURCES}{POOLS}', witness=Witness) as (house, mx):
        await send(house, 100)
        before = {received.recipients[0]: received.client for received in mx.received}
        sending = asyncio.create_task(send(house, 100, first=100))
        await mx.until(lambda: mx.messages >= 130)
        assert await asked(house, RestSource("s3", 3600.0))
        resting_from = mx.messages
        await sending
        assert Witness.told == ({"source": "s3", "seconds": 3600.0},)
        assert await asked(house, RestingSources()) == {"s3"}
        # One message may have been on the wire already: clients say one thing at a time.
        assert clients(mx, resting_from + 1)["127.0.1.3"] == 0
        assert clients(mx)["127.0.1.3"] > 20

        start = mx.messages
        await send(house, 100)
        moved = {received.recipients[0]: received.client for received in mx.received[start:]}
        assert {client for to, client in moved.items() if before[to] == "127.0.1.3"} == {"127.0.1.1", "127.0.1.2"}
        assert all(moved[to] == client for to, client in before.items() if client != "127.0.1.3")


async def test_a_limited_account_goes_by_the_limited_pool(tmp_path: Path) -> None:
    text = f'default_pool = "good"\nlimited_pool = "poor"\n{SOURCES}{POOLS}'
    async with a_house(tmp_path, text, judge=Judge) as (house, mx):
        await send(house, 10, sender="a@bank.example")
        assert set(clients(mx)) == {"127.0.1.4"}
        await send(house, 10)
        assert "127.0.1.4" not in clients(mx, 10)


async def test_when_no_address_is_left_the_client_keeps_its_mail(tmp_path: Path) -> None:
    async with a_house(tmp_path, f'default_pool = "poor"\n{SOURCES}{POOLS}') as (house, mx):
        await asked(house, RestSource("s4", 60.0))
        async with Dialogue(house.port("in")) as client:
            reply = await client.mail("bob@example.net")
        assert reply == "451 4.3.2 no outgoing address is available now"
    assert mx.connections == 0


async def test_a_reload_takes_up_pools_at_once_and_keeps_rests(tmp_path: Path) -> None:
    async with a_house(tmp_path, f'default_pool = "poor"\n{SOURCES}{POOLS}') as (house, mx):
        await send(house, 5)
        assert set(clients(mx)) == {"127.0.1.4"}
        await asked(house, RestSource("s1", 3600.0))
        house.write("ip_pools.toml", f'default_pool = "good"\n{SOURCES}{POOLS}')
        assert await house.mta.reload()
        await send(house, 40)
        assert set(clients(mx, 5)) == {"127.0.1.2", "127.0.1.3"}
        house.write("ip_pools.toml", f'default_pool = "god"\n{SOURCES}{POOLS}')
        assert not await house.mta.reload()
        await send(house, 5)
        assert "127.0.1.4" not in clients(mx, 5)


async def test_check_names_a_source_that_is_not_on_this_host(tmp_path: Path) -> None:
    away = SOURCES.replace("127.0.1.4", "192.0.2.4")
    (tmp_path / "mtaframe.toml").write_text(SETTINGS.format(more="", mx=25, dns="127.0.0.1"))
    (tmp_path / "ip_pools.toml").write_text(f'default_pool = "good"\n{away}{POOLS}')
    (fault,) = await faults_of(tmp_path)
    assert (fault.kind, fault.key) == ("warning", "ip_pools")
    assert fault.text == "source not used source=s4: its address is not on this host"
    (tmp_path / "ip_pools.toml").write_text(f'missing = "error"\n{away}{POOLS}')
    (fault,) = await faults_of(tmp_path)
    assert fault.kind == "error"
    assert "not on this host" in fault.text
    assert '"s4"' in fault.text


async def egress(house: House, *words: str) -> str:
    """What the program prints; a fault, what it says on the standard error."""
    program = "from mtaframe.cli import main; main(prog_name='mtaframe')"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, "--conf", str(house.folder), "egress", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, fault = await process.communicate()
    return (out if process.returncode == 0 else fault).decode()


async def test_an_operator_sees_explains_rests_and_resumes(tmp_path: Path) -> None:
    async with a_house(tmp_path, f'default_pool = "good"\n{SOURCES}{POOLS}') as (house, mx):
        words = ("explain", "user1@example.net", "--account", "shop", "--from", "shop.example", "--json")
        told = json.loads(await egress(house, *words))
        await send(house, 2)
        (received,) = (each for each in mx.received if each.recipients == ["user1@example.net"])
        source = told["source"]
        assert received.ehlo == f"{source}.example.com"
        assert [row["state"] for row in told["order"]] == ["at work"] * 3

        assert (await egress(house, "rest", source, "--for", "2h")).startswith(f"{source} rests until ")
        after = json.loads(await egress(house, *words))
        assert after["source"] == told["order"][1]["source"]
        table = (await egress(house, "show")).splitlines()
        assert table[0].split() == ["pool", "source", "address", "ehlo", "weight", "share", "state", "delivered"]
        assert sum("rests until" in line for line in table) == 1
        assert await egress(house, "resume", source) == f"{source}: at work\n"
        assert await egress(house, "rest", "s9") == (
            'mtaframe: there is no source "s9"; `mtaframe egress show` names them\n'
        )


def test_the_commands_stand_under_their_word_and_under_the_plugins_name(tmp_path: Path) -> None:
    (tmp_path / "mtaframe.toml").write_text('plugins = ["ip_pools"]')
    run = CliRunner().invoke
    text = run(main, ["--help"], env={"MTAFRAME_CONF": str(tmp_path)}).stdout
    assert re.search(r"Commands of plugins:\n +egress  Which address mail leaves by", text)
    for word in ("egress", "ip_pools"):
        text = run(main, ["--conf", str(tmp_path), word, "--help"]).stdout
        assert all(f"  {name} " in text for name in ("explain", "rest", "resume", "show"))
    text = run(main, ["--conf", str(tmp_path), "egress", "explain", "--help"]).stdout
    assert "--from TEXT" in text
    assert "The sender's domain, or whole address." in text
    (tmp_path / "mtaframe.toml").write_text("plugins = []")
    asked = run(main, ["--conf", str(tmp_path), "egress", "show"], standalone_mode=False)
    assert isinstance(asked.exception, click.UsageError)


async def test_the_hook_costs_little(tmp_path: Path) -> None:
    """A bound with room for a slow machine: what is meant stands in the docs."""
    from mtaframe.testing import RecordingMta, delivery, route
    from mtaframe_plugins.ip_pools import IpPools

    (tmp_path / "mtaframe.toml").write_text('plugins = ["ip_pools"]')
    (tmp_path / "ip_pools.toml").write_text(f'default_pool = "good"\n{SOURCES}{POOLS}')
    pools = IpPools(read(tmp_path).plugins["ip_pools"], RecordingMta())
    copy, before = delivery(), route()
    began = time.process_time()
    for _ in range(2000):
        await pools.route(copy, before)
    assert (time.process_time() - began) / 2000 < 200e-6


@pytest.mark.long
async def test_a_rest_under_load(tmp_path: Path) -> None:
    """Ten clients at once: behind what was under way at the event, nothing comes from the source any more."""
    async with a_house(tmp_path, f'default_pool = "good"\n{SOURCES}{POOLS}') as (house, mx):
        sending = [asyncio.create_task(send(house, 300, first=n * 300)) for n in range(10)]
        await mx.until(lambda: mx.messages >= 1000, timeout=60)
        await asked(house, RestSource("s3", 3600.0))
        resting_from = mx.messages
        await asyncio.gather(*sending)
        assert clients(mx, resting_from + 10)["127.0.1.3"] == 0
        assert mx.messages == 3000
