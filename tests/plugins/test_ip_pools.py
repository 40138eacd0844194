"""The plugin alone: which pool, which source, rests, commands, and what the configuration refuses."""

import time
from typing import Any

import pytest
from pydantic import ValidationError

from mtaframe import (
    AccountStanding,
    CommandError,
    Defer,
    Delivery,
    EventType,
    Outcome,
    Plugin,
    RestingSources,
    RestSource,
    Route,
    Source,
    Standing,
)
from mtaframe.testing import RecordingMta, VirtualClock, account, delivery, envelope, message, result, route
from mtaframe_plugins.ip_pools import IpPools

SOURCES = ("a1", "a2", "b1", "b2")


def source(name: str, number: int = 1, **keys: Any) -> dict[str, Any]:
    return {"name": name, "address": f"127.0.1.{number}", "ehlo": f"{name}.example.com"} | keys


def pool(name: str, *sources: str, **keys: Any) -> dict[str, Any]:
    return {"name": name, "sources": list(sources)} | keys


def plugin(mta: RecordingMta | None = None, **keys: Any) -> IpPools:
    """Pools "a" and "b" of two sources each, "a" for what no rule fits."""
    settings: dict[str, Any] = {
        "source": [source(name, number) for number, name in enumerate(SOURCES, 1)],
        "pool": [pool("a", "a1", "a2"), pool("b", "b1", "b2")],
        "default_pool": "a",
    }
    return IpPools(IpPools.Config.model_validate(settings | keys), mta or a_house())


def a_house(**keys: Any) -> RecordingMta:
    return RecordingMta(accounts=[account(name) for name in ("shop", "bank")], **keys)


def mail(to: str = "bob@example.net", sender: str | None = "alice@example.com", **keys: Any) -> Delivery:
    fields = keys.pop("fields", None)
    return delivery(to, envelope=envelope([to], reverse_path=sender, **keys), message=message(fields=fields))


async def way(pools: IpPools, copy: Delivery | None = None, before: Route | None = None) -> Route:
    chosen = await pools.route(copy or mail(), before or route())
    assert isinstance(chosen, Route), "no route was chosen"
    return chosen


async def pool_of(pools: IpPools, **keys: Any) -> str | None:
    chosen = await pools.route(mail(**keys), route())
    assert chosen is None or isinstance(chosen, Route)
    return chosen.pool if chosen else None


async def sources_of(pools: IpPools, count: int = 60) -> set[str]:
    return {name_of(await way(pools, mail(f"user{n}@example.net"))) for n in range(count)}


def name_of(chosen: Route) -> str:
    assert chosen.source is not None
    return chosen.source.name


# Which mail gets a source at all.


async def test_a_copy_gets_a_pool_and_a_source_and_all_else_of_the_route_stays() -> None:
    before = Route(next_hop="relay.example.com", port=587)
    chosen = await way(plugin(pool=[pool("a", "a1")]), before=before)
    assert chosen == Route("relay.example.com", 587, pool="a", source=Source("a1", "127.0.1.1", "a1.example.com"))


@pytest.mark.parametrize(
    "before",
    [
        Route(transport="sandbox"),
        Route(next_hop="/run/dovecot/lmtp", transport="lmtp"),
        Route(source=Source("own", "127.0.0.1", "own.example.com")),
    ],
)
async def test_another_transport_a_unix_socket_and_a_source_that_is_there_are_left_alone(before: Route) -> None:
    assert await plugin().route(mail(), before) is None


async def test_smart_hosts_can_be_left_alone() -> None:
    pools = plugin(smart_hosts=False)
    assert await pools.route(mail(), Route(next_hop="relay.example.com")) is None
    assert (await way(pools)).pool == "a"


async def test_without_pools_there_is_no_opinion() -> None:
    empty = IpPools(IpPools.Config(), a_house())
    assert await empty.route(mail(), route()) is None
    assert await empty.show() == []


# Which pool.


