"""Weighted rendezvous hashing: shares as the weights say, and only what must move moves."""

import time
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from mtaframe import Address
from mtaframe_plugins.ip_pools.rendezvous import Contender, contender, pair, ranked, winner

POOLS = {
    "transactional": dict.fromkeys(["t1", "t2", "t3", "t4"], 1),
    "marketing": {"m1": 1, "m2": 2, "m3": 3, "m4": 4, "m5": 5, "m6": 5},
    "warming": {"w1": 1, "w2": 1, "w3": 20, "w4": 20, "w5": 58},
    "shared": {"s1": 3, "s2": 3, "s3": 3, "s4": 3, "s5": 1},
}
"""Twenty sources."""

names = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,8}", fullmatch=True)
pools = st.dictionaries(names, st.integers(1, 1000), min_size=1, max_size=12)
pairs = st.binary(min_size=16, max_size=16)


def contenders(weights: dict[str, int]) -> tuple[Contender, ...]:
    return tuple(contender(name, weight) for name, weight in weights.items())


def draws(count: int) -> list[bytes]:
    """A hundred senders, each to its own recipients; as alike as mail is."""
    return [pair(f"shop{n % 100}.example", Address(f"user{n // 7}", f"mail{n % 7}.example")) for n in range(count)]


def test_a_hundred_thousand_pairs_spread_as_the_weights_say_and_only_the_share_of_a_resting_source_moves() -> None:
    began = time.process_time()
    count = 25_000
    for weights in POOLS.values():
        total, sources = sum(weights.values()), contenders(weights)
        those = draws(count)
        before = [winner(each, sources) for each in those]
        shares = Counter(before)
        for name, weight in weights.items():
            assert abs(shares[name] / count - weight / total) < 0.02, (name, shares[name])
        for weight in set(weights.values()):
            same = [name for name in weights if weights[name] == weight]
            found, due = sum(shares[name] for name in same), count * len(same) * weight / total
            assert abs(found - due) / count < 0.02
            if due > 2000:
                assert abs(found / due - 1) < 0.06, (same, found, due)

        resting = max(weights, key=weights.__getitem__)
        left = [one for one in sources if one.name != resting]
        moved = Counter()
        for each, was in zip(those, before, strict=True):
            now = winner(each, left)
            if was == resting:
                assert now == ranked(each, sources)[1]
                moved[now] += 1
            else:
                assert now == was
        for one in left:
            due = weights[one.name] / (total - weights[resting])
            assert abs(moved[one.name] / shares[resting] - due) < 0.03, "its share moves by weight, too"
    assert time.process_time() - began < 5


@settings(deadline=None)
@given(pools, pairs)
def test_the_winner_is_the_first_in_the_order_and_the_order_of_writing_does_not_matter(
    weights: dict[str, int], drawn: bytes
) -> None:
    sources = contenders(weights)
    order = ranked(drawn, sources)
    assert sorted(order) == sorted(weights)
    assert winner(drawn, sources) == order[0] == winner(drawn, sources[::-1])


@settings(deadline=None)
@given(pools, pairs, st.data())
def test_whoever_leaves_the_others_keep_their_order(weights: dict[str, int], drawn: bytes, data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.sampled_from(sorted(weights))))
    left = [one for one in contenders(weights) if one.name not in gone]
    assert ranked(drawn, left) == [name for name in ranked(drawn, contenders(weights)) if name not in gone]


@settings(deadline=None)
@given(pools, pairs, st.data())
def test_more_weight_only_draws_pairs_to_a_source_never_away(
    weights: dict[str, int], drawn: bytes, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(weights)))
    before = winner(drawn, contenders(weights))
    after = winner(drawn, contenders(weights | {name: weights[name] * 2}))
    assert after in (before, name)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6))
def test_two_sources_share_by_weight(one: int, other: int, salt: int) -> None:
    sources = contenders({"one": one, "other": other})
    those = [pair(f"{salt}.example", Address(str(n), "mail.example")) for n in range(2000)]
    found = sum(winner(each, sources) == "one" for each in those) / len(those)
    assert abs(found - one / (one + other)) < 0.07


def test_nobody_wins_where_nobody_draws() -> None:
    assert winner(bytes(16), ()) is None
    assert ranked(bytes(16), ()) == []


def test_a_pair_is_sender_domain_and_mailbox_without_case() -> None:
    assert pair("shop.example", Address("Bob", "example.net")) == pair("SHOP.example", Address("bob", "example.net"))
    others = {
        pair("shop.example", Address("bob", "example.net")),
        pair("shop.example", Address("bob", "example.org")),
        pair("shop.example", Address("rob", "example.net")),
        pair("bank.example", Address("bob", "example.net")),
        pair("", Address("bob", "example.net")),
    }
    assert len(others) == 5


def test_what_a_pair_draws_stays_the_same_in_every_version() -> None:
    """Else a restart with a new version would move everybody to another address, and every greylist would notice."""
    drawn = pair("shop.example", Address("bob", "example.net"))
    assert drawn.hex() == "4b7baad7054403363a619fc1c75116bf"
    assert ranked(drawn, contenders(POOLS["marketing"])) == ["m5", "m2", "m6", "m1", "m4", "m3"]


def test_twenty_sources_cost_some_ten_microseconds() -> None:
    sources = contenders({name: weight for weights in POOLS.values() for name, weight in weights.items()})
    those = draws(2000)
    best = min(_seconds(those, sources) for _ in range(5))
    assert best / len(those) < 100e-6, "ten times what it takes on a machine that does nothing else"


def _seconds(those: list[bytes], sources: tuple[Contender, ...]) -> float:
    began = time.process_time()
    for each in those:
        winner(each, sources)
    return time.process_time() - began
