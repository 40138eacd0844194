"""State in RAM: counters by the hour, digests with an end, documents per account; no room for an address."""

from datetime import timedelta

import pytest

from mtaframe import Counter
from mtaframe.state import MemoryState
from mtaframe.state.memory import KEPT
from mtaframe.testing import VirtualClock

SENT, BOUNCED = Counter("sent", account="shop"), Counter("bounced", account="shop", stream="news")


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def state(clock):
    return MemoryState(clock)


async def test_counters_add_up_over_a_sliding_window(state, clock):
    began = clock.now()
    await state.counters.add({SENT: 10, BOUNCED: 1})
    clock.advance(7200)
    await state.counters.add({SENT: 5})
    assert await state.counters.sums([SENT, BOUNCED], began) == [15, 1]
    assert await state.counters.sums([SENT, BOUNCED], began + timedelta(hours=1)) == [5, 0]
    assert await state.counters.sums([SENT, BOUNCED], began, began + timedelta(hours=1)) == [10, 1]
    assert await state.counters.sums([SENT, BOUNCED], began, clock.now()) == [10, 1]
    assert await state.counters.sums([SENT], began, began) == [0]


async def test_each_counter_is_its_own(state, clock):
    await state.counters.add({SENT: 1})
    other = Counter("sent", account="bank")
    assert await state.counters.sums([other, Counter("sent")], clock.now()) == [0, 0]


async def test_a_counter_begins_again(state, clock):
    await state.counters.add({SENT: 1, BOUNCED: 1})
    await state.counters.clear([SENT])
    assert await state.counters.sums([SENT, BOUNCED], clock.now()) == [0, 1]


async def test_digests_whose_time_is_over_take_no_memory(state, clock):
    """Nobody asks for most of them again: every Idempotency-Key that was ever used stayed."""
    for number in range(5):
        await state.digests.put("a", b"%d" % number, 1, clock.now() + timedelta(hours=1))
    clock.advance(7200)
    await state.digests.agree("a", b"another", 1, clock.now() + timedelta(hours=1))
    assert list((await state.digests.table.counts()).values()) == [1]


async def test_old_hours_are_forgotten(state, clock):
    for _ in range(KEPT // 3600 + 10):
        await state.counters.add({SENT: 1})
        clock.advance(3600)
    assert await state.counters.sums([SENT], clock.now() - timedelta(days=400)) == [KEPT // 3600]


@pytest.mark.parametrize("text", ["bob@example.net", "Bob", "a b", "ü", "", "a\n"])
@pytest.mark.parametrize("field", ["name", "account", "stream", "source", "site"])
def test_no_field_of_a_counter_can_hold_an_address(field, text):
    if text == "" and field != "name":
        return
    with pytest.raises(ValueError, match=field):
        Counter(**({"name": "sent"} | {field: text}))


async def test_a_digest_has_a_purpose_and_an_end(state, clock):
    who = b"bob@example.net"
    await state.digests.put("spam_traps", who, 3, clock.now() + timedelta(days=1))
    assert await state.digests.get("spam_traps", who) == 3
    assert await state.digests.get("suppression", who) is None
    clock.advance(86400)
    assert await state.digests.get("spam_traps", who) is None
    with pytest.raises(ValueError, match="purpose"):
        await state.digests.put("bob@example.net", who, 1, clock.now())


async def test_of_what_was_put_only_sixteen_octets_are_kept(state, clock):
    await state.digests.put("a", b"bob@example.net", 1, clock.now() + timedelta(days=1))
    assert [len(digest) for _, _, digest in state.digests.table._entries] == [16]
    assert "bob" not in repr(vars(state.digests.table))


async def test_a_digest_is_dropped(state, clock):
    await state.digests.put("a", b"b", 1, clock.now() + timedelta(days=1))
    await state.digests.drop("a", b"b")
    assert await state.digests.get("a", b"b") is None


async def test_the_first_number_for_a_digest_is_the_one_for_all(state, clock):
    until = clock.now() + timedelta(days=1)
    assert [await state.digests.agree("a", b"b", value, until) for value in (1, 2)] == [1, 1]
    clock.advance(86400)
    assert await state.digests.agree("a", b"b", 3, clock.now() + timedelta(days=1)) == 3


async def test_what_is_taken_passes_no_limit_of_the_hour_or_the_day(state, clock):
    assert [await state.counters.take(SENT, 2, per_hour=5, per_day=7) for _ in range(3)] == [None, None, "hour"]
    assert await state.counters.take(SENT, 1, per_hour=5, per_day=7) is None
    clock.advance(3600)
    assert await state.counters.take(SENT, 3, per_hour=5, per_day=7) == "day"
    await state.counters.add({SENT: -2})
    assert await state.counters.take(SENT, 3, per_hour=5, per_day=7) is None
    clock.advance(86400)
    assert await state.counters.take(SENT, 5, per_hour=5, per_day=7) is None


async def test_a_register_is_changed_by_whoever_knows_what_it_is(state):
    assert state.registers.value(SENT) == 0
    assert await state.registers.change(SENT, 0, 2)
    assert not await state.registers.change(SENT, 0, 3)
    assert (state.registers.value(SENT), state.registers.all("sent")) == (2, {SENT: 2})
    assert state.registers.all() == {SENT: 2}
    assert await state.registers.change(SENT, 2, 0)
    assert state.registers.all("sent") == {}


async def test_a_number_is_given_out_once(state):
    assert [
        await state.sequences.next(SENT),
        await state.sequences.next(SENT, 5),
        await state.sequences.next(SENT),
    ] == [
        1,
        2,
        7,
    ]


async def test_documents_belong_to_an_account(state):
    await state.documents.put("shop", "template", "welcome", b"Hello")
    await state.documents.put("shop", "webhook", "1", b"{}")
    await state.documents.put("bank", "template", "welcome", b"Good day")
    assert await state.documents.get("shop", "template", "welcome") == b"Hello"
    assert await state.documents.names("shop", "template") == ["welcome"]
    await state.documents.drop("shop", "template")
    assert await state.documents.get("shop", "template", "welcome") is None
    assert await state.documents.get("shop", "webhook", "1") == b"{}"
    await state.documents.drop("shop")
    assert await state.documents.get("shop", "webhook", "1") is None
    assert await state.documents.get("bank", "template", "welcome") == b"Good day"


async def test_a_document_is_changed_only_by_who_knows_it(state):
    change = state.documents.change
    assert not await change("shop", "template", "welcome", b"Hi", b"Hello")
    assert await change("shop", "template", "welcome", None, b"Hello", most=1)
    assert not await change("shop", "template", "welcome", None, b"Good day")
    assert not await change("shop", "template", "goodbye", None, b"Bye", most=1)
    assert await change("shop", "webhook", "1", None, b"{}", most=1)
    assert await change("shop", "template", "welcome", b"Hello", b"Good day", most=1)
    assert await state.documents.get("shop", "template", "welcome") == b"Good day"
    assert await change("shop", "template", "welcome", b"Good day", None)
    assert await state.documents.names("shop", "template") == []
    assert await change("shop", "template", "welcome", None, None)
