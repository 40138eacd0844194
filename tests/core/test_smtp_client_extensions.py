"""What next hops offer beyond delivery: DSN is passed on as it came (RFC 3461), LIMITS are obeyed (RFC 9422)."""

from typing import Any

import pytest

from mtaframe import Limits, Outcome, Recipient
from mtaframe.testing import ScriptedMx, deliveries, envelope, message, recipient
from tests.core.sending import Sender, sender

WITH_DSN = ("PIPELINING", "SIZE", "DSN")


async def wishing(out: Sender, mx: ScriptedMx, *recipients: Recipient, **changes: Any) -> Any:
    """Mail with wishes for DSNs to this server; the results."""
    copies = deliveries(*recipients, envelope=envelope(recipients, **changes), message=message())
    await out.send(out.to(mx))  # sets the attempt
    return await out.client.deliver(copies, out.to(mx), out.attempt)


async def test_the_wishes_of_the_sender_are_passed_on_as_they_came() -> None:
    to = (
        recipient("bob@example.net", notify=frozenset({"SUCCESS", "DELAY"}), original="rfc822;Bob+x=y@Example.NET"),
        recipient("carol@example.net", notify=frozenset({"NEVER"})),
        recipient("dave@example.net"),
    )
    async with ScriptedMx(extensions=WITH_DSN) as mx, sender() as out:
        results = await wishing(out, mx, *to, ret="HDRS", envid="Q 1+2")
    assert "RET=HDRS ENVID=Q+201+2B2" in mx.received[1].mail_parameters
    assert mx.received[1].rcpt_parameters == [
        "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bx+3Dy@Example.NET",
        "NOTIFY=NEVER",
        "",
    ]
    assert [result.passed_on for result in results] == [True] * 3
    assert not mx.faults


async def test_nothing_is_made_up_and_nothing_said_that_was_not_offered() -> None:
    bob = recipient("bob@example.net", notify=frozenset({"SUCCESS"}), original="rfc822;b@example.net")
    async with ScriptedMx(extensions=WITH_DSN) as mx, sender() as out:
        await out.send(out.to(mx))
        assert (mx.received[0].rcpt_parameters, mx.received[0].mail_parameters[:4]) == ([""], "SIZE")
    async with ScriptedMx() as mx, sender() as out:
        [result] = await wishing(out, mx, bob, ret="FULL", envid="1")
        assert (mx.received[1].rcpt_parameters, result.passed_on) == ([""], False)
        assert "RET" not in mx.received[1].mail_parameters
        assert not mx.faults


@pytest.mark.parametrize(
    ("original", "said"),
    [
        ("utf-8;ü@example.net", "ORCPT=utf-8;\\x{FC}@example.net"),
        ("utf-8;\\x{FC}@example.net", "ORCPT=utf-8;\\x{FC}@example.net"),
        ("utf-8;x\r\nDATA", "ORCPT=utf-8;x\\x{D}\\x{A}DATA"),
        ("rfc822;x\r\nDATA", "ORCPT=rfc822;x+0D+0ADATA"),
        ("rfc822;ü", ""),
        ("no type", ""),
        ("x y;z", ""),
    ],
)
async def test_no_original_recipient_breaks_the_command(original: str, said: str) -> None:
    async with ScriptedMx(extensions=WITH_DSN) as mx, sender() as out:
        [result] = await wishing(out, mx, recipient("bob@example.net", original=original))
    assert (result.outcome, mx.received[1].rcpt_parameters) == (Outcome.DELIVERED, [said])
    assert not mx.faults


async def test_rcptmax_splits_what_the_route_would_let_through() -> None:
    to = [f"r{number}@example.net" for number in range(7)]
    async with ScriptedMx(extensions=("PIPELINING", "LIMITS RCPTMAX=3")) as mx, sender() as out:
        await out.send(out.to(mx, limits=Limits(recipients=5)), *to)
    assert [len(received.recipients) for received in mx.received] == [3, 3, 1]
    assert mx.connections == 1


async def test_mailmax_bounds_the_uses_of_a_connection() -> None:
    async with ScriptedMx(extensions=("LIMITS MAILMAX=2",)) as mx, sender() as out:
        for _ in range(5):
            [result] = await out.send(out.to(mx))
            assert result.outcome is Outcome.DELIVERED
    assert [session.transactions for session in mx.sessions] == [2, 2, 1]


async def test_rcptdomainmax_counts_the_domains_of_a_session() -> None:
    to = ["a@one.example", "b@two.example", "c@one.example", "d@three.example"]
    async with ScriptedMx(extensions=("LIMITS FUTURE=x RCPTDOMAINMAX=2 MAILMAX=0 RCPTMAX=9999999",)) as mx:
        async with sender() as out:
            results = await out.send(out.to(mx), *to)
            assert [result.outcome for result in results] == [Outcome.DELIVERED] * 4
            assert [received.recipients for received in mx.received] == [to[:3], to[3:]]
            assert mx.connections == 2
            # the session that is kept has one domain left
            await out.send(out.to(mx), "a@one.example")
            await out.send(out.to(mx), "a@two.example")
    assert mx.connections == 3


async def test_with_one_domain_a_session_stays_with_it() -> None:
    async with ScriptedMx(extensions=("LIMITS RCPTDOMAINMAX=1",)) as mx, sender() as out:
        results = await out.send(out.to(mx), "a@one.example", "b@two.example", "c@one.example")
        assert [result.outcome for result in results] == [Outcome.DELIVERED] * 3
    assert [received.recipients for received in mx.received] == [["a@one.example", "c@one.example"], ["b@two.example"]]
    assert mx.connections == 2
