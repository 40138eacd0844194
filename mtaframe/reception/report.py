"""Tells a sender by DSN who of its recipients failed, before its client is told that the rest is done."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mtaframe.delivery import Outcome, Result
from mtaframe.dispatch import envelope_id
from mtaframe.dsn import report
from mtaframe.envelope import Envelope, Recipient
from mtaframe.event import EventType, Fact
from mtaframe.generation import Lease
from mtaframe.message import Message
from mtaframe.reply import Reply

if TYPE_CHECKING:
    from mtaframe.reception.reception import Reception

REPORT_LATER = Reply(451, "4.4.0", "some recipients failed and the report of it could not be delivered yet")


async def reported(
    reception: "Reception",
    lease: Lease,
    envelope: Envelope,
    message: Message,
    reply: Reply,
    failures: Sequence[tuple[Recipient, Result]],
    deadline: float,
) -> Reply:
    """The reply that holds after the failed recipients' sender was told, or what must be said instead."""
    generation, clock = lease.generation, reception.clock

    def unreported(recipient: Recipient, result: Result, reason: str) -> None:
        facts: dict[str, Fact] = {"code": result.reply.code, "status": result.reply.status, "unreported": reason}
        generation.report(EventType.BOUNCE_HARD, envelope, recipient, clock.now(), **facts)

    wanted = []
    for recipient, result in failures:
        if envelope.reverse_path is None:
            unreported(recipient, result, "no reverse-path")
        elif recipient.notify and "FAILURE" not in recipient.notify:
            unreported(recipient, result, "not wanted")
        else:
            wanted.append((recipient, result))
    if not wanted or envelope.reverse_path is None:
        return reply
    dsn = report(envelope, message, wanted, generation.hostname, clock.now())
    session = replace(envelope.session, protocol="DSN", account=None)
    back = Envelope(
        envelope_id(),
        session,
        None,
        clock.now(),
        (Recipient(envelope.reverse_path),),
        account=envelope.account,
        smtputf8=not envelope.reverse_path.is_ascii,
    )
    [result] = await reception.submit(lease, session, back, dsn, deadline)
    if result.outcome is Outcome.DEFERRED:
        return REPORT_LATER
    if result.outcome is Outcome.FAILED:
        for recipient, failed in wanted:
            unreported(recipient, failed, "report refused")
    return reply
