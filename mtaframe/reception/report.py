"""Tells a sender by DSN who of its recipients failed, before its client is told that the rest is done."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from mtaframe.address import dns_name
from mtaframe.delivery import Outcome, Result
from mtaframe.dispatch import envelope_id
from mtaframe.dsn import Told, report
from mtaframe.envelope import Envelope, Recipient
from mtaframe.event import EventType, Fact
from mtaframe.generation import Lease
from mtaframe.ledger import Entry
from mtaframe.message import Message
from mtaframe.reception.passage import awaited
from mtaframe.settings import OnDefer

if TYPE_CHECKING:
    from mtaframe.reception.reception import Reception


class Report:
    """On the failed recipients of one message; ``keeping`` says who keeps the DSN if it can't be delivered now."""

    def __init__(
        self,
        reception: "Reception",
        lease: Lease,
        envelope: Envelope,
        message: Message,
        failures: Told,
        keeping: OnDefer,
    ) -> None:
        self._reception = reception
        self._lease = lease
        self._envelope = envelope
        self._message = message
        self._failures = failures
        self._keeping = keeping

    async def sent(self, deadline: float, fingerprint: bytes | None = None) -> Result | None:
        """How the DSN ended, or None if nobody wants one. Whoever is not told by DSN is told of by event.

        Under its ``fingerprint`` the ledger may know it from an earlier try, and follows it beyond the deadline.
        """
        wanted = [failure for failure in self._failures if self._is_wanted(*failure)]
        if not wanted:
            return None
        result = await self._known_or_sent(wanted, deadline, fingerprint)
        if result.outcome is Outcome.FAILED:
            self.unreported(wanted, "report refused")
        return result

    def unreported(self, failures: Told, reason: str) -> None:
        """Tell by event who failed without a report."""
        for recipient, result in failures:
            facts: dict[str, Fact] = {"code": result.reply.code, "status": result.reply.status, "unreported": reason}
            now = self._reception.clock.now()
            self._lease.generation.report(EventType.BOUNCE_HARD, self._envelope, recipient, now, **facts)

    def _is_wanted(self, recipient: Recipient, result: Result) -> bool:
        if self._envelope.reverse_path is None:
            self.unreported([(recipient, result)], "no reverse-path")
        elif recipient.notify and "FAILURE" not in recipient.notify:
            self.unreported([(recipient, result)], "not wanted")
        else:
            return True
        return False

    async def _known_or_sent(self, wanted: Told, deadline: float, fingerprint: bytes | None) -> Result:
        ledger, clock, alarms = self._reception.ledger, self._reception.clock, self._reception.alarms
        if fingerprint is not None and not ledger.is_empty:
            [found] = await ledger.look_up([fingerprint])
            if isinstance(found, Entry):
                return found.result
            if found is not None:
                return await awaited(found, deadline, alarms)
        back = written(self._lease.generation.hostname, self._envelope, self._message, wanted, clock.now())
        carried = await self._reception.carry(self._lease, *back, deadline, self._keeping)
        [future] = carried.results
        try:
            result = await awaited(future, deadline, alarms)
        finally:
            carried.end()
            if fingerprint is not None and not future.done():
                await ledger.detach({fingerprint: future})
        return self._reception.kept(result, self._keeping, carried.copy, 0)


def written(hostname: str, envelope: Envelope, message: Message, told: Told, now: datetime) -> tuple[Envelope, Message]:
    """The DSN of this, from the null reverse-path to the message's own.

    A domain in U-labels needs no SMTPUTF8 (RFC 6531 §3.2): the sender's host need not offer it, and must hear of it.
    """
    to = envelope.reverse_path
    assert to is not None
    if to.local_part.isascii():
        with suppress(UnicodeError):
            to = replace(to, domain=dns_name(to.domain))
            envelope = replace(envelope, reverse_path=to)
    session = replace(envelope.session, client="", ehlo=hostname, protocol="DSN", tls=None, account=None, origin=None)
    back = Envelope(
        envelope_id(), session, None, now, (Recipient(to),), account=envelope.account, smtputf8=not to.is_ascii
    )
    return back, report(envelope, message, told, hostname, now)
