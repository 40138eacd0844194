"""Connections used again, replaced once, bounded, and gone at the end."""

import asyncio
import tracemalloc
from typing import Any

import pytest

from mtaframe import Credentials, Limits, Message, Outcome, Source
from mtaframe.testing import DROP, HANG, RESET, ScriptedMx, message
from tests.core.sending import sender

DELIVERED, DEFERRED = Outcome.DELIVERED, Outcome.DEFERRED


async def test_one_connection_carries_one_message_after_the_other_without_rset() -> None:
    async with ScriptedMx() as mx, sender() as out:
        for _ in range(5):
            await out.send(out.to(mx))
        assert (mx.messages, mx.connections, mx.open_connections) == (5, 1, 1)
    assert "RSET" not in mx.commands


async def test_an_open_transaction_is_reset_before_the_next_one() -> None:
    async with ScriptedMx() as mx, sender() as out:
        mx.script("rcpt", "550 5.1.1 nobody")
        await out.send(out.to(mx))
        (result,) = await out.send(out.to(mx))
        assert result.outcome is DELIVERED
    assert mx.commands.count("RSET") == 1
    assert mx.connections == 1
    assert not mx.faults


async def test_a_server_that_refuses_rset_is_called_anew() -> None:
    async with ScriptedMx() as mx, sender() as out:
        mx.script("rcpt", "550 5.1.1 nobody")
        mx.script("rset", "500 5.5.1 what")
        await out.send(out.to(mx))
        (result,) = await out.send(out.to(mx))
        assert result.outcome is DELIVERED
    assert mx.connections == 2


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
@pytest.mark.parametrize("trouble", [DROP, RESET, "421 4.4.2 idle too long"])
async def test_a_used_connection_that_is_gone_is_replaced_once(stage: str, trouble: Any) -> None:
    async with ScriptedMx() as mx, sender() as out:
        await out.send(out.to(mx))
        mx.script(stage, trouble)
        (result,) = await out.send(out.to(mx))
        assert result.outcome is DELIVERED
        assert (mx.messages, mx.connections) == (2, 2)
        mx.script(stage, trouble)
        mx.script(stage, trouble)
        (result,) = await out.send(out.to(mx))
        assert result.outcome is DEFERRED
        assert (mx.messages, mx.connections) == (2, 3)


async def test_a_used_connection_that_breaks_in_the_message_is_replaced() -> None:
    async with ScriptedMx() as mx, sender() as out:
        await out.send(out.to(mx))
        mx.script("content", DROP)
        (result,) = await out.send(out.to(mx), mail=_large())
        assert (result.outcome, mx.messages) == (DELIVERED, 2)


@pytest.mark.parametrize("trouble", [DROP, RESET, "421 4.3.2 closing"])
async def test_a_used_connection_that_breaks_after_the_dot_is_not_replaced(trouble: Any) -> None:
    async with ScriptedMx() as mx, sender() as out:
        await out.send(out.to(mx))
        mx.script("dot", trouble)
        (result,) = await out.send(out.to(mx))
        assert (result.outcome, mx.connections, len(mx.arrived)) == (DEFERRED, 1, 2)


async def test_a_used_connection_that_hangs_is_not_replaced() -> None:
    async with ScriptedMx() as mx, sender(command_timeout="200ms") as out:
        await out.send(out.to(mx))
        mx.script("mail", HANG)
        (result,) = await out.send(out.to(mx))
        assert (result.outcome, mx.connections) == (DEFERRED, 1)


async def test_a_refusal_before_the_break_stands_and_is_not_asked_again() -> None:
    async with ScriptedMx() as mx, sender() as out:
        await out.send(out.to(mx))
        mx.script("rcpt", "550 5.1.1 nobody", to="a@example.net")
        mx.script("rcpt", "450 4.2.0 later", to="b@example.net")
        mx.script("rcpt", DROP, to="c@example.net")
        results = await out.send(out.to(mx), "a@example.net", "b@example.net", "c@example.net")
    assert [result.reply.code for result in results] == [550, 450, 250]
    assert mx.received[1].recipients == ["c@example.net"]


async def test_what_an_idle_server_says_ends_the_connection() -> None:
    async with ScriptedMx() as mx, sender() as out:
        mx.script("dot", b"250 2.0.0 taken\r\n421 4.4.2 bye\r\n")
        (result,) = await out.send(out.to(mx))
        assert result.outcome is DELIVERED
        await mx.until(lambda: not mx.open_connections)
        (result,) = await out.send(out.to(mx))
        assert (result.outcome, mx.connections) == (DELIVERED, 2)


