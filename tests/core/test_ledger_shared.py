"""The ledger's book across processes: look-ups over a link, marks on a page, claims of a worker that dies."""

import asyncio
import os
import socket
from contextlib import asynccontextmanager

from mtaframe import Outcome
from mtaframe.ledger import Ledger, LocalBook, RemoteBook, desk
from mtaframe.link import Link
from mtaframe.page import Page
from mtaframe.testing import VirtualClock, result

KEY = bytes(32)


@asynccontextmanager
async def workers(count):
    """The owner's book and the ledgers of so many workers."""
    clock, page, links, ledgers = VirtualClock(), Page(), [], []
    book = LocalBook(clock, changed=page.mark)
    for number in range(count):
        near, far = socket.socketpair()
        links.append(await Link.over(near, desk(book, number)))
        links.append(link := await Link.over(far, {}))
        ledgers.append(Ledger(clock, RemoteBook(link, Page(os.dup(page.fd))), KEY))
    yield book, ledgers
    for link in links:
        link.close()
    await asyncio.sleep(0.01)


async def test_what_one_worker_enters_another_one_finds_and_forgets():
    async with workers(2) as (book, (one, other)):
        assert other.is_empty
        await one.write({b"fingerprint.....": result()})
        [entry] = await other.look_up([b"fingerprint....."])
        assert (entry.outcome, entry.code) == (Outcome.DELIVERED, 250)
        other.forget([b"fingerprint....."])
        assert await other.look_up([b"fingerprint....."]) == [None]
        assert one.is_empty
        assert len(book) == 0


async def test_nobody_is_asked_where_the_page_has_no_mark():
    async with workers(1) as (book, [one]):
        await one.write({b"known": result()})
        book.found = None  # whoever asks fails
        assert await one.look_up([b"unknown"]) == [None]


async def test_a_repeat_at_another_worker_joins_and_the_result_is_for_both():
    async with workers(2) as (book, (one, other)):
        attempt = asyncio.get_running_loop().create_future()
        await one.detach({b"f": attempt})
        [joined] = await other.look_up([b"f"])
        attempt.set_result(result(Outcome.FAILED))
        assert (await joined).reply.code == 550
        [entry] = await other.look_up([b"f"])
        assert entry.outcome is Outcome.FAILED
        assert book.claims == 0


async def test_an_attempt_that_ends_as_soon_as_it_is_detached_leaves_no_claim():
    """The claim and its release travel together: the release must not come first."""
    async with workers(1) as (book, [one]):
        attempt = asyncio.get_running_loop().create_future()
        one.detach({b"f": attempt})
        attempt.set_result(result(Outcome.DEFERRED))
        await asyncio.sleep(0.02)
        assert book.is_empty


async def test_the_claims_of_a_worker_that_died_are_void():
    async with workers(2) as (book, (one, other)):
        await one.detach({b"f": asyncio.get_running_loop().create_future()})
        [joined] = await other.look_up([b"f"])
        await asyncio.sleep(0.01)
        book.void(0)
        assert (await joined).outcome is Outcome.DEFERRED
        assert other.is_empty


def test_a_page_counts_connections_by_worker_and_marks_by_fingerprint():
    page = Page()
    seen = Page(os.dup(page.fd))
    page.set_connections(1, 7)
    page.set_connections(2, -1)
    assert seen.connections(3) == (-1, 7, -1)
    for _ in range(3):
        page.mark(b"aaaa", 1)
    page.mark(b"aaaa", -1)
    assert (seen.entries, seen.may_hold([b"zzzz", b"aaaa"]), seen.may_hold([b"zzzz"])) == (2, True, False)
    for _ in range(300):
        page.mark(b"bbbb", 1)
    for _ in range(300):
        page.mark(b"bbbb", -1)
    assert seen.may_hold([b"bbbb"]), "a mark that was full once stays: nobody knows how many there are"


async def test_who_goes_while_asking_what_is_known_leaves_nothing_claimed():
    async with workers(1) as (book, [one]):
        asking = asyncio.create_task(one.take([b"f", b"g"]))
        await asyncio.sleep(0)  # said, and not answered
        asking.cancel()
        await asyncio.sleep(0.02)
        assert asking.cancelled()
        assert book.claims == 0


async def test_who_goes_while_asking_leaves_alone_what_others_claim():
    async with workers(2) as (book, (one, other)):
        await other.take([b"f"])
        asking = asyncio.create_task(one.take([b"f", b"g"]))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.sleep(0.02)
        assert book.claims == 1
        assert await other.look_up([b"g"]) == [None]
