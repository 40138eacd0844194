"""The ledger: what counts as a repeat, and that an entry lives no longer than it must."""

import asyncio
from dataclasses import replace

import pytest

from mtaframe import Outcome
from mtaframe.ledger import KEPT, Entry, Ledger, LocalBook
from mtaframe.testing import VirtualClock, address, envelope, message, recipient, result

TWO = ["bob@example.net", "carol@example.net"]


def prints(ledger=None, mail=None, **changes):
    return (LEDGER if ledger is None else ledger).fingerprints(replace(envelope(TWO), **changes), mail or message())


LEDGER = Ledger(VirtualClock())


@pytest.mark.parametrize(
    "field",
    [
        "Received",
        "Return-Path",
        "Delivered-To",
        "X-Original-To",
        "Envelope-To",
        "Delivery-Date",
        "DKIM-Signature",
        "ARC-Seal",
        "ARC-Message-Signature",
        "ARC-Authentication-Results",
        "Authentication-Results",
    ],
)
def test_a_field_that_upstreams_change_from_try_to_try_does_not_count(field):
    assert prints(mail=message().prepend(field, "new today")) == prints()


@pytest.mark.parametrize(
    "other",
    [
        message(fields={"Subject": "Another"}),
        message(body="Another\n"),
        message(fields={"Message-ID": "<2@example.com>"}),
        message().prepend("X-Campaign", "2"),
    ],
)
def test_other_content_is_another_message(other):
    assert not set(prints(mail=other)) & set(prints())


@pytest.mark.parametrize(
    "changes",
    [
        {"account": "other"},
        {"reverse_path": None},
        {"recipients": (recipient("dave@example.net"), recipient("Bob@example.net"))},
        {"recipients": (recipient("bob@example.net", original="rfc822;x@example.net"),)},
    ],
)
def test_another_account_reverse_path_or_recipient_is_another_delivery(changes):
    assert not set(prints(**changes)) & set(prints())


def test_the_same_recipient_twice_is_two_deliveries():
    one, two = prints(recipients=(recipient(TWO[0]), recipient(TWO[0])))
    assert one != two


def test_the_order_of_recipients_does_not_matter():
    assert set(prints(recipients=(recipient(TWO[1]), recipient(TWO[0])))) == set(prints())


def test_another_key_gives_other_fingerprints():
    assert not set(prints(ledger=Ledger(VirtualClock()))) & set(prints())


async def test_an_entry_keeps_outcome_code_and_status_and_no_text():
    ledger = Ledger(VirtualClock())
    await ledger.write({b"f": result(Outcome.FAILED)})
    [entry] = await ledger.look_up([b"f"])
    assert (entry.outcome, entry.code, entry.status) == (Outcome.FAILED, 550, "5.1.1")
    assert entry.result.reply.text == "failed before"


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize(("code", "status"), [(250, "2.0.0"), (550, "5.1.1"), (554, ""), (451, "4.7.999")])
def test_an_entry_is_an_integer(outcome, code, status):
    entry = Entry(outcome, code, status, 7.0)
    assert Entry.unpacked(entry.packed, 7.0) == entry
    assert entry.packed < 1 << 48


async def test_an_entry_ends_when_it_is_forgotten_or_old():
    clock = VirtualClock()
    ledger = Ledger(clock)
    await ledger.write({b"f": result()})
    ledger.forget([b"f", b"unknown"])
    assert ledger.is_empty
    await ledger.write({b"g": result()})
    clock.advance(KEPT + 1)
    assert await ledger.look_up([b"g"]) == [None]
    assert ledger.is_empty


async def test_the_time_of_the_first_entry_stays():
    clock = VirtualClock()
    ledger = Ledger(clock)
    await ledger.write({b"f": result()})
    [first] = await ledger.look_up([b"f"])
    clock.advance(100)
    await ledger.write({b"f": result()})
    assert await ledger.look_up([b"f"]) == [first]


async def test_an_attempt_that_goes_on_becomes_an_entry_when_it_ends():
    ledger = Ledger(VirtualClock())
    future = asyncio.get_running_loop().create_future()
    await ledger.detach({b"f": future})
    assert not ledger.is_empty
    assert await ledger.look_up([b"f"]) == [future]
    future.set_result(result())
    await asyncio.sleep(0)
    [entry] = await ledger.look_up([b"f"])
    assert entry.outcome is Outcome.DELIVERED
    assert not ledger.detached


async def test_an_attempt_that_ends_open_leaves_nothing():
    ledger = Ledger(VirtualClock())
    future = asyncio.get_running_loop().create_future()
    await ledger.detach({b"f": future})
    future.set_result(result(Outcome.DEFERRED))
    await asyncio.sleep(0)
    assert ledger.is_empty


async def test_a_repeat_in_another_process_joins_an_attempt_that_goes_on():
    clock = VirtualClock()
    book = LocalBook(clock)
    one, other = Ledger(clock, book), Ledger(clock, book)
    future = asyncio.get_running_loop().create_future()
    await one.detach({b"f": future})
    [joined] = await other.look_up([b"f"])
    future.set_result(result())
    assert (await joined).outcome is Outcome.DELIVERED


async def test_what_a_process_followed_when_it_died_is_tried_again():
    clock = VirtualClock()
    book = LocalBook(clock)
    book.claim([b"f"], owner="a worker")
    [joined] = await Ledger(clock, book).look_up([b"f"])
    await asyncio.sleep(0)
    book.void("a worker")
    assert (await joined).outcome is Outcome.DEFERRED
    assert book.is_empty


async def test_no_address_stands_in_a_ledger():
    ledger = Ledger(VirtualClock())
    await ledger.write(dict.fromkeys(prints(ledger), result()))
    assert address().local_part not in repr(vars(ledger.book))


async def test_what_nobody_asks_for_again_is_forgotten_in_time():
    """Else every transaction that an upstream gave up would stay, up to the limit of a million."""
    clock = VirtualClock()
    ledger = Ledger(clock)
    old, new = prints(ledger)
    await ledger.write({old: result()})
    clock.advance(KEPT + 1)
    await ledger.write({new: result()})
    assert len(ledger.book) == 1
    assert await ledger.look_up([old, new]) != [None, None]
