"""One mail transaction: who joins, what the ledger knows, and the answer that the client gets."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from mtaframe.delivery import Result
from mtaframe.dispatch import UnderWay
from mtaframe.envelope import Envelope, Recipient
from mtaframe.generation import Lease
from mtaframe.ledger import Entry
from mtaframe.message import Message
from mtaframe.plugins import Stopped
from mtaframe.reception.report import reported
from mtaframe.reply import Reply, with_id
from mtaframe.settings import ListenerSettings
from mtaframe.settlement import settlement
from mtaframe.submission import mended
from mtaframe.trace import HOPS_LIMIT, hops, received
from mtaframe.verdict import Defer, Reject

if TYPE_CHECKING:
    from mtaframe.reception.reception import Reception

log = logging.getLogger("mtaframe.reception")

STREAM_FIELD = "X-Stream"
"""The header field that names a stream of the account; it does not leave the house."""

RELAY_DENIED = Reply(550, "5.7.1", "relaying denied; authenticate first")
ONE_FOR_STRANGERS = Reply(452, "4.5.3", "one recipient at a time")
RECIPIENT_OK = Reply(250, "2.1.5", "recipient ok")
LOOP = Stopped(Reject(f"more than {HOPS_LIMIT} Received fields: a mail loop", "5.4.6", 554), "reception")
NO_STREAM = Stopped(Reject("the account has no stream of that name", "5.6.0", 554), "reception")
HEADER_TOO_BIG = Reply(552, "5.3.4", "the header section is too big")


class Transaction:
    """One MAIL with its recipients and its message: what SMTP calls a mail transaction (RFC 5321 §3.3)."""

    def __init__(self, reception: "Reception", lease: Lease, listener: ListenerSettings, envelope: Envelope) -> None:
        self._reception = reception
        self._lease = lease
        self._listener = listener
        self._envelope = envelope
        self._held: Reply | None = None
        self._message: Message | None = None
        self._under_way: UnderWay | None = None
        self._pending: dict[int, asyncio.Future[Result]] = {}
        self._results: dict[int, Result] = {}
        self._told_final: frozenset[int] = frozenset()
        self._open_since: float | None = None
        """When the ledger saw the first of these recipients become final, if it knows any."""

    @property
    def accepted(self) -> int:
        """Recipients accepted so far."""
        return len(self._envelope.recipients)

    @property
    def id(self) -> str:
        return self._envelope.id

    async def add(self, recipient: Recipient) -> Reply:
        """Let one recipient join, or refuse it alone."""
        session, envelope = self._envelope.session, self._envelope
        if not (session.account or session.trusted):
            if recipient.address.domain not in self._listener.relay_domains:
                return RELAY_DENIED
            if envelope.recipients:
                return ONE_FOR_STRANGERS
        answer = await self._lease.generation.plugins.on_rcpt(session, envelope, recipient)
        if isinstance(answer, Stopped):
            reply = answer.verdict.reply
            log.info(
                "recipient refused id=%s account=%s by=%s code=%d",
                self.id,
                envelope.account,
                answer.by,
                reply.code,
            )
            self._reception.emit_refused(self._lease.generation, envelope, recipient, answer)
            if not (self._listener.kind == "application" and isinstance(answer.verdict, Defer)):
                return reply
            self._held = reply
            answer = recipient
        self._envelope = replace(envelope, recipients=(*envelope.recipients, answer))
        return RECIPIENT_OK

    async def complete(self, octets: bytes) -> AsyncIterator[Reply]:
        """The replies after the final dot, in order: one per recipient for LMTP, else one for all.

        Cancelling means that the client is gone: what can be called off is; the rest goes on into the ledger.
        """
        message = Message.parse(octets)
        refused = HEADER_TOO_BIG if message.is_excessive else self._held
        if refused is not None:
            for _ in range(self.accepted if self._is_lmtp else 1):
                yield refused
            return
        deadline = self._reception.clock.monotonic() + self._listener.seconds_of_patience
        try:
            await self._deliver(message, deadline)
            if self._is_lmtp:
                for index in range(self.accepted):
                    result = await self._result(index, deadline)
                    if result.outcome.is_final:
                        self._told_final |= {index}
                    elif index in self._pending:
                        await self._unsettled({})
                    yield self._line(result)
            else:
                results = [await self._result(index, deadline) for index in range(self.accepted)]
                yield await self._one_reply(results, deadline)
        finally:
            self._let_go()

    def proven(self) -> None:
        """The client has read the answer: what it knows to be final need not be remembered."""
        self._let_go()
        if not self._reception.ledger.is_empty:
            self._reception.ledger.forget([self._fingerprints[index] for index in self._told_final])

    def unproven(self) -> None:
        """The answer may not have arrived: what is final is remembered, for the client will try again."""
        self._let_go()
        self._remember(self._results)

    @property
    def _is_lmtp(self) -> bool:
        return self._listener.kind == "lmtp"

    @cached_property
    def _fingerprints(self) -> tuple[bytes, ...]:
        if self._message is None:
            return ()
        return self._reception.ledger.fingerprints(self._envelope, self._message)

    def _remember(self, results: Mapping[int, Result]) -> Awaitable[None] | None:
        """Enter what is final; done once the entries are safe."""
        final = {self._fingerprints[index]: result for index, result in results.items() if result.outcome.is_final}
        return self._reception.ledger.write(final) if final else None

    async def _deliver(self, message: Message, deadline: float) -> None:
        """Begin to deliver to everyone who is not done already."""
        reception, generation = self._reception, self._lease.generation
        self._message = message
        if self._envelope.account is None and self._envelope.session.trusted:
            author = generation.accounts.author_of(message)
            self._envelope = replace(self._envelope, account=author.name if author else self._listener.account)
        await self._look_up()
        open_ones = [i for i in range(self.accepted) if i not in self._results and i not in self._pending]
        if not open_ones:
            return
        envelope = replace(self._envelope, recipients=tuple(self._envelope.recipients[i] for i in open_ones))
        prepared = self._prepared(envelope, message)
        if not isinstance(prepared, Stopped):
            prepared = await reception.processed(self._lease, *prepared, deadline)
        if isinstance(prepared, Stopped):
            results = await reception.dispatch.refuse(self._lease, envelope, message, prepared)
            self._results.update(zip(open_ones, results, strict=True))
            return
        self._under_way = reception.dispatch.start(self._lease, *prepared, deadline)
        self._pending.update(zip(open_ones, self._under_way.results, strict=True))

    async def _look_up(self) -> None:
        ledger = self._reception.ledger
        if ledger.is_empty:
            return
        for index, found in enumerate(await ledger.look_up(self._fingerprints)):
            if isinstance(found, Entry):
                self._results[index] = found.result
                self._open_since = min(found.since, self._open_since or found.since)
            elif found is not None:
                self._pending[index] = found

    def _prepared(self, envelope: Envelope, message: Message) -> tuple[Envelope, Message] | Stopped:
        """What the core itself does before the plugins see the message."""
        generation = self._lease.generation
        if hops(message) > HOPS_LIMIT:
            return LOOP
        if (stream := message.first(STREAM_FIELD)) is not None:
            account = generation.accounts.get(envelope.account or "")
            if account is None or stream not in account.streams:
                return NO_STREAM
            message = message.without(STREAM_FIELD)
            envelope = replace(envelope, stream=stream)
        if self._listener.kind == "application":
            message = mended(message, generation.hostname, envelope.received_at)
        return envelope, message.prepend("Received", received(envelope, generation.hostname))

    async def _result(self, index: int, deadline: float) -> Result:
        if index not in self._results:
            result = await self._reception.awaited(self._pending[index], deadline)
            if not self._pending[index].done():
                return result
            self._results[index] = result
            del self._pending[index]
        return self._results[index]

    def _line(self, result: Result) -> Reply:
        return with_id(result.reply, self.id) if result.reply.is_positive else result.reply

    async def _one_reply(self, results: Sequence[Result], deadline: float) -> Reply:
        settled = settlement(results, self.id, self._is_given_up())
        reply = settled.reply
        if settled.report and self._message is not None:
            failures = [(self._envelope.recipients[index], results[index]) for index in settled.report]
            reply = await reported(
                self._reception, self._lease, self._envelope, self._message, reply, failures, deadline
            )
        if reply.code // 100 == 4:
            await self._unsettled(dict(enumerate(results)))
        else:
            self._told_final = frozenset(range(self.accepted))
        return reply

    async def _unsettled(self, results: Mapping[int, Result]) -> None:
        """The client will come again: every process has to know what is final and what is under way by then."""
        detached = self._let_go()
        remembered = self._remember(results)
        for safe in (detached, remembered):
            if safe is not None:
                await safe

    def _is_given_up(self) -> bool:
        """Whether outcomes stay mixed for longer than ``give_up``: the ledger knows since when."""
        if self._open_since is None:
            return False
        age = self._reception.clock.now().timestamp() - self._open_since
        return age > self._lease.generation.settings.give_up

    def _let_go(self) -> Awaitable[None] | None:
        """End what can be ended; what is beyond its point of no return is followed by the ledger.

        What comes back is done once every process knows of it.
        """
        if self._under_way is None:
            return None
        under_way, self._under_way = self._under_way, None
        under_way.end()
        ours = set(under_way.results)
        late: dict[int, Result] = {}
        detached: dict[bytes, asyncio.Future[Result]] = {}
        for index, future in self._pending.items():
            if future.done():
                self._results[index] = late[index] = future.result()
            elif future in ours:
                detached[self._fingerprints[index]] = future
        self._remember(late)  # it came too late to be told
        return self._reception.ledger.detach(detached) if detached else None
