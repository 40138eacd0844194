"""One reply for several recipients: the table of docs/replies.md for clients that get a single answer.

The law: 250 only if nobody is left who could still be served by another try, and whoever failed is reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mtaframe.delivery import Outcome, Result
from mtaframe.reply import Reply, with_id

HELD = Result(Outcome.DELIVERED, Reply(250, "2.0.0", "held in memory, not delivered yet"), "hold")
"""What a client is told of a recipient whose mail stays in this server's RAM, because the operator chose so."""
HELD_BACK = Reply(451, "4.4.0", "held back, for the message can't go to all of its recipients now")
"""Of a recipient whose next hop would have taken the message. The reply to all names what held it back."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """``reply`` holds once a DSN for the recipients at ``report`` (by index) has been taken care of."""

    reply: Reply
    report: tuple[int, ...] = ()


def settlement(results: Sequence[Result], envelope_id: str, given_up: bool = False) -> Settlement:
    """What the client is told. ``given_up``: some of these outcomes stay mixed since ``give_up`` ago or longer."""
    if len(results) == 1 and results[0].outcome is Outcome.DELIVERED:
        return Settlement(with_id(_positive(results), envelope_id))
    delivered = [r for r in results if r.outcome in (Outcome.DELIVERED, Outcome.DISCARDED)]
    failed = [r for r in results if r.outcome is Outcome.FAILED]
    deferred = [r for r in results if r.outcome is Outcome.DEFERRED]
    if deferred and not given_up:
        return Settlement(_not_now(results, deferred))
    rest = tuple(index for index, result in enumerate(results) if result.outcome in (Outcome.DEFERRED, Outcome.FAILED))
    if delivered:
        return Settlement(with_id(_positive(delivered), envelope_id), rest)
    if deferred:
        return Settlement(Reply(554, "5.4.7", "given up after too long a time"))
    return Settlement(_alike(failed) or Reply(554, "5.0.0", "failed for all recipients, for different reasons"))


def overall(results: Sequence[Result], envelope_id: str) -> Reply:
    """The reply that ends those to each recipient (PRDR): a refusal that all share, else 250: each reply holds.

    Exim makes a refusal here the outcome of everybody.
    """
    shared = _alike(results)
    if shared is not None and not shared.is_positive:
        return shared
    return with_id(Reply(250, "2.0.0", "each recipient has its reply"), envelope_id)


def _not_now(results: Sequence[Result], deferred: Sequence[Result]) -> Reply:
    if len(deferred) == len(results) and (reply := _alike(deferred)) is not None:
        return reply
    cause = next((r.reply for r in deferred if r.reply != HELD_BACK), HELD_BACK)
    text = f"{len(deferred)} of {len(results)} recipients not done yet: {cause.text}"
    return Reply(451, cause.status or "4.0.0", text)


def _positive(delivered: Sequence[Result]) -> Reply:
    first = delivered[0].reply
    if len(delivered) == 1:
        return Reply(250, first.status or "2.0.0", first.text)
    held = sum(r.reply == HELD.reply for r in delivered)
    if 0 < held < len(delivered):
        return Reply(250, "2.0.0", f"{held} of {len(delivered)} recipients {HELD.reply.text}")
    if all(r.reply == first for r in delivered):
        return Reply(250, first.status or "2.0.0", first.text)
    return Reply(250, "2.0.0", f"delivered to {len(delivered)} recipients")


def _alike(results: Sequence[Result]) -> Reply | None:
    first = results[0].reply
    same = all((r.reply.code, r.reply.status) == (first.code, first.status) for r in results)
    return first if same else None