@pytest.mark.parametrize(
    ("conditions", "keys", "fits"),
    [
        ({"accounts": ["shop"]}, {"account": "shop"}, True),
        ({"accounts": ["shop"]}, {"account": "bank"}, False),
        ({"accounts": ["shop"]}, {}, False),
        ({"streams": ["news"]}, {"stream": "news"}, True),
        ({"streams": ["news"]}, {"stream": "receipts"}, False),
        ({"streams": ["news"], "accounts": ["shop"]}, {"stream": "news"}, False),
        ({"streams": ["news"], "accounts": ["shop"]}, {"stream": "news", "account": "shop"}, True),
        ({"header": {"name": "X-Kind", "value": "Bulk"}}, {"fields": {"x-kind": " bulk"}}, True),
        ({"header": {"name": "X-Kind", "value": "bulk"}}, {"fields": {"X-Kind": "bulky"}}, False),
        ({"header": {"name": "X-Kind", "value": "bulk"}}, {}, False),
        ({"header": {"name": "List-Id"}}, {"fields": {"List-Id": "<x.example>"}}, True),
        ({"header": {"name": "List-Id"}}, {}, False),
        ({"sender_domains": ["example.com"]}, {}, True),
        ({"sender_domains": [".example.com"]}, {}, False),
        ({"sender_domains": ["*.example.com"]}, {"sender": "x@mail.example.com"}, True),
        ({"sender_domains": ["shop.example"]}, {"fields": {"From": "Shop <x@Shop.Example>"}}, True),
        ({"sender_domains": ["shop.example"]}, {"fields": {"From": "x@shop.example"}, "sender": None}, True),
        ({"sender_domains": ["shop.example"]}, {"fields": {"From": None}, "sender": None}, False),
        ({"sender_domains": ["shop.example"]}, {"sender": "x@badshop.example"}, False),
        ({"recipient_domains": ["Example.NET"]}, {}, True),
        ({"recipient_domains": [".example.net"]}, {}, False),
        ({"recipient_domains": [".example.net"]}, {"to": "bob@a.b.example.net"}, True),
        ({"recipient_domains": ["xn--bcher-kva.example"]}, {"to": "bob@bücher.example"}, True),
        ({"recipient_domains": ["example.org", ".example"]}, {"to": "bob@mail.example"}, True),
    ],
)
async def test_a_rule_by(conditions: dict[str, Any], keys: dict[str, Any], fits: bool) -> None:
    assert await pool_of(plugin(rule=[{"pool": "b"} | conditions]), **keys) == ("b" if fits else "a")


async def test_a_from_field_that_is_no_address_costs_no_time() -> None:
    pools = plugin(rule=[{"pool": "b", "sender_domains": ["shop.example"]}] * 3)
    began = time.process_time()
    assert await pool_of(pools, fields={"From": "x@" + "ä." * 100_000 + "shop.example"}) == "a"
    assert time.process_time() - began < 2


async def test_the_first_rule_that_fits_counts() -> None:
    rules = [{"pool": "b", "streams": ["news"]}, {"pool": "a", "streams": ["news", "x"]}]
    pools = plugin(rule=rules, default_pool=None)
    assert await pool_of(pools, stream="news") == "b"
    assert await pool_of(pools, stream="x") == "a"
    assert await pool_of(pools, stream="y") is None, "no rule, no default_pool: the route stays"


async def test_a_pool_that_is_kept_for_accounts_takes_their_mail_and_nobody_elses() -> None:
    pools = plugin(
        pool=[pool("a", "a1", "a2"), pool("b", "b1", "b2", accounts=["shop"])],
        rule=[{"pool": "b", "sender_domains": ["shop.example"]}, {"pool": "a", "streams": ["news"]}],
    )
    assert await pool_of(pools, account="shop") == "b"
    assert await pool_of(pools, account="shop", stream="news") == "a", "a rule comes before"
    assert await pool_of(pools, account="bank") == "a"
    assert await pool_of(pools) == "a"
    assert await pool_of(pools, account="bank", sender="x@shop.example") == "a", "a From that anybody may write"


async def test_an_accounts_own_pool_counts_where_no_rule_says_otherwise() -> None:
    house = RecordingMta(accounts=[account("shop", pool="b"), account("branch", parent="shop")])
    pools = plugin(house, rule=[{"pool": "a", "streams": ["news"]}])
    assert await pool_of(pools, account="shop") == "b"
    assert await pool_of(pools, account="shop", stream="news") == "a"
    assert await pool_of(pools, account="branch") == "a", "it has none of its own"


