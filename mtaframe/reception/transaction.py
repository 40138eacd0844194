"""One mail transaction: who joins, what becomes of the message, and the answer that the client gets."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from mtaframe.bulkheads import Berth, Bulkhead, Site, site
from mtaframe.delivery import Outcome, Result
from mtaframe.envelope import Envelope, Recipient
from mtaframe.generation import Generation, Lease
from mtaframe.lifecycle import DnsError
from mtaframe.message import Message
from mtaframe.mime import has_long_line
from mtaframe.plugins import Stopped
from mtaframe.reception.outcomes import Outcomes
from mtaframe.reception.passage import LOOP, is_loop, processed, traced
from mtaframe.reception.report import Report
from mtaframe.reply import Reply, with_id
from mtaframe.settings import ListenerSettings, OnDefer
from mtaframe.settlement import overall, settlement
from mtaframe.submission import mended
from mtaframe.trace import has_passed
from mtaframe.verdict import Defer, Reject

if TYPE_CHECKING:
    from mtaframe.reception.reception import Reception

log = logging.getLogger("mtaframe.reception")

STREAM_FIELD = "X-Stream"
"""The header field that names a stream of the account; it does not leave the house."""
MX_WAIT = 2.0
"""Seconds to learn the site of a recipient, where transactions have become many."""

RELAY_DENIED = Reply(550, "5.7.1", "relaying denied; authenticate first")
ONE_FOR_STRANGERS = Reply(452, "4.5.3", "one recipient at a time")
RECIPIENT_OK = Reply(250, "2.1.5", "recipient ok")
NO_STREAM = Stopped(Reject("the account has no stream of that name", "5.6.0", 554), "reception")
HEADER_TOO_BIG = Reply(552, "5.3.4", "the header section is too big")
LINE_TOO_LONG = Reply(554, "5.6.0", "a line of the message is longer than 998 octets")
REPORT_LATER = Reply(451, "4.4.0", "some recipients failed and the report of it could not be delivered yet")
NO_MEMORY = Reply(452, "4.3.1", "too much mail at once for this server's memory; try again later")
NO_ROOM = Reply(451, "4.3.2", "too many transactions at once; try again later")
NO_ROOM_FOR_SITE = Reply(451, "4.3.2", "too many transactions for this destination at once; try again later")


class Transaction:
    """One MAIL with its recipients and its message: what SMTP calls a mail transaction (RFC 5321 §3.3)."""

    __slots__ = (
        "_berth", "_bulkhead", "_copy", "_envelope", "_is_known", "_is_lmtp", "_is_per_recipient", "_is_prdr",
        "_keeping", "_lease", "_listener", "_open_places", "_outcomes", "_reception", "_recipients", "refusal",
    )  # fmt: skip

    def __init__(
        self,
        reception: "Reception",
        lease: Lease,
        listener: ListenerSettings,
        envelope: Envelope,
        bulkhead: Bulkhead,
        is_prdr: bool = False,
    ) -> None:
        self._reception = reception
        self._lease = lease
        self._listener = listener
        self._envelope = envelope
        self._bulkhead = bulkhead
        self._is_prdr = is_prdr
        self._is_lmtp = listener.kind == "lmtp"
        self._is_per_recipient = self._is_lmtp or is_prdr
        self._is_known = envelope.session.account is not None or envelope.session.trusted
        """Whether the client is logged in or trusted."""
        self._recipients: list[Recipient] = []
        self._berth: Berth | None = None
        self._outcomes: Outcomes | None = None
        self._keeping: OnDefer = "upstream"
        self._copy: tuple[Envelope, Message] | None = None
        """The message as on_data left it, for those in whose place in ``_open_places`` it is sent."""
        self._open_places: list[int] = []
        self.refusal: Reply | None = None
        """What DATA has to be answered with: nobody is to get the message now."""

    @property
    def accepted(self) -> int:
        """Recipients accepted so far."""
        return len(self._recipients)

    @property
    def id(self) -> str:
        return self._envelope.id

    async def add(self, recipient: Recipient) -> Reply:
        """Let one recipient join, or refuse it alone.

        Applications are told of a temporary refusal at DATA, for all: many pass over a single refused recipient.
        """
        if not self._is_known:
            if not self._listener.relays(recipient.address.domain):
                return RELAY_DENIED
            if self._recipients:
                return ONE_FOR_STRANGERS
        answer: Recipient | Stopped = recipient
        plugins = self._lease.generation.plugins
        if plugins.has("on_rcpt"):
            envelope = self._envelope.with_recipients(tuple(self._recipients))
            answer = await plugins.on_rcpt(envelope.session, envelope, recipient)
        refusal: Reply | None
        if isinstance(answer, Stopped):
            self._log_refused(answer.by, answer.verdict.reply)
            self._reception.emit_refused(self._lease.generation, self._envelope, recipient, answer)
            refusal, is_for_now = answer.verdict.reply, isinstance(answer.verdict, Defer)
            answer = recipient
        else:
            refusal, is_for_now = await self._room_for(answer.address.domain), True
        if refusal is not None:
            if not (is_for_now and self._listener.kind == "application"):
                return refusal
            self.refusal = self.refusal or refusal
        self._recipients.append(answer)
        return RECIPIENT_OK

    def has_room_for(self, octets: int) -> bool:
        """Whether there is room for a message of so many octets; if so, it is kept free."""
        place = self._lease.place
        return place is None or place.grow_to(octets)

    async def complete(self, octets: bytes | bytearray, say: Callable[[Reply], None]) -> None:
        """Says what comes after the final dot: for LMTP and PRDR one per recipient, in order; then one, but for LMTP.

        Cancelling means that the client is gone: what can be called off is; the rest goes on into the ledger.
        """
        message = Message.parse(octets, is_bounded=True)
        del octets  # a message is in RAM once
        refused = self._refusal_of(message)
        if refused is not None:
            self._leave()
            for _ in range(self.accepted * self._is_per_recipient + (not self._is_lmtp)):
                say(refused)
            return
        deadline = self._reception.clock.monotonic() + self._listener.seconds_of_patience
        try:
            outcomes = await self._deliver(message, deadline)
            results: list[Result] = []
            for place in range(self.accepted):
                result = self._kept(outcomes, place, await outcomes.result(place, deadline))
                results.append(result)
                if self._is_per_recipient:
                    await outcomes.told(place, result)
                    say(with_id(result.reply, self.id) if result.reply.is_positive else result.reply)
            if self._is_prdr:
                say(overall(results, self.id))
            elif not self._is_lmtp:
                say(await self._one_reply(outcomes, message, results, deadline))
        finally:
            self._leave()
            if self._outcomes is not None:
                self._outcomes.let_go()

    def proven(self) -> None:
        """The client has read the answer: what it knows to be final need not be remembered."""
        if self._outcomes is not None:
            self._outcomes.proven()

    def unproven(self) -> None:
        """The answer may not have arrived: what is final is remembered, for the client will try again."""
        if self._outcomes is not None:
            self._outcomes.unproven()

    # Room for it

    async def _room_for(self, domain: str) -> Reply | None:
        """None if there is room for one more recipient in this domain."""
        if self._berth is None:
            self._berth = self._bulkhead.enter(self._envelope.account)
        if self._berth is None:
            self._log_refused("bulkheads", NO_ROOM)
            return NO_ROOM
        generation = self._lease.generation
        if self._bulkhead.is_busy and _goes_by_mx(generation):
            with suppress(DnsError, TimeoutError):
                async with asyncio.timeout(MX_WAIT):
                    await generation.resolver.mx(domain)  # known from now on, to every transaction

            def site_of(other: str) -> Site:
                return site(other, generation.resolver.known_mx(other))

            if not self._bulkhead.has_room(self._berth, domain, site_of):
                self._log_refused("bulkheads", NO_ROOM_FOR_SITE)
                if not self.accepted:
                    self._leave()
                return NO_ROOM_FOR_SITE
        self._berth.join(domain)
        return None

    def _leave(self) -> None:
        """It is open no more: its place is free."""
        if self._berth is not None:
            self._berth.leave()
            self._berth = None

    def _log_refused(self, by: str, reply: Reply) -> None:
        account = self._envelope.account
        log.info("recipient refused id=%s account=%s by=%s code=%d", self.id, account, by, reply.code)

    # The message

    def _refusal_of(self, message: Message) -> Reply | None:
        if message.is_excessive:
            return HEADER_TOO_BIG
        if self._listener.long_lines == "reject" and (has_long_line(message.header) or has_long_line(message.body)):
            return LINE_TOO_LONG
        return self.refusal

    async def _deliver(self, message: Message, deadline: float) -> Outcomes:
        """Begin to deliver to everyone who is not done already."""
        reception, generation = self._reception, self._lease.generation
        envelope, account = self._envelope, self._envelope.account
        if account is None and envelope.session.trusted:
            author = generation.accounts.author_of(message)
            account = author.name if author else self._listener.account
        envelope = envelope if account == envelope.account else replace(envelope, account=account)
        envelope = self._envelope = envelope.with_recipients(tuple(self._recipients))
        outcomes = Outcomes(reception.ledger, reception.clock, reception.alarms, envelope, message)
        await outcomes.look_up()
        self._outcomes = outcomes
        self._open_places = outcomes.open_places
        if not self._open_places:
            return outcomes
        self._keeping = self._keeper(generation, message)
        if len(self._open_places) < len(envelope.recipients):
            envelope = envelope.with_recipients(tuple(envelope.recipients[place] for place in self._open_places))
        prepared = self._prepared(envelope, message)
        if not isinstance(prepared, Stopped):
            prepared = await processed(self._lease, *prepared, deadline, reception.alarms)
        if isinstance(prepared, Stopped):
            results = await reception.dispatch.refuse(self._lease, envelope, message, prepared)
            outcomes.ended(self._open_places, results)
            return outcomes
        self._copy = prepared
        barrier = 0.0 if outcomes.is_repeat or self._is_per_recipient else self._listener.seconds_of_barrier
        outcomes.begun(self._open_places, reception.start(self._lease, *prepared, deadline, self._keeping, barrier))
        return outcomes

    def _keeper(self, generation: Generation, message: Message) -> OnDefer:
        """Who keeps what can't be delivered now.

        Strangers keep their mail: they must never cause a report. Mail that comes back to us is not handed off again.
        """
        if not self._is_known:
            return "upstream"
        keeping: OnDefer = self._listener.on_defer
        if (name := self._envelope.account) is not None and (account := generation.accounts.get(name)) is not None:
            keeping = cast("OnDefer", account.on_defer) or keeping
        if keeping == "handoff" and has_passed(message, generation.hostname):
            return "upstream"
        return keeping

    def _prepared(self, envelope: Envelope, message: Message) -> tuple[Envelope, Message] | Stopped:
        """What the core itself does before the plugins see the message."""
        generation = self._lease.generation
        if is_loop(message):
            return LOOP
        if (stream := message.first(STREAM_FIELD)) is not None:
            account = generation.accounts.get(envelope.account or "")
            if account is None or stream not in account.streams:
                return NO_STREAM
            message = message.without(STREAM_FIELD)
            envelope = replace(envelope, stream=stream)
        if self._listener.kind == "application":
            message = mended(message, generation.hostname, envelope.received_at)
        return envelope, traced(envelope, message, generation.hostname)

    # The answer

    def _kept(self, outcomes: Outcomes, place: int, result: Result) -> Result:
        """What the client is told of one recipient, after this server has kept what it is to keep."""
        if self._keeping == "hold" and place in self._open_places:
            kept = self._reception.kept(result, self._keeping, self._copy, self._open_places.index(place))
            if kept is not result:
                outcomes.ended([place], [kept])
            return kept
        return result

    async def _one_reply(
        self, outcomes: Outcomes, message: Message, results: Sequence[Result], deadline: float
    ) -> Reply:
        is_given_up = outcomes.age > self._lease.generation.settings.give_up
        settled = settlement(results, self.id, is_given_up)
        reply = settled.reply
        if settled.report and await self._is_unreported(outcomes, message, settled.report, results, deadline):
            reply = REPORT_LATER
        if reply.code // 100 == 4:
            await outcomes.unsettled()
        else:
            outcomes.told_all()
        return reply

    async def _is_unreported(
        self,
        outcomes: Outcomes,
        message: Message,
        failed: Sequence[int],
        results: Sequence[Result],
        deadline: float,
    ) -> bool:
        """Report to the sender that some have failed. True if it must be tried again."""
        failures = [(self._envelope.recipients[place], results[place]) for place in failed]
        fingerprint = outcomes.report_fingerprint(failed)
        report = Report(self._reception, self._lease, self._envelope, message, failures, self._keeping)
        result = await report.sent(deadline, fingerprint)
        if result is None:
            return False
        outcomes.reported(fingerprint, result)
        return result.outcome is Outcome.DEFERRED


def _goes_by_mx(generation: Generation) -> bool:
    """Whether mail leaves for the sites of its recipients, unless a plugin sends it elsewhere."""
    route = generation.default_route
    return route.next_hop is None and route.transport in ("smtp", "lmtp")
