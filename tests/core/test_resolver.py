"""The resolver against a scripted name server on real sockets."""

import asyncio
import gc
from pathlib import Path

import pytest

from mtaframe import DnsError
from mtaframe.resolver import CACHE_SIZE, DnsResolver, literal, name_server
from mtaframe.settings import DnsSettings
from mtaframe.testing import ScriptedDns, VirtualClock

ZONE = {
    "example.com": {"MX": [(20, "b.example.com."), (10, "a.example.com.")], "TXT": ["v=spf1 -all", "x" * 700]},
    "a.example.com": {"A": ["127.0.0.1", "127.0.0.2"], "AAAA": ["::1"]},
    "b.example.com": {"A": ["127.0.0.3"]},
    "null.example": {"MX": [(0, ".")]},
    "alias.example": {"CNAME": "example.com."},
    "dangling.example": {"CNAME": "nowhere.example."},
    "loop.example": {"CNAME": "pool.example."},
    "pool.example": {"CNAME": "loop.example."},
    "xn--bcher-kva.example": {"MX": [(5, "MX.Example.com.")]},
    "deep.empty.example": {"A": ["127.0.0.1"]},
}


def resolver(dns: ScriptedDns, clock: VirtualClock | None = None, timeout: float = 2.0, **more: Path) -> DnsResolver:
    settings = DnsSettings(servers=(dns.server,), timeout=f"{timeout}s")
    return DnsResolver(settings, clock or VirtualClock(), **more)


async def test_mx_comes_best_first() -> None:
    async with ScriptedDns(ZONE) as dns:
        assert await resolver(dns).mx("example.com") == [(10, "a.example.com"), (20, "b.example.com")]
        assert await resolver(dns).mx("EXAMPLE.com.") == [(10, "a.example.com"), (20, "b.example.com")]


async def test_null_mx_is_an_empty_host() -> None:
    async with ScriptedDns(ZONE) as dns:
        assert await resolver(dns).mx("null.example") == [(0, "")]
        assert list(await resolver(dns).addresses("")) == []


@pytest.mark.parametrize("domain", ["absent.example", "a.example.com", "empty.example", "dangling.example"])
async def test_no_such_domain_and_no_such_record_are_empty(domain: str) -> None:
    async with ScriptedDns(ZONE) as dns:
        assert list(await resolver(dns).mx(domain)) == []


async def test_aliases_are_followed() -> None:
    async with ScriptedDns(ZONE) as dns:
        assert await resolver(dns).mx("alias.example") == [(10, "a.example.com"), (20, "b.example.com")]


async def test_a_loop_of_aliases_ends_in_try_again() -> None:
    async with ScriptedDns(ZONE) as dns:
        with pytest.raises(DnsError):
            await resolver(dns).mx("loop.example")


async def test_both_families_come_ipv6_first_and_are_asked_at_once() -> None:
    async with ScriptedDns(ZONE) as dns:
        dns.delay = 0.2
        began = asyncio.get_running_loop().time()
        first, *rest = await resolver(dns).addresses("a.example.com")
        assert (first, set(rest)) == ("::1", {"127.0.0.1", "127.0.0.2"})
        assert asyncio.get_running_loop().time() - began < 0.39


async def test_one_family_failing_leaves_the_other() -> None:
    async with ScriptedDns(ZONE) as dns:
        dns.fail("a.example.com", "SERVFAIL", only="AAAA")
        assert set(await resolver(dns).addresses("a.example.com")) == {"127.0.0.1", "127.0.0.2"}


async def test_one_family_failing_and_none_in_the_other_is_not_a_final_no() -> None:
    async with ScriptedDns(ZONE) as dns:
        dns.fail("b.example.com", "SERVFAIL", only="A")
        with pytest.raises(DnsError):
            await resolver(dns).addresses("b.example.com")


async def test_both_families_failing_is_an_error() -> None:
    async with ScriptedDns(ZONE) as dns:
        dns.fail("a.example.com", "REFUSED")
        with pytest.raises(DnsError):
            await resolver(dns).addresses("a.example.com")