@pytest.mark.parametrize(
    ("named", "trouble"),
    [("c", 'there is no pool "c" in conf/ip_pools.toml'), ("b", 'the pool "b" is kept for other accounts')],
)
async def test_an_accounts_own_pool_must_be_there_for_it(named: str, trouble: str) -> None:
    house = RecordingMta(accounts=[account("shop", pool=named), account("bank")])
    pools = plugin(house, pool=[pool("a", "a1", "a2"), pool("b", "b1", "b2", accounts=["bank"])])
    with pytest.raises(ValueError, match=f'^conf/accounts.toml: the account "shop": {trouble}$'):
        await pools.start()


async def test_a_plugin_before_may_have_named_the_pool() -> None:
    pools = plugin()
    assert (await way(pools, before=Route(pool="b"))).pool == "b"
    assert (await way(pools, before=Route(pool="unheard-of"))).pool == "a"


class Judge(Plugin):
    """Answers as thresholds would."""

    standing = Standing.GOOD

    async def judged(self, question: AccountStanding) -> Standing:
        return self.standing if question.account == "shop" else Standing.GOOD

    def answers(self) -> Any:
        return {AccountStanding: self.judged}


@pytest.mark.parametrize("standing", Standing)
async def test_mail_of_limited_accounts_goes_by_the_limited_pool_whatever_a_rule_says(standing: Standing) -> None:
    judge = Judge(None, a_house())
    judge.standing = standing
    pools = plugin(a_house(answers=judge.answers()), limited_pool="b", rule=[{"pool": "a", "accounts": ["shop"]}])
    bad = standing in (Standing.LIMITED, Standing.SUSPENDED)
    assert await pool_of(pools, account="shop") == ("b" if bad else "a")
    assert await pool_of(pools, account="bank") == "a"
    assert await pool_of(pools) == "a"


async def test_nobody_is_asked_without_a_limited_pool() -> None:
    mta = a_house()
    await pool_of(plugin(mta), account="shop")
    assert mta.questions == []
    await pool_of(plugin(mta, limited_pool="b"), account="shop")
    assert [type(question) for question in mta.questions] == [AccountStanding]


# Which source.


async def test_the_same_sender_domain_and_mailbox_keep_their_source_in_every_instance() -> None:
    one, other = plugin(), plugin()
    for n in range(50):
        to = f"user{n}@example.net"
        chosen = name_of(await way(one, mail(to)))
        assert name_of(await way(other, mail(to.upper(), sender="someone.else@EXAMPLE.com"))) == chosen
    assert await sources_of(one) == {"a1", "a2"}


async def test_the_null_reverse_path_takes_the_domain_of_the_from_field() -> None:
    pools = plugin()
    for n in range(20):
        to, fields = f"user{n}@example.net", {"From": "A <postmaster@example.com>"}
        assert await way(pools, mail(to, sender=None, fields=fields)) == await way(pools, mail(to))
    assert (await way(pools, mail(sender=None, fields={"From": None}))).source is not None


async def test_a_weight_is_a_share() -> None:
    pools = plugin(pool=[{"name": "a", "sources": {"a1": 3, "a2": 1}}])
    chosen = [name_of(await way(pools, mail(f"user{n}@example.net"))) for n in range(2000)]
    assert abs(chosen.count("a1") / 2000 - 0.75) < 0.04


# Rests.


async def test_only_the_mail_of_a_resting_source_moves_and_comes_back() -> None:
    clock = VirtualClock()
    pools = plugin(a_house(clock=clock))
    those = [mail(f"user{n}@example.net") for n in range(80)]
    before = [name_of(await way(pools, each)) for each in those]
    assert await pools.rest("a1", for_="30m") == "a1 rests until 2026-03-01T12:30:00+00:00"
    assert {name_of(await way(pools, each)) for each in those} == {"a2"}
    clock.advance(1799)
    assert {name_of(await way(pools, each)) for each in those} == {"a2"}
    clock.advance(1)
    assert [name_of(await way(pools, each)) for each in those] == before
    await pools.rest("a2")
    assert await pools.resume("a2") == "a2: at work"
    assert [name_of(await way(pools, each)) for each in those] == before


