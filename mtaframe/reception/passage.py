"""What every message passes, whichever door it came by: the check for loops, our Received field, on_data in time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from mtaframe.alarms import Alarms
from mtaframe.delivery import Outcome, Result
from mtaframe.dispatch import NOT_ANSWERED, UnderWay
from mtaframe.envelope import Envelope
from mtaframe.generation import Lease
from mtaframe.message import Message
from mtaframe.plugins import Stopped
from mtaframe.trace import HOPS_LIMIT, hops, received
from mtaframe.verdict import Defer, Reject

LOOP = Stopped(Reject(f"more than {HOPS_LIMIT} Received fields: a mail loop", "5.4.6", 554), "reception")
TOO_SLOW = Stopped(Defer("not processed in time; try again", "4.4.7"), "reception")


@dataclass(frozen=True, slots=True)
class Carried:
    """A message on its way. ``results`` has a future per recipient, in order; ``end`` calls off what can be.

    ``copy`` is the message as on_data left it, unless a plugin stopped it; ``joined`` has the places of those who
    are its recipients.
    """

    results: Sequence[asyncio.Future[Result]]
    under_way: UnderWay | None = None
    copy: tuple[Envelope, Message] | None = None
    joined: Sequence[int] = ()

    def end(self) -> None:
        if self.under_way is not None:
            self.under_way.end()


def is_loop(message: Message) -> bool:
    return hops(message) > HOPS_LIMIT


def traced(envelope: Envelope, message: Message, hostname: str) -> Message:
    """The message with our Received field on top."""
    return message.prepend("Received", received(envelope, hostname))


async def processed(
    lease: Lease, envelope: Envelope, message: Message, deadline: float, alarms: Alarms
) -> tuple[Envelope, Message] | Stopped:
    """What on_data makes of a message, all plugins together within the time that is left."""
    if not lease.generation.plugins.has("on_data"):
        return envelope, message
    try:
        with alarms.limit(deadline):
            return await lease.generation.plugins.on_data(envelope.session, envelope, message)
    except TimeoutError:
        return TOO_SLOW


async def awaited(future: asyncio.Future[Result], deadline: float, alarms: Alarms) -> Result:
    """A result once it is there; at the deadline, that it is not there yet. The future lives on.

    What ``asyncio.wait`` does for many futures: this one is waited for once per message.
    """
    if future.done():
        return future.result()
    over = future.get_loop().create_future()

    def end(_: object = None) -> None:
        if not over.done():
            over.set_result(None)

    alarms.ring_at(deadline, end)
    future.add_done_callback(end)
    try:
        await over
    finally:
        alarms.stop(end)
        future.remove_done_callback(end)
    return future.result() if future.done() else Result(Outcome.DEFERRED, NOT_ANSWERED, "dispatch", in_doubt=True)
