"""What waits for one URL: its order, its bound and its age."""

import random
import tracemalloc
from datetime import UTC, datetime

import pytest

from mtaframe import Address, EventType, Reply
from mtaframe_plugins.webhooks.line import retry_after
from mtaframe_plugins.webhooks.notice import Notice
from mtaframe_plugins.webhooks.queue import Item, Queue

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOTICE = Notice("e1", EventType.DELIVERED, NOW, 1)


def item(number: int, expires_at: float = 1000.0) -> Item:
    return Item(NOTICE, number, expires_at)


def test_new_ones_go_in_order_and_what_is_due_again_goes_first() -> None:
    queue = Queue()
    for number in (2, 3, 4):
        queue.add(item(number))
    queue.park(item(1), 10.0)
    assert (queue.ready(0.0), queue.next_due(0.0)) == (3, 10.0)
    taken = [queue.take(now) for now in (0.0, 10.0, 11.0, 12.0, 13.0)]
    assert [each and each.number for each in taken] == [2, 1, 3, 4, None]
    assert (len(queue), queue.next_due(0.0)) == (0, None)


def test_the_oldest_retry_goes_first_when_there_are_too_many() -> None:
    queue = Queue()
    for number, due in ((3, 5.0), (1, 9.0), (2, 1.0)):
        queue.park(item(number), due)
    for number in (4, 5):
        queue.add(item(number))
    assert queue.trim(4) == 1
    assert [queue.take(100.0).number for _ in range(4)] == [2, 3, 4, 5]  # type: ignore[union-attr]
    for number in (6, 7, 8):
        queue.add(item(number))
    assert queue.trim(1) == 2
    assert queue.take(0.0).number == 8  # type: ignore[union-attr]


def test_what_is_too_old_is_forgotten_wherever_it_waits() -> None:
    queue = Queue()
    queue.add(item(1, expires_at=5.0))
    queue.add(item(2))
    queue.park(item(3, expires_at=5.0), 3.0)
    queue.park(item(4, expires_at=5.0), 900.0)
    queue.park(item(5), 2.0)
    queue.expire(6.0)
    assert (queue.expired, queue.waiting, queue.parked) == (3, 1, 1)
    queue.park(item(6, expires_at=7.0), 100.0)
    assert [queue.take(8.0).number for _ in range(2)] == [5, 2]  # type: ignore[union-attr]
    assert (queue.take(8.0), queue.expired, len(queue)) == (None, 4, 0)


def test_hastened_ones_are_due_now_and_begin_anew() -> None:
    queue = Queue()
    for number in (2, 1):
        one = item(number)
        one.attempts = 5
        queue.park(one, 500.0)
    assert queue.take(1.0) is None
    assert queue.hasten(1.0) == 2
    taken = [queue.take(1.0), queue.take(1.0)]
    assert [(each.number, each.attempts) for each in taken if each] == [(1, 0), (2, 0)]


def test_whatever_happens_the_books_agree() -> None:
    chance, queue, now = random.Random(7), Queue(), 0.0
    for number in range(5000):
        now += chance.random()
        queue.add(item(number, expires_at=now + 50))
        if chance.random() < 0.7 and (one := queue.take(now)) is not None and chance.random() < 0.8:
            queue.park(one, now + chance.random() * 100)
        queue.trim(40)
        if chance.random() < 0.05:
            queue.expire(now)
        if chance.random() < 0.01:
            queue.hasten(now)
        assert len(queue) <= 40
        assert len(queue._numbers) == len(queue._due) == queue.parked
        assert queue._numbers == sorted(queue._parked)
        assert queue._due == sorted((each.due_at, each.number) for each in queue._parked.values())


def test_ten_thousand_cost_some_megabytes() -> None:
    tracemalloc.start()
    queue = Queue()
    for number in range(10_000):
        notice = Notice(
            f"{number:016x}",
            EventType.DEFERRED,
            datetime.fromtimestamp(number, UTC),
            number,
            "acme",
            "news",
            f"{number:016x}",
            Address(f"recipient{number}", f"host{number}.example.net"),
            reply=Reply(451, "4.2.0", f"mailbox of recipient{number} is busy, come back later please"),
            by="smtp",
            remote=f"mx{number}.example.net",
        )
        queue.park(Item(notice, number, 1e9), float(number))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 15_000_000


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("999999999999", 3600.0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Sun, 01 Mar 2027 12:00:00 GMT", 3600.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("٣", None),
        ("Sun, 01 Mar 2026 12:00:30 +99999999999999999999", None),
        ("Sun, 01 Mar 99999999999999999999 12:00:30 GMT", None),
        ("Sun, 01 Mar 2026 12:00:30 -0000", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(value: str, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds
