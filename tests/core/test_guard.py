"""What a client may take that nobody trusts yet, counted over all workers."""

import os

import pytest

from mtaframe.guard import BANNED, TOO_MANY, TOO_OFTEN, Guard
from mtaframe.page import Page
from mtaframe.settings import ClientSettings
from mtaframe.sketch import COUNTS_SIZE, Counts, Times, places
from mtaframe.testing import VirtualClock
from mtaframe.turn import Turn

FEW = ClientSettings(max_per_address=2, max_per_network=3, max_empty=4, auth_failures=3, auth_ban="9s")
KEY = bytes(16)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def workers(clock: VirtualClock, count: int) -> tuple[Page, list[Guard]]:
    """Each with its own mapping of one page, as processes have it."""
    page = Page()
    turns = [Turn(Page(os.dup(page.fd)), number, count, 2 * count) for number in range(count)]
    return page, [Guard(clock, turn, FEW) for turn in turns]


def refusals(guard: Guard, *clients: str, must_log_in: bool = False) -> list[object]:
    return [guard.enter(client, must_log_in=must_log_in).refusal for client in clients]


def test_an_address_has_its_connections_and_a_network_has_more(clock: VirtualClock) -> None:
    guard = Guard(clock, settings=FEW)
    assert refusals(guard, "192.0.2.1", "192.0.2.1", "192.0.2.1") == [None, None, TOO_MANY]
    assert refusals(guard, "192.0.2.2", "192.0.3.2") == [TOO_MANY, None]
    assert refusals(guard, *(f"2001:db8::{host}" for host in range(4)), "2001:db8:0:1::") == [None] * 3 + [
        TOO_MANY,
        None,
    ]


def test_who_leaves_makes_room_once(clock: VirtualClock) -> None:
    guard = Guard(clock, settings=FEW)
    first, _ = (guard.enter("192.0.2.1", must_log_in=False) for _ in range(2))
    first.leave(is_fruitful=True)
    first.leave()
    assert refusals(guard, "192.0.2.1", "192.0.2.1") == [None, TOO_MANY]


def test_all_workers_count_together_and_the_dead_do_not_count(clock: VirtualClock) -> None:
    page, (one, two) = workers(clock, 2)
    assert refusals(one, "192.0.2.1") + refusals(two, "192.0.2.1", "192.0.2.1") == [None, None, TOO_MANY]
    page.left(1)
    assert refusals(one, "192.0.2.1", "192.0.2.1") == [None, TOO_MANY]


def test_connections_that_come_to_nothing_are_few_in_a_minute(clock: VirtualClock) -> None:
    _, (one, two) = workers(clock, 2)

    def visits(guard: Guard, count: int, *, is_fruitful: bool) -> list[object]:
        found = []
        for _ in range(count):
            visit = guard.enter("192.0.2.1", must_log_in=False)
            found.append(visit.refusal)
            visit.leave(is_fruitful=is_fruitful)
        return found

    assert visits(one, 30, is_fruitful=True) == [None] * 30
    assert visits(one, 3, is_fruitful=False) + visits(two, 4, is_fruitful=False) == [None] * 4 + [TOO_OFTEN] * 3
    assert refusals(two, "192.0.2.2") == [None]
    clock.advance(16)
    assert visits(one, 2, is_fruitful=False) == [None, TOO_OFTEN]


def test_failed_logins_delay_the_next_then_ban_for_all_workers_and_are_forgotten(clock: VirtualClock) -> None:
    _, (one, two) = workers(clock, 2)
    delays = []
    for guard in (one, two, one):
        delays.append(guard.delay("192.0.2.1"))
        assert not guard.is_banned("192.0.2.1")
        is_ban = guard.failed("192.0.2.1")
    assert delays == pytest.approx([0, 0.5, 1])
    assert is_ban
    assert two.is_banned("192.0.2.1")
    assert not two.is_banned("192.0.2.2")
    assert two.delay("192.0.2.2") == 0
    assert refusals(two, "192.0.2.1", must_log_in=True) == [BANNED]
    assert refusals(two, "192.0.2.1", must_log_in=False) == [None]
    assert not one.failed("192.0.2.1"), "it is banned already"
    clock.advance(9.1)
    assert not one.is_banned("192.0.2.1")
    clock.advance(9)
    assert one.delay("192.0.2.1") == 0


def test_slow_failures_never_ban(clock: VirtualClock) -> None:
    """A device in the corner whose password has changed."""
    guard = Guard(clock, settings=FEW)
    for _ in range(20):
        assert not guard.failed("192.0.2.1")
        clock.advance(3)


def test_of_ipv6_a_whole_network_guesses(clock: VirtualClock) -> None:
    guard = Guard(clock, settings=FEW)
    for host in range(3):
        guard.failed(f"2001:db8::{host}")
    assert guard.is_banned("2001:db8::77")
    assert not guard.is_banned("2001:db8:0:1::")


def test_no_address_is_in_the_page(clock: VirtualClock) -> None:
    page, (one, _) = workers(clock, 2)
    one.enter("198.51.100.77", must_log_in=False)
    one.failed("198.51.100.77")
    assert bytes((198, 51, 100, 77)) not in bytes(page.clients)
    assert bytes(Page().clients[:16]) != bytes(page.clients[:16]), "each server has a key of its own"


def test_few_of_many_share_all_their_places() -> None:
    times = Times(memoryview(bytearray(4 << 19)))
    for number in range(5000):
        times.put_off(places(b"bad %d" % number, KEY), 1.0)
    assert all(times.of(places(b"bad %d" % number, KEY)) for number in range(5000))
    assert sum(times.of(places(b"good %d" % number, KEY)) > 0 for number in range(5000)) < 5


def test_a_count_never_runs_over() -> None:
    counts = Counts(memoryview(bytearray(COUNTS_SIZE)), 0, 1)
    where = places(b"x", KEY)
    counts.add(where, -1)
    assert counts.of(where) == 0
    counts.add(where, 70_000)
    assert counts.of(where) == 65_535