async def test_an_idle_connection_takes_leave_after_its_time() -> None:
    async with ScriptedMx() as mx, sender(idle_timeout="100ms") as out:
        await out.send(out.to(mx))
        await mx.until(lambda: not mx.open_connections)
    assert mx.commands[-1] == "QUIT"


async def test_a_connection_ends_after_its_uses() -> None:
    recipients = [f"r{number}@example.net" for number in range(5)]
    async with ScriptedMx() as mx, sender(max_uses=2) as out:
        results = await out.send(out.to(mx, limits=Limits(recipients=1)), *recipients)
        assert {result.outcome for result in results} == {DELIVERED}
        await out.send(out.to(mx))
    assert mx.connections == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"source": Source("one", "127.0.0.7", "one.example.com")},
        {"source": Source("one", "127.0.0.1", "one.example.com")},
        {"credentials": Credentials("user", "secret")},
    ],
)
async def test_only_what_is_alike_shares_a_connection(changes: Any) -> None:
    async with ScriptedMx(credentials={"user": "secret"}) as mx, sender() as out:
        await out.send(out.to(mx))
        await out.send(out.to(mx, **changes))
        await out.send(out.to(mx))
        await out.send(out.to(mx, **changes))
    assert (mx.messages, mx.connections) == (4, 2)


async def test_connections_are_bounded_and_the_rest_waits_its_turn() -> None:
    async with ScriptedMx() as mx, sender() as out:
        mx.script("dot", delay=0.02, always=True)
        way = out.to(mx, limits=Limits(connections=2))
        results = await asyncio.gather(*(out.send(way) for _ in range(20)))
    assert {result.outcome for (result,) in results} == {DELIVERED}
    assert (mx.messages, mx.connections, mx.most_open) == (20, 2, 2)


async def test_waiting_for_a_connection_counts_against_the_deadline() -> None:
    async with ScriptedMx() as mx, sender() as out:
        mx.script("dot", delay=0.5)
        way = out.to(mx, limits=Limits(connections=1))
        first = asyncio.create_task(out.send(way))
        await mx.until(lambda: bool(mx.arrived))
        (late,) = await out.send(way, patience=0.2)
        assert (late.outcome, late.reply.status) == (DEFERRED, "4.4.5")
        (result,) = await first
        assert result.outcome is DELIVERED


async def test_who_is_cancelled_while_waiting_takes_no_ones_turn() -> None:
    async with ScriptedMx() as mx, sender() as out:
        mx.script("dot", delay=0.2)
        way = out.to(mx, limits=Limits(connections=1))
        first = asyncio.create_task(out.send(way))
        await mx.until(lambda: bool(mx.arrived))
        second, third = asyncio.create_task(out.send(way)), asyncio.create_task(out.send(way))
        await asyncio.sleep(0.05)
        second.cancel()
        (result,) = await third
        assert result.outcome is DELIVERED
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
    assert (mx.messages, mx.connections) == (2, 1)


async def test_closing_leaves_nothing_even_if_the_server_ignores_quit() -> None:
    async with ScriptedMx() as mx:
        mx.script("quit", HANG)
        async with sender() as out:
            await out.send(out.to(mx))
        assert not out.client._pool._sites
        await mx.until(lambda: not mx.open_connections)


def _large() -> Message:
    return message("Subject: x\n\n" + ("x" * 70 + "\n") * 200_000)


@pytest.mark.parametrize("bounds", [{"connections": 0}, {"recipients": 0}, {"recipients": -1}])
def test_a_route_without_any_connection_or_recipient_is_a_fault_of_who_makes_it(bounds) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Limits(**bounds)


async def test_a_large_message_is_in_ram_once_however_many_transactions_carry_it() -> None:
    """With a dot at the beginning of a line, each of them had a copy of its own."""
    mail = message(body=("x" * 70 + "\n.\n") * 30_000)
    async with ScriptedMx() as mx, sender() as out:
        mx.script("content", HANG, always=True)
        tracemalloc.start()
        try:
            tries = [asyncio.ensure_future(out.send(out.to(mx), mail=mail)) for _ in range(10)]
            await mx.until(lambda: sum(command == "DATA" for command in mx.commands) == len(tries))
            await asyncio.sleep(0.3)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        for each in tries:
            each.cancel()
        await asyncio.gather(*tries, return_exceptions=True)
    assert kept < 3 * mail.size
