"""Which hosts are tried, in which order, and what it means that there is none."""

import errno
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from mtaframe import Outcome, Source
from mtaframe.clock import SystemClock
from mtaframe.resolver import DnsResolver
from mtaframe.settings import DnsSettings
from mtaframe.testing import DROP, HANG, ScriptedDns, ScriptedMx, route
from tests.core.sending import HOSTNAME, Names, sender

DELIVERED, DEFERRED, FAILED = Outcome.DELIVERED, Outcome.DEFERRED, Outcome.FAILED
MX = {"example.net": [(20, "second.example.net"), (10, "first.example.net")]}
HOSTS = {"first.example.net": ["127.0.0.2"], "second.example.net": ["127.0.0.3"]}
TWO = ("a@example.net", "b@example.net")


@pytest.fixture
async def hosts() -> AsyncIterator[tuple[ScriptedMx, ScriptedMx]]:
    """Two hosts on one port."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(ScriptedMx(host="127.0.0.2"))
        second = await stack.enter_async_context(ScriptedMx(host="127.0.0.3", port=first.port))
        yield first, second


async def test_the_best_preference_is_asked_first(hosts: Any) -> None:
    async with sender(Names(MX, HOSTS)) as out:
        (result,) = await out.send(route(port=hosts[0].port))
    assert (result.outcome, result.remote) == (DELIVERED, "first.example.net")
    assert (hosts[0].messages, hosts[1].connections) == (1, 0)


@pytest.mark.parametrize("stage", ["connect", "ehlo", "mail", "rcpt", "data"])
@pytest.mark.parametrize("trouble", ["450 4.2.0 later", "421 4.3.2 closing", DROP, HANG])
async def test_before_the_dot_the_next_host_is_asked(hosts: Any, stage: str, trouble: Any) -> None:
    hosts[0].script(stage, trouble, always=True)
    async with sender(Names(MX, HOSTS), command_timeout="200ms") as out:
        (result,) = await out.send(route(port=hosts[0].port))
    assert (result.outcome, result.remote) == (DELIVERED, "second.example.net")


@pytest.mark.parametrize("trouble", ["450 4.2.0 later", "421 4.3.2 closing", DROP, HANG])
async def test_after_the_dot_nobody_else_is_asked(hosts: Any, trouble: Any) -> None:
    hosts[0].script("dot", trouble)
    async with sender(Names(MX, HOSTS), dot_timeout="200ms") as out:
        (result,) = await out.send(route(port=hosts[0].port))
    assert (result.outcome, result.remote) == (DEFERRED, "first.example.net")
    assert hosts[1].connections == 0


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
async def test_a_final_refusal_is_final_at_the_first_host(hosts: Any, stage: str) -> None:
    hosts[0].script(stage, "550 5.7.1 no")
    async with sender(Names(MX, HOSTS)) as out:
        (result,) = await out.send(route(port=hosts[0].port))
    assert (result.outcome, result.reply.line) == (FAILED, "550 5.7.1 no")
    assert hosts[1].connections == 0


async def test_a_host_that_refuses_connections_is_passed_over(hosts: Any) -> None:
    await hosts[0].close()
    async with sender(Names(MX, HOSTS)) as out:
        (result,) = await out.send(route(port=hosts[1].port))
    assert (result.outcome, result.remote) == (DELIVERED, "second.example.net")


async def test_only_the_recipients_put_off_go_to_the_next_host(hosts: Any) -> None:
    hosts[0].script("rcpt", "450 4.2.0 greylisted", to=TWO[1])
    async with sender(Names(MX, HOSTS)) as out:
        results = await out.send(route(port=hosts[0].port), *TWO)
    assert [result.remote for result in results] == ["first.example.net", "second.example.net"]
    assert hosts[0].received[0].recipients == [TWO[0]]
    assert hosts[1].received[0].recipients == [TWO[1]]


async def test_what_a_host_said_is_told_rather_than_the_connection_that_failed_later(hosts: Any) -> None:
    hosts[0].script("rcpt", "450 4.2.0 greylisted")
    await hosts[1].close()
    async with sender(Names(MX, HOSTS)) as out:
        (result,) = await out.send(route(port=hosts[0].port))
    assert (result.reply.line, result.remote) == ("450 4.2.0 greylisted", "first.example.net")


async def test_hosts_of_one_preference_share_the_load(hosts: Any) -> None:
    names = Names({"example.net": [(10, "first.example.net"), (10, "second.example.net")]}, HOSTS)
    async with sender(names) as out:
        for _ in range(40):
            await out.send(route(port=hosts[0].port))
    assert hosts[0].messages > 3
    assert hosts[1].messages > 3


async def test_all_addresses_of_a_host_are_tried(hosts: Any) -> None:
    await hosts[0].close()
    names = Names({"example.net": [(10, "mx.example.net")]}, {"mx.example.net": ["127.0.0.2", "127.0.0.3"]})
    async with sender(names) as out:
        (result,) = await out.send(route(port=hosts[1].port))
    assert (result.outcome, result.remote) == (DELIVERED, "mx.example.net")


@pytest.mark.parametrize(
    ("names", "outcome", "line"),
    [
        (Names({"example.net": [(0, "")]}), FAILED, "556 5.1.10"),
        (Names({"example.net": [(0, ".")]}), FAILED, "556 5.1.10"),
        (Names(), FAILED, "550 5.1.2"),
        (Names(MX), FAILED, "550 5.1.2"),
        (Names(failing=["example.net"]), DEFERRED, "451 4.4.3"),
        (Names(MX, failing=["first.example.net"]), DEFERRED, "451 4.4.3"),
        (Names({"example.net": [(5, HOSTNAME), (10, "first.example.net")]}, HOSTS), FAILED, "554 5.4.6"),
    ],
)
async def test_dns_says_that_there_is_no_way(names: Names, outcome: Outcome, line: str) -> None:
    async with sender(names) as out:
        (result,) = await out.send(route())
    assert result.outcome is outcome
    assert result.reply.line.startswith(line)
    assert result.remote is None


async def test_without_an_mx_the_domain_itself_is_the_host(hosts: Any) -> None:
    async with sender(Names(hosts={"example.net": ["127.0.0.2"]})) as out:
        (result,) = await out.send(route(port=hosts[0].port))
    assert (result.outcome, result.remote) == (DELIVERED, "example.net")


async def test_a_domain_in_u_labels_is_looked_up_in_a_labels() -> None:
    names = Names()
    async with sender(names) as out:
        await out.send(route(), "bob@bücher.example")
    assert names.asked[0] == "MX xn--bcher-kva.example"


@pytest.mark.parametrize("by", ["name", "address"])
async def test_ourselves_and_worse_hosts_are_dropped(hosts: Any, by: str) -> None:
    """RFC 5321 §5.1: a host of a better preference may be asked, ourselves and what is behind us not."""
    us = HOSTNAME if by == "name" else "alias.example.net"
    records = {"example.net": [(10, "first.example.net"), (20, us), (30, "second.example.net")]}
    names = Names(records, {**HOSTS, HOSTNAME: ["192.0.2.1"], "alias.example.net": ["192.0.2.1"]})
    hosts[0].script("rcpt", "450 4.2.0 later", always=True)
    async with sender(names) as out:
        (result,) = await out.send(route(port=hosts[0].port))
    assert (result.outcome, result.remote) == (DEFERRED, "first.example.net")
    assert "A second.example.net" not in names.asked


@pytest.mark.parametrize("source", [None, Source("one", "192.0.2.2", "one.example.com")])
async def test_an_mx_at_our_own_address_is_a_loop(source: Source | None) -> None:
    address = "192.0.2.2" if source else "192.0.2.1"
    names = Names(
        {"example.net": [(10, "alias.example.net")]}, {"alias.example.net": [address], HOSTNAME: ["192.0.2.1"]}
    )
    async with sender(names) as out:
        (result,) = await out.send(route(source=source))
    assert (result.outcome, result.reply.status) == (FAILED, "5.4.6")


async def test_address_literals_need_no_dns(hosts: Any) -> None:
    names = Names()
    async with sender(names) as out:
        (result,) = await out.send(route(port=hosts[0].port), "bob@[127.0.0.2]")
        assert (result.outcome, result.remote) == (DELIVERED, "[127.0.0.2]")
        (result,) = await out.send(route(port=hosts[0].port), "bob@[999.0.0.2]")
        assert (result.outcome, result.reply.status) == (FAILED, "5.1.2")
    assert not names.asked


async def test_ipv6_only_where_it_is_wanted_and_the_source_can() -> None:
    names = Names(hosts={"example.net": ["::1"]})
    async with ScriptedMx(host="::1") as mx, sender(names) as out:
        (result,) = await out.send(route(port=mx.port))
        assert result.outcome is DELIVERED
        (result,) = await out.send(route(port=mx.port, source=Source("four", "127.0.0.1", "four.example.com")))
        assert (result.outcome, result.reply.status) == (DEFERRED, "4.4.4")
        (result,) = await out.send(route(port=mx.port, source=Source("six", "::1", "six.example.com")))
        assert result.outcome is DELIVERED
        async with sender(names, ipv6=False) as four:
            (result,) = await four.send(route(port=mx.port))
        assert (result.outcome, result.reply.status) == (DEFERRED, "4.4.4")


async def test_a_literal_of_a_family_that_cannot_be_used_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever wrote to [IPv6:…] raised an alarm where mail leaves by an IPv4 source, and went out where IPv6 is off."""
    async with ScriptedMx(host="::1") as mx, sender() as out, sender(ipv6=False) as four:
        to = "bob@[IPv6:::1]"
        source = Source("four", "127.0.0.1", "four.example.com")
        results = [*await out.send(route(port=mx.port, source=source), to), *await four.send(route(port=mx.port), to)]
        assert [(result.outcome, result.reply.status) for result in results] == [(DEFERRED, "4.4.4")] * 2
        (result,) = await out.send(route(port=mx.port), to)
        assert result.outcome is DELIVERED
    assert not caplog.records


