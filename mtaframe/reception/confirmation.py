"""Tells a sender by DSN who got the mail, where it asked for that and no next hop will (RFC 3461 §5.2.2, §5.2.3).

The law: it waits for nobody and keeps nobody waiting. The mail is where it should be, so a report of it that can't be
delivered is never a reason to try again.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mtaframe.delivery import Outcome, Result
from mtaframe.dispatch import UnderWay
from mtaframe.generation import Generation
from mtaframe.message import Message
from mtaframe.reception.passage import awaited
from mtaframe.reception.report import written
from mtaframe.reply import for_log

if TYPE_CHECKING:
    from mtaframe.reception.reception import Reception

log = logging.getLogger("mtaframe.reception")

PATIENCE = 280.0
"""Seconds to deliver the report."""


def confirm(reception: "Reception", message: Message, under_way: UnderWay) -> None:
    """See to it that those who ask for it hear of success, once the attempts under way have ended."""
    envelope = under_way.envelope
    if envelope.reverse_path is None:
        return
    wanted = [place for place, recipient in enumerate(envelope.recipients) if "SUCCESS" in recipient.notify]
    if wanted:
        reception.dispatch.in_background(_confirmed(reception, message.with_body(b""), under_way, wanted))


async def _confirmed(reception: "Reception", message: Message, under_way: UnderWay, wanted: Sequence[int]) -> None:
    envelope, lease = under_way.envelope, under_way.lease
    await asyncio.wait([under_way.results[place] for place in wanted])
    results = [(envelope.recipients[place], under_way.results[place].result()) for place in wanted]
    told = [(recipient, result) for recipient, result in results if _is_ours(result, lease.generation)]
    if not told:
        return
    now, deadline = reception.clock.now(), reception.clock.monotonic() + PATIENCE
    back = written(lease.generation.hostname, envelope, message, told, now)
    carried = await reception.carry(lease, *back, deadline, "handoff")
    try:
        result = await awaited(carried.results[0], deadline, reception.alarms)
    finally:
        carried.end()
    if result.outcome is not Outcome.DELIVERED:
        reply = for_log(result.reply).replace(" ", "/")
        log.warning("no report of success id=%s account=%s reply=%s", envelope.id, envelope.account or "-", reply)


def _is_ours(result: Result, generation: Generation) -> bool:
    """Whether the report is ours to write: delivered for real, and by nobody who reports it."""
    if result.outcome is not Outcome.DELIVERED or result.passed_on or result.route is None:
        return False
    return not generation.transports[result.route.transport].test_only