@pytest.mark.parametrize("failure", ["SERVFAIL", "REFUSED", "FORMERR", "TIMEOUT", "MALFORMED"])
async def test_a_failure_is_an_error_that_names_no_domain(failure: str) -> None:
    async with ScriptedDns(ZONE) as dns:
        dns.fail("example.com", failure)
        asked = resolver(dns, timeout=0.4)
        with pytest.raises(DnsError) as caught:
            await asked.mx("example.com")
        assert "example" not in f"{caught.value!r}{caught.value.__cause__!r}"
        dns.heal()
        assert await asked.mx("example.com"), "a failure is not remembered"


async def test_txt_strings_are_joined_and_long_answers_come_by_tcp() -> None:
    async with ScriptedDns({"example.com": {"TXT": ["é" + "x" * 2000, 'a"b\\c']}}) as dns:
        assert set(await resolver(dns).txt("example.com")) == {"é" + "x" * 2000, 'a"b\\c'}
        assert dns.tcp_questions == [("example.com", "TXT")]


async def test_a_u_label_is_asked_as_an_a_label() -> None:
    async with ScriptedDns(ZONE) as dns:
        assert await resolver(dns).mx("Bücher.example") == [(5, "mx.example.com")]
        assert dns.questions == [("xn--bcher-kva.example", "MX")]


@pytest.mark.parametrize("domain", ["a..example", "x" * 64 + ".example", "-\u2028.example", ".".join(["abcdefg"] * 40)])
async def test_a_name_that_cannot_exist_is_empty_and_not_asked(domain: str) -> None:
    async with ScriptedDns(ZONE) as dns:
        assert list(await resolver(dns).mx(domain)) == []
        assert list(await resolver(dns).addresses(domain)) == []
        assert dns.questions == []


async def test_literals_are_their_own_answer() -> None:
    async with ScriptedDns() as dns:
        asked = resolver(dns)
        for host, address in [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[192.0.2.1]", "192.0.2.1"),
            ("[IPv6:2001:db8::1]", "2001:db8::1"),
        ]:
            assert list(await asked.addresses(host)) == [address]
            assert list(await asked.mx(host)) == []
        assert dns.questions == []
    assert literal("[example.com]") is None


