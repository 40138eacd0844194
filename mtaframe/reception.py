"""Where a transaction is decided: who may send, what the ledger knows, and the answer that the client gets.

The law: a 250 after the final dot means that the next hop of every recipient has said 250. What is not known to
be final is "try again"; a crash at any instant loses nothing that we acknowledged.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property

from mtaframe.address import Address
from mtaframe.delivery import Outcome, Result
from mtaframe.dispatch import NOT_ANSWERED, Dispatch, UnderWay, envelope_id, result_of
from mtaframe.dsn import report
from mtaframe.envelope import Envelope, Mail, Recipient, Session
from mtaframe.event import EventType, Fact
from mtaframe.generation import Generation, Lease
from mtaframe.ledger import Ledger
from mtaframe.lifecycle import Clock
from mtaframe.message import Message
from mtaframe.plugins import Stopped
from mtaframe.reply import Reply, with_id
from mtaframe.settings import ListenerSettings
from mtaframe.settlement import settlement
from mtaframe.submission import mended
from mtaframe.trace import HOPS_LIMIT, hops, received
from mtaframe.verdict import Defer, Reject

log = logging.getLogger("mtaframe.reception")

STREAM_FIELD = "X-Stream"
"""The header field that names a stream of the account; it does not leave the house."""
SUBMIT_PATIENCE = 280.0

RELAY_DENIED = Reply(550, "5.7.1", "relaying denied; authenticate first")
ONE_FOR_STRANGERS = Reply(452, "4.5.3", "one recipient at a time")
RECIPIENT_OK = Reply(250, "2.1.5", "recipient ok")
BAD_CREDENTIALS = Reply(535, "5.7.8", "user name or password not accepted")
LOOP = Stopped(Reject(f"more than {HOPS_LIMIT} Received fields: a mail loop", "5.4.6", 554), "reception")
NO_STREAM = Stopped(Reject("the account has no stream of that name", "5.6.0", 554), "reception")
HEADER_TOO_BIG = Reply(552, "5.3.4", "the header section is too big")
TOO_SLOW = Stopped(Defer("not processed in time; try again", "4.4.7"), "reception")
REPORT_LATER = Reply(451, "4.4.0", "some recipients failed and the report of it could not be delivered yet")


class Reception:
    """One reception, however many porches. ``current`` gives the generation that new transactions begin in."""

    def __init__(self, current: Callable[[], Generation], dispatch: Dispatch, ledger: Ledger, clock: Clock) -> None:
        self._current = current
        self.dispatch = dispatch
        self.ledger = ledger
        self.clock = clock

    async def connect(self, session: Session) -> Session | Reply:
        """The session as the plugins want it, or the banner that ends it (554 or 421)."""
        lease = self._current().lease()
        answer = await lease.generation.plugins.on_connect(session)
        if not isinstance(answer, Stopped):
            return answer
        reply = answer.verdict.reply
        code = 554 if isinstance(answer.verdict, Reject) else 421
        log.info(
            "refused at connect session=%s listener=%s by=%s code=%d", session.id, session.listener, answer.by, code
        )
        return replace(reply, code=code)

    async def authenticate(self, session: Session, user: str, password: str) -> Session | Reply:
        """The session with its account, or 535."""
        account = await self._current().accounts.authenticate(user, password)
        if account is None:
            log.warning("authentication failed session=%s listener=%s", session.id, session.listener)
            return BAD_CREDENTIALS
        return replace(session, account=account.name)

    async def begin(self, session: Session, listener: ListenerSettings, mail: Mail) -> "Transaction | Reply":
        """A transaction in the current generation."""
        lease = self._current().lease()
        envelope = Envelope(
            id=envelope_id(),
            session=session,
            reverse_path=mail.reverse_path,
            received_at=self.clock.now(),
            account=_account(lease.generation, session, listener, mail.reverse_path),
            size=mail.size,
            body=mail.body,
            smtputf8=mail.smtputf8,
            ret=mail.ret,
            envid=mail.envid,
            requiretls=mail.requiretls,
        )
        return Transaction(self, lease, listener, envelope)

    async def submit(
        self, lease: Lease, session: Session, envelope: Envelope, message: Message, deadline: float | None = None
    ) -> list[Result]:
        """Mail that does not come by SMTP: the same walk from on_rcpt on. One result per recipient, in order."""
        deadline = deadline if deadline is not None else self.clock.monotonic() + SUBMIT_PATIENCE
        plugins = lease.generation.plugins
        results: list[Result | None] = []
        accepted: list[Recipient] = []
        for recipient in envelope.recipients:
            joined = replace(envelope, recipients=tuple(accepted))
            answer = await plugins.on_rcpt(session, joined, recipient)
            if isinstance(answer, Stopped):
                results.append(result_of(answer, at=self.clock.now()))
                self.emit_refused(lease.generation, envelope, recipient, answer)
            else:
                results.append(None)
                accepted.append(answer)
        envelope = replace(envelope, recipients=tuple(accepted))
        if accepted:
            rest = iter(await self._carried(lease, envelope, message, deadline))
            return [result if result is not None else next(rest) for result in results]
        return [result for result in results if result is not None]

    async def _carried(self, lease: Lease, envelope: Envelope, message: Message, deadline: float) -> list[Result]:
        answer = await self.processed(lease, envelope, message, deadline)
        if isinstance(answer, Stopped):
            return await self.dispatch.refuse(lease, envelope, message, answer)
        under_way = self.dispatch.start(lease, *answer, deadline)
        try:
            return [await self.awaited(future, deadline) for future in under_way.results]
        finally:
            under_way.end()

    async def processed(
        self, lease: Lease, envelope: Envelope, message: Message, deadline: float
    ) -> tuple[Envelope, Message] | Stopped:
        """What on_data makes of a message, all plugins together within the time that is left."""
        try:
            async with asyncio.timeout(max(0.0, deadline - self.clock.monotonic())):
                return await lease.generation.plugins.on_data(envelope.session, envelope, message)
        except TimeoutError:
            return TOO_SLOW

    def emit_refused(self, generation: Generation, envelope: Envelope, recipient: Recipient, stopped: Stopped) -> None:
        """A recipient that never joined has no result: that a plugin refused it is told as an event."""
        reply = stopped.verdict.reply
        kind = EventType.BLOCK_HARD if reply.is_permanent else EventType.BLOCK_SOFT
        facts: dict[str, Fact] = {"code": reply.code, "status": reply.status, "by": stopped.by}
        if envelope.reverse_path is None:
            facts["null_reverse_path"] = True
        generation.report(kind, envelope, recipient, self.clock.now(), **facts)

    async def awaited(self, future: asyncio.Future[Result], deadline: float) -> Result:
        """A result once it is there; at the deadline, that it is not there yet. The future lives on."""
        if not future.done():
            await asyncio.wait((future,), timeout=max(0.0, deadline - self.clock.monotonic()))
        if future.done():
            return future.result()
        return Result(Outcome.DEFERRED, NOT_ANSWERED, "dispatch")


class Transaction:
    """One MAIL with its recipients and its message: what SMTP calls a mail transaction (RFC 5321 §3.3)."""

    def __init__(self, reception: Reception, lease: Lease, listener: ListenerSettings, envelope: Envelope) -> None:
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
            self._reception.ledger.forget(self._fingerprints[index] for index in self._told_final)

    def unproven(self) -> None:
        """The answer may not have arrived: what is final is remembered, for the client will try again."""
        self._let_go()
        self._remember(self._results.items())

    @property
    def _is_lmtp(self) -> bool:
        return self._listener.kind == "lmtp"

    @cached_property
    def _fingerprints(self) -> tuple[bytes, ...]:
        if self._message is None:
            return ()
        return self._reception.ledger.fingerprints(self._envelope, self._message)

    def _remember(self, results: Iterable[tuple[int, Result]]) -> None:
        for index, result in results:
            if result.outcome.is_final:
                self._reception.ledger.write(self._fingerprints[index], result)

    async def _deliver(self, message: Message, deadline: float) -> None:
        """Begin to deliver to everyone who is not done already."""
        reception, generation = self._reception, self._lease.generation
        self._message = message
        if self._envelope.account is None and self._envelope.session.trusted:
            author = generation.accounts.author_of(message)
            self._envelope = replace(self._envelope, account=author.name if author else self._listener.account)
        self._look_up()
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

    def _look_up(self) -> None:
        ledger = self._reception.ledger
        if ledger.is_empty:
            return
        for index, fingerprint in enumerate(self._fingerprints):
            if (entry := ledger.entry(fingerprint)) is not None:
                self._results[index] = entry.result
            elif (future := ledger.detached.get(fingerprint)) is not None:
                self._pending[index] = future

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
        if settled.report:
            reply = await self._reported(reply, [(i, results[i]) for i in settled.report], deadline)
        if reply.code // 100 == 4:
            self._remember(enumerate(results))
        else:
            self._told_final = frozenset(range(self.accepted))
        return reply

    def _is_given_up(self) -> bool:
        """Whether outcomes stay mixed for longer than ``give_up``: the ledger knows since when."""
        ledger = self._reception.ledger
        if ledger.is_empty:
            return False
        entries = [entry for print_ in self._fingerprints if (entry := ledger.entry(print_)) is not None]
        age = self._reception.clock.monotonic() - min((entry.since for entry in entries), default=float("inf"))
        return bool(entries) and age > self._lease.generation.settings.give_up

    async def _reported(self, reply: Reply, failures: Sequence[tuple[int, Result]], deadline: float) -> Reply:
        """The reply that holds after the failed recipients' sender was told, or what must be said instead."""
        envelope, message = self._envelope, self._message
        assert message is not None
        wanted = []
        for index, result in failures:
            recipient = envelope.recipients[index]
            if envelope.reverse_path is None:
                self._emit_unreported(recipient, result, "no reverse-path")
            elif recipient.notify and "FAILURE" not in recipient.notify:
                self._emit_unreported(recipient, result, "not wanted")
            else:
                wanted.append((recipient, result))
        if not wanted or envelope.reverse_path is None:
            return reply
        generation, clock = self._lease.generation, self._reception.clock
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
        [result] = await self._reception.submit(self._lease, session, back, dsn, deadline)
        if result.outcome is Outcome.DEFERRED:
            return REPORT_LATER
        if result.outcome is Outcome.FAILED:
            for recipient, failed in wanted:
                self._emit_unreported(recipient, failed, "report refused")
        return reply

    def _emit_unreported(self, recipient: Recipient, result: Result, reason: str) -> None:
        facts: dict[str, Fact] = {"code": result.reply.code, "status": result.reply.status, "unreported": reason}
        at = self._reception.clock.now()
        self._lease.generation.report(EventType.BOUNCE_HARD, self._envelope, recipient, at, **facts)

    def _let_go(self) -> None:
        """End what can be ended; what is beyond its point of no return is followed by the ledger."""
        if self._under_way is None:
            return
        under_way, self._under_way = self._under_way, None
        under_way.end()
        ours = set(under_way.results)
        for index, future in self._pending.items():
            if future.done():
                self._results[index] = future.result()
                self._remember([(index, future.result())])  # it came too late to be told
            elif future in ours:
                self._reception.ledger.detach(self._fingerprints[index], future)


def _account(
    generation: Generation, session: Session, listener: ListenerSettings, reverse_path: Address | None
) -> str | None:
    """Whose mail it is: AUTH says it; else, for trusted clients, the owner of the reverse-path's domain."""
    if session.account is not None or not session.trusted or reverse_path is None:
        return session.account
    owner = generation.accounts.owner_of(reverse_path.domain)
    return owner.name if owner is not None else None