async def test_a_rest_is_told_once_and_never_shortened() -> None:
    mta = a_house()
    pools = plugin(mta)
    asked = pools.answers()[RestSource]
    assert await asked(RestSource("a1", 60.0))
    assert await asked(RestSource("a1", 30.0))
    assert await asked(RestSource("a1", 90.0))
    assert [dict(event.data) for event in mta.events] == [
        {"source": "a1", "seconds": 60.0},
        {"source": "a1", "seconds": 90.0},
    ]
    assert {event.type for event in mta.events} == {EventType.SOURCE_RESTED}
    assert mta.events[0].id != mta.events[1].id


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("zz", 60.0), ("a1", 0.0), ("a1", -1.0), ("a1", 1e12), ("a1", float("inf")), ("a1", float("nan"))],
)
async def test_what_cannot_rest_is_answered_with_no(name: str, seconds: float) -> None:
    mta = a_house()
    pools = plugin(mta)
    assert not await pools.answers()[RestSource](RestSource(name, seconds))
    assert await pools.answers()[RestingSources](RestingSources()) == frozenset()
    assert mta.events == []


async def test_resting_sources_are_those_of_the_command_the_file_and_this_host() -> None:
    sources = [source("a1"), source("a2", 2, rest=True), source("b1", address="192.0.2.1"), source("b2", 4)]
    pools = plugin(source=sources, pool=[pool("a", "a1", "a2", "b1", "b2")])
    await pools.start()
    await pools.rest("a1")
    assert await pools.answers()[RestingSources](RestingSources()) == {"a1", "a2", "b1"}
    assert await sources_of(pools) == {"b2"}


async def test_a_reload_keeps_rests_and_counts_and_the_old_instance_knows_of_new_ones() -> None:
    mta = a_house()
    old, new = plugin(mta), plugin(mta, default_pool="b")
    await old.rest("b1")
    await old.on_result(result(route=await way(old)))
    assert await sources_of(new) == {"b2"}
    await new.rest("a1")
    assert await sources_of(old) == {"a2"}
    assert sum(row["delivered"] for row in await new.show()) == 1


async def test_a_pool_without_a_source_at_work_uses_its_fallback_and_then_the_next() -> None:
    sources = [source(name, number) for number, name in enumerate((*SOURCES, "c1"), 1)]
    three = [pool("a", "a1", "a2", fallback="b"), pool("b", "b1", fallback="c"), pool("c", "c1")]
    mta = a_house()
    pools = plugin(mta, source=sources, pool=three)
    await pools.rest("a1")
    assert await pools.rest("a2") == (
        "a2 rests until 2026-03-01T13:00:00+00:00\nthe pool a has no source at work now: its mail goes by b"
    )
    chosen = await way(pools)
    assert (chosen.pool, name_of(chosen)) == ("b", "b1")
    await pools.rest("b1")
    assert name_of(await way(pools)) == "c1"
    assert "the pool c has no source at work now: its mail is deferred" in await pools.rest("c1")
    answer = await pools.route(mail(), route())
    assert isinstance(answer, Defer)
    assert answer.reply.line == "451 4.3.2 no outgoing address is available now"


# Addresses that are not here.


async def test_a_source_whose_address_is_not_on_this_host_is_named_and_not_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pools = plugin(source=[source("a1", address="192.0.2.1"), *[source(n, i) for i, n in enumerate(SOURCES[1:], 2)]])
    await pools.start()
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("mtaframe.ip_pools", "WARNING")
    assert record.getMessage() == "source not used source=a1: its address is not on this host"
    assert await sources_of(pools) == {"a2"}
    assert {row["source"]: row["state"] for row in await pools.show()}["a1"] == "not on this host"


async def test_such_a_source_can_be_a_fault() -> None:
    missing = [source("a1", address="192.0.2.1"), source("a2", address="2001:db8::1"), *[source("b1"), source("b2", 2)]]
    with pytest.raises(ValueError, match='not on this host: "a1", "a2"'):
        await plugin(source=missing, missing="error").start()
    await plugin(missing="error").start()


