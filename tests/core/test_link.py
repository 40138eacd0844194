"""The line between supervisor and worker: order, answers, faults, and what happens when an end goes."""

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest

from mtaframe.link import Link, LinkError


@asynccontextmanager
async def ends(near, far, lost=lambda: None):
    one, other = socket.socketpair()
    links = await Link.over(one, near, lost), await Link.over(other, far)
    yield links
    for link in links:
        link.close()
    await asyncio.sleep(0.01)


async def slow(*values):
    await asyncio.sleep(0.01)
    return list(values)


async def test_a_call_gets_its_answer_also_a_big_one_and_many_at_once():
    async with ends({}, {"slow": slow, "twice": lambda octets: octets * 2}) as (near, _):
        answers = await asyncio.gather(
            near.call("slow", 1, "ä", None), near.call("twice", bytes(500_000)), near.call("twice", b"ab")
        )
        assert answers == [[1, "ä", None], bytes(1_000_000), b"abab"]


async def test_what_was_said_first_is_heard_first():
    heard = []
    async with ends({}, {"word": heard.append, "end": lambda: list(heard)}) as (near, _):
        for number in range(100):
            near.tell("word", number)
        assert await near.call("end") == list(range(100))


async def test_a_fault_tells_its_type_and_not_its_text():
    async with ends({}, {"fail": lambda: 1 / 0, "slow": slow}) as (near, _):
        with pytest.raises(LinkError, match=r"^fail: ZeroDivisionError$"):
            await near.call("fail")
        with pytest.raises(LinkError, match="KeyError"):
            await near.call("no such handler")
        assert await near.call("slow") == []


async def test_who_waits_learns_that_the_other_end_is_gone():
    gone = asyncio.Event()
    async with ends({}, {"never": asyncio.Event().wait}, gone.set) as (near, far):
        waiting = asyncio.ensure_future(near.call("never"))
        await asyncio.sleep(0)
        far.close()
        await gone.wait()
        with pytest.raises(LinkError, match="gone"):
            await waiting
        with pytest.raises(LinkError, match="gone"):
            await near.call("anything")
        near.tell("nobody hears")