@pytest.mark.parametrize("next_hop", ["nowhere.example.com", "[nonsense]"])
async def test_a_configured_next_hop_that_is_not_there_is_our_own_fault(
    next_hop: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with sender() as out:
        (result,) = await out.send(route(next_hop=next_hop))
    assert (result.outcome, result.reply.status) == (DEFERRED, "4.3.5")
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_configured_next_hop_is_asked_for_addresses_not_mx(hosts: Any) -> None:
    names = Names({"relay.example.com": [(1, "wrong.example.com")]}, {"relay.example.com": ["127.0.0.2"]})
    async with sender(names) as out:
        (result,) = await out.send(route(next_hop="relay.example.com", port=hosts[0].port))
        assert (result.outcome, result.remote) == (DELIVERED, "relay.example.com")
        (result,) = await out.send(route(next_hop="[127.0.0.3]", port=hosts[0].port))
        assert result.outcome is DELIVERED
    assert names.asked == ["A relay.example.com"]


async def test_where_the_kernel_has_no_ipv6_the_next_address_is_tried(
    hosts: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The error was taken for a fault of ours: mail to whoever has an AAAA record was deferred, for ever."""

    class Socket(socket.socket):
        def __init__(self, family: int = socket.AF_INET, *more: Any, **named: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *more, **named)

    monkeypatch.setattr(socket, "socket", Socket)
    names = Names(hosts={"example.net": ["::1", "127.0.0.2"]})
    async with sender(names) as out:
        (result,) = await out.send(route(port=hosts[0].port))
    assert result.outcome is DELIVERED
    assert not caplog.records


async def test_slow_hosts_end_with_the_deadline(hosts: Any) -> None:
    for host in hosts:
        host.script("connect", HANG, always=True)
    async with sender(Names(MX, HOSTS)) as out:
        (result,) = await out.send(route(port=hosts[0].port), patience=0.3)
    assert result.outcome is DEFERRED
    assert result.took < 1


async def test_with_the_real_resolver() -> None:
    zone = {
        "example.net": {"MX": [(10, "dead.example.net."), (20, "mx.example.net.")]},
        "dead.example.net": {"A": ["127.0.0.2"]},
        "mx.example.net": {"A": ["127.0.0.1"]},
        "null.example": {"MX": [(0, ".")]},
    }
    async with ScriptedMx() as mx, ScriptedDns(zone) as dns:
        dns.fail("broken.example", "SERVFAIL")
        resolver = DnsResolver(DnsSettings(servers=(dns.server,)), SystemClock())
        async with sender(resolver) as out:
            way = route(port=mx.port)
            (result,) = await out.send(way)
            assert (result.outcome, result.remote) == (DELIVERED, "mx.example.net")
            lines = [(await out.send(way, f"bob@{domain}"))[0].reply.code for domain in ("null.example", "no.example")]
            assert lines == [556, 550]
            (result,) = await out.send(way, "bob@broken.example")
            assert (result.outcome, result.reply.status) == (DEFERRED, "4.4.3")
