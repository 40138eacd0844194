"""One reception, however many porches: sessions, transactions, and mail that does not come by SMTP."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from mtaframe.address import Address
from mtaframe.alarms import Alarms
from mtaframe.bulkheads import Bulkheads
from mtaframe.delivery import Outcome, Result
from mtaframe.dispatch import Dispatch, UnderWay, envelope_id, result_of
from mtaframe.envelope import Envelope, Mail, Recipient, Session
from mtaframe.event import EventType, Fact
from mtaframe.generation import Generation, Lease
from mtaframe.handoff import NO_TERMS, Terms, handoff_of, may_be_kept
from mtaframe.ledger import Ledger
from mtaframe.lifecycle import Clock, Identity
from mtaframe.memory import Memory
from mtaframe.message import Message
from mtaframe.plugins import Stopped
from mtaframe.reception.confirmation import confirm
from mtaframe.reception.hold import Hold
from mtaframe.reception.passage import LOOP, TOO_SLOW, Carried, is_loop, processed, traced
from mtaframe.reception.submission import Submission, Told
from mtaframe.reception.transaction import NO_MEMORY, NO_ROOM, Transaction
from mtaframe.reply import Reply
from mtaframe.settings import ListenerSettings, OnDefer
from mtaframe.settlement import HELD
from mtaframe.verdict import Reject

log = logging.getLogger("mtaframe.reception")

SUBMIT_PATIENCE = 280.0

BAD_CREDENTIALS = Reply(535, "5.7.8", "user name or password not accepted")
_NOT_HELD = Result(Outcome.DEFERRED, Reply(452, "4.3.1", "no room to hold mail; try again"), "hold")
LAST_SECONDS = 2.0
"""Of the patience for mail that may be held; less, where a tenth of it is."""


class Reception:
    """One reception, however many porches. ``current`` gives the generation that new transactions begin in.

    ``share`` is the part of what the server may have open or hold that is this process's.
    """

    def __init__(
        self,
        current: Callable[[], Generation],
        dispatch: Dispatch,
        ledger: Ledger,
        clock: Clock,
        share: float = 1.0,
    ) -> None:
        self._current = current
        self.dispatch = dispatch
        self.ledger = ledger
        self.clock = clock
        self.alarms = Alarms(clock)
        self.bulkheads = Bulkheads(share)
        self.memory = Memory(share)
        self.hold = Hold(self, share)

    def lease(self) -> Lease:
        """Of the generation that new work begins in."""
        return self._current().lease()

    async def drain(self, seconds: float) -> None:
        """The server stops: whatever is kept here finds another keeper."""
        await self.hold.drain(seconds)

    async def connect(self, session: Session) -> Session | Reply:
        """The session as the plugins want it, or the banner that ends it (554 or 421)."""
        lease = self.lease()
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

    async def account_of(self, user: str) -> str | None:
        """The account that a user of this name logs in to, for who has proved elsewhere to be that user."""
        account = self._current().accounts.of_user(user)
        return account.name if account is not None else None

    async def begin(self, session: Session, listener: ListenerSettings, mail: Mail) -> Transaction | Reply:
        """A transaction in the current generation, or why not now."""
        bulkhead = self.bulkheads.of(listener.name, listener.max_transactions)
        if listener.kind == "application" and bulkhead.is_full:
            return NO_ROOM
        lease = self.lease()
        account = _account(lease.generation, session, listener, mail.reverse_path)
        self.memory.limit_to(lease.generation.settings.max_in_flight)
        place = lease.place = self.memory.place(account)
        if not place.grow_to(mail.size):
            return NO_MEMORY
        envelope = Envelope(
            id=envelope_id(),
            session=session,
            reverse_path=mail.reverse_path,
            received_at=self.clock.now(),
            account=account,
            size=mail.size,
            body=mail.body,
            smtputf8=mail.smtputf8,
            ret=mail.ret,
            envid=mail.envid,
            requiretls=mail.requiretls,
        )
        return Transaction(self, lease, listener, envelope, bulkhead, mail.prdr)

    async def submit(
        self,
        lease: Lease,
        session: Session,
        envelope: Envelope,
        message: Message,
        deadline: float | None = None,
        identity: Identity | None = None,
        told: Told | None = None,
    ) -> list[Result]:
        """Mail that does not come by SMTP: the same walk from on_rcpt on. One result per recipient, in order.

        Who submits keeps what is deferred, unless the account has it handed off. Its repeat is recognised.
        """
        deadline = deadline if deadline is not None else self.clock.monotonic() + SUBMIT_PATIENCE
        account = lease.generation.accounts.get(envelope.account or "")
        keeping: OnDefer = "handoff" if account is not None and account.on_defer == "handoff" else "upstream"
        walk = Submission(self, lease, session, envelope, message, deadline, identity)
        await walk.begin(keeping)
        return await walk.results(told)

    async def accept(
        self,
        lease: Lease,
        session: Session,
        envelope: Envelope,
        message: Message,
        identity: Identity | None = None,
    ) -> list[Result]:
        """The same for who does not wait: HELD, unless it is refused at once. What is deferred is tried again.

        All are deferred where nothing more can be held: a result that comes later reaches nobody.
        """
        if not self.hold.has_room(envelope, message):
            return [_NOT_HELD] * len(envelope.recipients)
        deadline = self.clock.monotonic() + SUBMIT_PATIENCE
        walk = Submission(self, lease, session, envelope, message, deadline, identity)
        await walk.begin("hold")
        try:
            results = await walk.accepted()
        except asyncio.CancelledError:  # a repeat is told that it is held
            self.dispatch.in_background(walk.held())
            raise
        self.dispatch.in_background(walk.held())
        return results

    async def carry(
        self, lease: Lease, envelope: Envelope, message: Message, deadline: float, keeping: OnDefer
    ) -> Carried:
        """Begin the walk of mail that does not come by SMTP."""
        if lease.place is None:
            lease.place = self.memory.place(envelope.account)
        lease.place.take(message.size)
        results: list[asyncio.Future[Result]] = []
        accepted: list[Recipient] = []
        joined: list[int] = []
        for place, recipient in enumerate(envelope.recipients):
            answer = await self._joined(lease, envelope.with_recipients(tuple(accepted)), recipient, deadline)
            results.append(asyncio.get_running_loop().create_future())
            if isinstance(answer, Stopped):
                results[place].set_result(result_of(answer, at=self.clock.now()))
                self.emit_refused(lease.generation, envelope, recipient, answer)
            else:
                accepted.append(answer)
                joined.append(place)
        if not accepted:
            return Carried(results)
        envelope = envelope.with_recipients(tuple(accepted))
        copy: tuple[Envelope, Message] | Stopped = LOOP
        if not is_loop(message):
            message = traced(envelope, message, lease.generation.hostname)
            copy = await processed(lease, envelope, message, deadline, self.alarms)
        if isinstance(copy, Stopped):
            refused = await self.dispatch.refuse(lease, envelope, message, copy)
            for place, result in zip(joined, refused, strict=True):
                results[place].set_result(result)
            return Carried(results)
        under_way = self.start(lease, *copy, deadline, keeping)
        for place, future in zip(joined, under_way.results, strict=True):
            results[place] = future
        return Carried(results, under_way, copy, joined)

    async def _joined(
        self, lease: Lease, envelope: Envelope, recipient: Recipient, deadline: float
    ) -> Recipient | Stopped:
        """What on_rcpt makes of a recipient, within the time that is left."""
        try:
            with self.alarms.limit(deadline):
                return await lease.generation.plugins.on_rcpt(envelope.session, envelope, recipient)
        except TimeoutError:
            return TOO_SLOW

    def start(
        self,
        lease: Lease,
        envelope: Envelope,
        message: Message,
        deadline: float,
        keeping: OnDefer,
        barrier: float = 0.0,
    ) -> UnderWay:
        """Begin to deliver what on_data has passed.

        Who holds must know in time that nothing has come of it; who hands off, and needs no barrier then, sees to it.
        """
        terms = NO_TERMS
        if keeping == "hold":
            deadline -= min(LAST_SECONDS, (deadline - self.clock.monotonic()) / 10)
        else:
            handoff = handoff_of(lease.generation.settings) if keeping == "handoff" else None
            terms = Terms(0.0 if handoff else barrier, handoff)
        under_way = self.dispatch.start(lease, envelope, message, deadline, terms)
        confirm(self, message, under_way)
        return under_way

    def kept(self, result: Result, keeping: OnDefer, copy: tuple[Envelope, Message] | None, place: int) -> Result:
        """The result for a recipient of ``copy``; HELD, if it is deferred and this server keeps it from now on."""
        if keeping != "hold" or copy is None or not may_be_kept(result):
            return result
        envelope, message = copy
        return HELD if self.hold.take(envelope, message, envelope.recipients[place]) else result

    def emit_refused(self, generation: Generation, envelope: Envelope, recipient: Recipient, stopped: Stopped) -> None:
        """A recipient that never joined has no result: that a plugin refused it is told as an event."""
        reply = stopped.verdict.reply
        kind = EventType.BLOCK_HARD if reply.is_permanent else EventType.BLOCK_SOFT
        facts: dict[str, Fact] = {"code": reply.code, "status": reply.status, "by": stopped.by}
        if envelope.reverse_path is None:
            facts["null_reverse_path"] = True
        generation.report(kind, envelope, recipient, self.clock.now(), **facts)


def _account(
    generation: Generation, session: Session, listener: ListenerSettings, reverse_path: Address | None
) -> str | None:
    """Whose mail it is: AUTH says it; else, for trusted clients, the owner of the reverse-path's domain."""
    if session.account is not None or not session.trusted or reverse_path is None:
        return session.account
    owner = generation.accounts.owner_of(reverse_path.domain)
    return owner.name if owner is not None else None