async def test_names_without_a_dot_are_looked_up_in_the_hosts_file_first(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.9 box # box2\n::9\tbox BOX\nnonsense box\n127.0.0.1 dotted.example\n")
    async with ScriptedDns({"other": {"A": ["127.0.0.7"]}}) as dns:
        asked = resolver(dns, hosts_file=hosts)
        assert list(await asked.addresses("Box")) == ["::9", "127.0.0.9"]
        assert list(await asked.addresses("localhost")) == ["::1", "127.0.0.1"]
        assert dns.questions == []
        assert list(await asked.addresses("other")) == ["127.0.0.7"]
        assert list(await asked.addresses("dotted.example")) == []


async def test_answers_are_kept_for_their_ttl() -> None:
    clock = VirtualClock()
    async with ScriptedDns({"example.com": {"MX": [(1, "a.example.")], "TTL": 100}}, negative_ttl=40) as dns:
        asked = resolver(dns, clock)
        for _ in range(3):
            await asked.mx("example.com")
            await asked.txt("example.com")
            await asked.mx("absent.example")
        assert len(dns.questions) == 3
        clock.advance(41)
        await asked.mx("example.com")
        assert len(dns.questions) == 3
        await asked.txt("example.com")
        await asked.mx("absent.example")
        assert len(dns.questions) == 5
        clock.advance(60)
        await asked.mx("example.com")
        assert len(dns.questions) == 6


async def test_ttls_have_bounds() -> None:
    clock = VirtualClock()
    zone = {"long.example": {"MX": [(1, "a.example.")], "TTL": 10**6}, "zero.example": {"MX": [(1, "a.")], "TTL": 0}}
    async with ScriptedDns(zone, negative_ttl=10**6) as dns:
        asked = resolver(dns, clock)
        for name in ("long.example", "zero.example", "zero.example", "absent.example"):
            await asked.mx(name)
        assert len(dns.questions) == 3
        clock.advance(301)
        await asked.mx("absent.example")
        assert len(dns.questions) == 4, "a negative answer is asked again soon"
        clock.advance(86_400)
        await asked.mx("long.example")
        assert len(dns.questions) == 5


async def test_the_cache_is_bounded_and_drops_the_least_recently_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CACHE_SIZE >= 1000
    monkeypatch.setattr("mtaframe.resolver.CACHE_SIZE", 2)
    async with ScriptedDns() as dns:
        asked = resolver(dns)
        for name in ("a.example", "b.example", "a.example", "c.example", "a.example", "b.example"):
            await asked.mx(name)
        assert [name[0] for name, _ in dns.questions] == ["a", "b", "c", "b"]


async def test_equal_questions_share_one_flight() -> None:
    async with ScriptedDns(ZONE) as dns:
        dns.delay = 0.05
        asked = resolver(dns)
        answers = await asyncio.gather(*(asked.mx("example.com") for _ in range(200)))
        assert len(dns.questions) == 1
        assert all(answer == answers[0] for answer in answers)


async def test_a_shared_failure_reaches_every_waiter() -> None:
    async with ScriptedDns(ZONE) as dns:
        dns.delay = 0.05
        dns.fail("example.com", "SERVFAIL")
        asked = resolver(dns)
        answers = await asyncio.gather(*(asked.mx("example.com") for _ in range(5)), return_exceptions=True)
        assert len(dns.questions) == 1
        assert [type(answer) for answer in answers] == [DnsError] * 5
        assert len({id(answer) for answer in answers}) == 5


async def test_a_waiter_that_is_cancelled_leaves_the_flight_to_the_others() -> None:
    async with ScriptedDns(ZONE) as dns:
        dns.delay = 0.1
        asked = resolver(dns)
        first, second = asyncio.create_task(asked.mx("example.com")), asyncio.create_task(asked.mx("example.com"))
        await asyncio.sleep(0.02)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second == [(10, "a.example.com"), (20, "b.example.com")]
        assert len(dns.questions) == 1


async def test_close_ends_flights_with_an_error_and_leaves_no_task() -> None:
    async with ScriptedDns(ZONE) as dns:
        dns.fail("example.com", "TIMEOUT")
        asked = resolver(dns, timeout=30)
        waiting = [asyncio.create_task(asked.mx("example.com")), asyncio.create_task(asked.addresses("example.com"))]
        await asyncio.sleep(0.05)
        await asked.close()
        for waiter in waiting:
            with pytest.raises(DnsError):
                await waiter
        with pytest.raises(DnsError):
            await asked.mx("b.example.com")
        assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect()


async def test_a_second_server_is_asked_when_the_first_is_silent() -> None:
    async with ScriptedDns() as silent, ScriptedDns(ZONE) as dns:
        silent.fail("example.com", "TIMEOUT")
        settings = DnsSettings(servers=(silent.server, dns.server), timeout="1s")
        assert await DnsResolver(settings, VirtualClock()).mx("example.com")


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("127.0.0.1", ("127.0.0.1", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("::1", ("::1", 53)),
        ("[::1]", ("::1", 53)),
        ("[::1]:5353", ("::1", 5353)),
    ],
)
def test_how_a_server_is_written(text: str, server: tuple[str, int]) -> None:
    assert name_server(text) == server


@pytest.mark.parametrize("text", ["", "dns.example.com", "127.0.0.1:", "127.0.0.1:x", "[::1]5353", "127.0.0.1:70000"])
def test_what_is_no_server(text: str) -> None:
    with pytest.raises(ValueError, match="name server is written"):
        DnsResolver(DnsSettings(servers=(text,)), VirtualClock())


def test_without_servers_the_systems_are_asked() -> None:
    DnsResolver(DnsSettings(), VirtualClock())
