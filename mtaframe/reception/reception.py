"""One reception, however many porches: sessions, transactions, and mail that does not come by SMTP."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from mtaframe.address import Address
from mtaframe.delivery import Outcome, Result
from mtaframe.dispatch import NOT_ANSWERED, Dispatch, envelope_id, result_of
from mtaframe.envelope import Envelope, Mail, Recipient, Session
from mtaframe.event import EventType, Fact
from mtaframe.generation import Generation, Lease
from mtaframe.ledger import Ledger
from mtaframe.lifecycle import Clock
from mtaframe.message import Message
from mtaframe.plugins import Stopped
from mtaframe.reception.transaction import Transaction
from mtaframe.reply import Reply
from mtaframe.settings import ListenerSettings
from mtaframe.verdict import Defer, Reject

log = logging.getLogger("mtaframe.reception")

SUBMIT_PATIENCE = 280.0

BAD_CREDENTIALS = Reply(535, "5.7.8", "user name or password not accepted")
TOO_SLOW = Stopped(Defer("not processed in time; try again", "4.4.7"), "reception")


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

    async def begin(self, session: Session, listener: ListenerSettings, mail: Mail) -> Transaction | Reply:
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


def _account(
    generation: Generation, session: Session, listener: ListenerSettings, reverse_path: Address | None
) -> str | None:
    """Whose mail it is: AUTH says it; else, for trusted clients, the owner of the reverse-path's domain."""
    if session.account is not None or not session.trusted or reverse_path is None:
        return session.account
    owner = generation.accounts.owner_of(reverse_path.domain)
    return owner.name if owner is not None else None