@pytest.mark.parametrize(
    "keys",
    [
        {"pool": [pool("a", "a1", accounts=["shpo"])], "default_pool": None},
        {"rule": [{"pool": "a", "accounts": ["shpo"]}]},
    ],
)
async def test_an_account_that_does_not_exist_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match='there is no account "shpo"'):
        await plugin(**keys).start()


# Commands.


async def test_show_tells_of_every_source_of_every_pool() -> None:
    clock = VirtualClock()
    pools = plugin(
        a_house(clock=clock),
        source=[source("a1"), source("a2", 2), source("b1", 3, rest=True), source("b2", 4)],
        pool=[{"name": "a", "sources": {"a1": 2, "a2": 1, "b1": 1}}, pool("b", "a2")],
    )
    for outcome in Outcome:
        await pools.on_result(result(outcome, route=Route(source=Source("a2", "127.0.1.2", "x"))))
    await pools.on_result(result(route=Route(source=Source("other", "127.0.0.1", "x"))))
    await pools.on_result(result(route=None))
    await pools.rest("a1", for_="90s")
    rows = [(r["pool"], r["source"], r["weight"], r["share"], r["state"], r["delivered"]) for r in await pools.show()]
    assert rows == [
        ("a", "a1", 2, "0.0%", "rests until 2026-03-01T12:01:30+00:00", 0),
        ("a", "a2", 1, "100.0%", "at work", 1),
        ("a", "b1", 1, "0.0%", "rests by configuration", 0),
        ("b", "a2", 1, "100.0%", "at work", 1),
        ("", "b2", "", "", "at work", 0),
    ]
    assert (await pools.show())[0] | {"share": ""} == {
        "pool": "a",
        "source": "a1",
        "address": "127.0.1.1",
        "ehlo": "a1.example.com",
        "weight": 2,
        "share": "",
        "state": "rests until 2026-03-01T12:01:30+00:00",
        "delivered": 0,
    }
    clock.advance(90)
    assert [row["share"] for row in await pools.show()][:3] == ["66.7%", "33.3%", "0.0%"]
    clock.advance(25 * 3600)
    assert [row["delivered"] for row in await pools.show()] == [0] * 5, "of the last 24 hours"


async def test_explain_says_what_the_hook_would_do_and_who_takes_over() -> None:
    pools = plugin(
        pool=[pool("a", "a1", "a2"), pool("b", "b1", "b2", fallback="a")],
        rule=[
            {"pool": "b", "accounts": ["shop"], "streams": ["news"], "sender_domains": ["shop.example"]},
            {"pool": "b", "header": {"name": "X-Kind", "value": "bulk"}},
        ],
    )
    told = await pools.explain("Bob@example.net", account="shop", stream="news", from_="shop.example")
    chosen = await way(pools, mail(account="shop", stream="news", sender="x@shop.example"))
    assert (told["pool"], told["source"], told["because"]) == ("b", name_of(chosen), "rule 1")
    assert told["reply"] is None
    order = [(row["pool"], row["source"]) for row in told["order"]]
    assert [each for each, _ in order] == ["b", "b", "a", "a"]
    for number, (_, name) in enumerate(order):
        copy = mail(account="shop", stream="news", sender="x@shop.example")
        assert name_of(await way(pools, copy)) == order[number][1]
        await pools.rest(name)
    told = await pools.explain("bob@example.net", header="X-Kind: bulk")
    assert (told["pool"], told["source"], told["because"]) == (None, None, "rule 2")
    assert told["reply"] == "451 4.3.2 no outgoing address is available now"
    await pools.resume("a1")
    told = await pools.explain("bob@example.net", header="X-Kind: bulk", from_="x@example.com")
    assert (told["pool"], told["source"], told["because"]) == ("a", "a1", "rule 2; b has no source at work")
    assert (await pools.explain("bob@example.net"))["because"] == "default_pool"


async def test_explain_knows_limits_and_mail_that_no_pool_is_for() -> None:
    judge = Judge(None, a_house())
    judge.standing = Standing.LIMITED
    limited = plugin(a_house(answers=judge.answers()), limited_pool="b")
    told = await limited.explain("bob@example.net", account="shop")
    assert (told["pool"], told["because"]) == ("b", "the account is limited")
    told = await plugin(default_pool=None).explain("bob@example.net")
    assert (told["pool"], told["because"]) == (None, "no rule fits, and there is no default_pool")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda it: it.rest("zz"), 'no source "zz"'),
        (lambda it: it.rest("a1", for_="soon"), "a duration is written as"),
        (lambda it: it.rest("a1", for_="0s"), "longer than nothing"),
        (lambda it: it.rest("a1", for_="9999d"), "rest = true"),
        (lambda it: it.resume("zz"), 'no source "zz"'),
        (lambda it: it.resume("b2"), "rests by configuration"),
        (lambda it: it.explain("bob"), "ADDRESS: an address needs an @"),
        (lambda it: it.explain("bob@example.net", account="shpo"), 'no account "shpo"'),
        (lambda it: it.explain("bob@example.net", from_="a b"), "--from: the domain is not valid"),
        (lambda it: it.explain("bob@example.net", header="what ever: 1"), 'written as "Name: value"'),
    ],
)
async def test_commands_say_in_words_what_is_wrong(call: Any, says: str) -> None:
    pools = plugin(source=[*[source(n, i) for i, n in enumerate(SOURCES[:3], 1)], source("b2", 4, rest=True)])
    with pytest.raises(CommandError, match=says):
        await call(pools)


# The configuration.


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"source": [source("a1"), source("a1", 2)]}, 'two sources are named "a1"'),
        ({"source": [source("a1"), source("a2")]}, 'the sources "a1" and "a2" have the same address'),
        ({"source": [source("a1", address="::1"), source("a2", address="0:0::1")]}, "the same address"),
        ({"source": [source("a1", address="a1.example.com")]}, "an IP address of this host"),
        ({"source": [source("A 1")]}, "should match pattern"),
        ({"source": [source("a1", ehlo="a b")]}, "a domain is written as"),
        ({"pool": [pool("a", "a1"), pool("a", "a2")]}, "two pools have the same name"),
        ({"pool": [pool("a", "zz")]}, 'the pool "a" names a source that does not exist: "zz"'),
        ({"pool": [pool("a")]}, "at least 1"),
        ({"pool": [pool("a", "a1", "a1")]}, "a source is listed twice"),
        ({"pool": [{"name": "a", "sources": {"a1": 0}}]}, "greater than or equal to 1"),
        ({"pool": [{"name": "a", "sources": "a1"}]}, "valid dictionary"),
        ({"pool": [pool("a", "a1", fallback="z")]}, 'falls back to one that does not exist: "z"'),
        ({"pool": [pool("a", "a1", fallback="a")]}, "falls back to itself"),
        ({"pool": [pool("a", "a1", fallback="b"), pool("b", "b1", fallback="a")]}, "falls back to itself"),
        ({"pool": [pool("a", "a1", fallback="b"), pool("b", "b1", accounts=["shop"])]}, "kept for other accounts"),
        (
            {
                "pool": [
                    pool("a", "a1", accounts=["shop", "bank"], fallback="b"),
                    pool("b", "b1", accounts=["shop"]),
                ],
                "default_pool": None,
            },
            "kept for other accounts",
        ),
        ({"default_pool": "z"}, 'there is no pool "z"'),
        ({"pool": [pool("a", "a1", accounts=["shop"])]}, "name one that is for all"),
        ({"limited_pool": "z"}, 'there is no pool "z"'),
        ({"rule": [{"pool": "z", "streams": ["x"]}]}, 'there is no pool "z"'),
        ({"rule": [{"pool": "b"}]}, "has no condition"),
        ({"rule": [{"pool": "b", "recipient_domains": ["*"]}]}, "a domain is written as"),
        ({"rule": [{"pool": "b", "header": {"name": "a b"}}]}, "should match pattern"),
        (
            {
                "pool": [pool("a", "a1"), pool("b", "b1", accounts=["shop"])],
                "rule": [{"pool": "b", "accounts": ["shop", "bank"]}],
            },
            "accounts that the pool",
        ),
        ({"missing": "ignore"}, "'warn' or 'error'"),
        ({"weight": 1}, "Extra inputs"),
    ],
)
def test_what_cannot_be_meant_is_refused(keys: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        plugin(**keys)
