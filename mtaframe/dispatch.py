"""From one accepted message to a result per recipient: copies, routes, signatures, transactions, a hand-off.

The law: an attempt ends by its deadline unless the next hop may already be responsible; then it goes on without
us, and what it ends with is told to whoever still wants to know. Trouble becomes a result, never an exception.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from functools import partial

from mtaframe.alarms import Alarms
from mtaframe.barrier import Barrier
from mtaframe.copies import COPIES, Batch, Group, Halted, own_way, ready
from mtaframe.delivery import Delivery, Outcome, Result, Route, Source
from mtaframe.envelope import Envelope
from mtaframe.generation import Generation, Lease
from mtaframe.handoff import NO_TERMS, Terms, final, may_be_kept
from mtaframe.lifecycle import Attempt, Clock
from mtaframe.logs import RecipientTag, tell
from mtaframe.message import Message
from mtaframe.plugins import Stopped
from mtaframe.question import RestingSources
from mtaframe.reply import Reply, for_log
from mtaframe.verdict import Discard, Reject

log = logging.getLogger("mtaframe.dispatch")

GRACE = 3.0
"""Seconds in which what is called off at the end of the process has to end."""

OUT_OF_TIME = Reply(451, "4.4.7", "not delivered in time; try again")
NOT_ANSWERED = Reply(451, "4.4.2", "the next hop has not answered yet; try again")
INTERNAL = Reply(451, "4.3.0", "internal error; try again")
NOT_TRIED = Result(Outcome.DEFERRED, Reply(451, "4.4.7", "not handed off in time; try again"), "dispatch")


class UnderWay:
    """The attempts of one message. ``results`` has a future per recipient, in the envelope's order."""

    __slots__ = (
        "_some_ended", "alarms", "attempts", "barrier", "deadline", "envelope", "is_over", "lease", "loop",
        "preparing", "results", "terms",
    )  # fmt: skip

    def __init__(self, envelope: Envelope, lease: Lease, deadline: float = 0.0, terms: Terms = NO_TERMS) -> None:
        self.loop = loop = asyncio.get_running_loop()
        self.envelope = envelope
        self.lease = lease
        self.deadline = deadline
        self.terms = terms
        self.barrier: Barrier | None = None
        self.is_over = False
        self.results: tuple[asyncio.Future[Result], ...] = tuple(loop.create_future() for _ in envelope.recipients)
        self.attempts: dict[Attempt, asyncio.Task[None]] = {}
        self.preparing: asyncio.Task[None] | None = None
        self.alarms: Alarms | None = None
        self._some_ended: asyncio.Future[None] | None = None

    def ended(self, attempt: Attempt) -> None:
        """It can't be called off any more."""
        self.attempts.pop(attempt, None)
        if self._some_ended is not None and not self._some_ended.done():
            self._some_ended.set_result(None)

    async def room(self) -> None:
        """Wait until there are few enough attempts for the next copies to be made."""
        while len(self.attempts) > COPIES // 2:
            self._some_ended = self.loop.create_future()
            await self._some_ended

    def end(self) -> None:
        """Call off what can still be called off; what is beyond its point of no return goes on."""
        self.is_over = True
        if self.alarms is not None:
            self.alarms.stop(self.end)
        if self.preparing is not None:
            self.preparing.cancel()
        for attempt in self.attempts:
            self.call_off(attempt)

    def call_off(self, attempt: Attempt) -> None:
        """End one attempt, if it goes on and is not beyond its point of no return."""
        if attempt in self.attempts and not attempt.dot_sent:
            self.attempts[attempt].cancel()


class Dispatch:
    """Sends messages by the plugins and transports of a generation."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._alarms = Alarms(clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._tag = RecipientTag("domain")
        self._is_closing = False

    @property
    def under_way(self) -> int:
        """How many tasks are at work."""
        return len(self._tasks)

    def show_recipients(self, mode: str) -> None:
        """What log lines show of a recipient: none, domain or tag."""
        self._tag = RecipientTag(mode)

    def start(
        self, lease: Lease, envelope: Envelope, message: Message, deadline: float, terms: Terms = NO_TERMS
    ) -> UnderWay:
        """Begin to deliver; each recipient's result comes as soon as it is known."""
        under_way = UnderWay(envelope, lease, deadline, terms)
        everybody = range(len(under_way.results))
        under_way.preparing = self._task(self._prepare(under_way, message), under_way, everybody)
        under_way.alarms = self._alarms
        self._alarms.ring_at(deadline, under_way.end)
        return under_way

    def in_background(self, work: Coroutine[None, None, None]) -> None:
        """Work that nobody waits for but the end of the house, as it does for attempts."""

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("internal error in the background", exc_info=error)

        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(ended)

    async def refuse(self, lease: Lease, envelope: Envelope, message: Message, stopped: Stopped) -> list[Result]:
        """The result of a verdict on the whole message, told for each recipient."""
        under_way = UnderWay(envelope, lease)
        for index, recipient in enumerate(envelope.recipients):
            delivery = Delivery(f"{envelope.id}-{index}", envelope, recipient, envelope.reverse_path, message)
            await self._tell(under_way, index, delivery, [self._stopped(stopped, None)])
        return [future.result() for future in under_way.results]

    async def drain(self, seconds: float) -> None:
        """Wait for what is under way, then end it."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        self._is_closing = True
        for task in set(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=GRACE)

    def _task(
        self, work: Coroutine[None, None, None], under_way: UnderWay, indices: Sequence[int]
    ) -> asyncio.Task[None]:
        """A task that leaves none of these without a result, even if it is cancelled before its first step."""

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                self._settle_open(under_way, indices, OUT_OF_TIME)

        task: asyncio.Task[None] = under_way.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(ended)
        return task

    async def _prepare(self, under_way: UnderWay, message: Message) -> None:
        """Make every copy, find its route, sign it, and send copies that can travel together in one transaction.

        Where there are too many different ones, some are sent before the others are made, and no dot waits for another.
        """
        places = range(len(under_way.results))
        began = 0  # attempts have begun for those before
        batch, is_deferred = Batch(len(places) == 1), False
        try:
            for index in places:
                if batch.is_full:
                    began = index
                    self._send(under_way, batch.groups, is_whole=False)
                    batch = Batch(is_alone=False)
                    await under_way.room()
                copy = await ready(
                    under_way.lease.generation, under_way.envelope, index, message, batch.signed, under_way.terms.way
                )
                if isinstance(copy, Halted):
                    result = self._stopped(copy.stopped, copy.route)
                    is_deferred = is_deferred or not result.outcome.is_final
                    await self._tell(under_way, index, copy.delivery, [result])
                    continue
                batch.add(index, *copy)
            only = self._send(under_way, batch.groups, is_whole=not began, is_deferred=is_deferred)
            if only is not None:
                await only
        except asyncio.CancelledError:
            self._settle_open(under_way, places[began:], OUT_OF_TIME)
        except Exception:
            log.exception("dispatch failed id=%s", under_way.envelope.id)
            self._settle_open(under_way, places[began:], INTERNAL)

    def _send(
        self,
        under_way: UnderWay,
        groups: Sequence[tuple[Route, Group]],
        *,
        is_whole: bool,
        is_deferred: bool = False,
    ) -> Coroutine[None, None, None] | None:
        """Begin an attempt for each group. ``is_deferred``: some copy is not sent now, so that none may be.

        The only one of a message that ``is_whole`` needs no task of its own: it is the caller's to await.
        """
        terms = under_way.terms
        if terms.barrier and is_whole and len(under_way.results) > 1:
            parties = [party for party, (route, _) in enumerate(groups) if not own_way(route)]
            under_way.barrier = Barrier(parties, terms.barrier)
            under_way.barrier.answered(None, is_deferred)
        for party, (route, group) in enumerate(groups):
            attempt = Attempt(
                terms.first_deadline(under_way.deadline),
                _awake(under_way.lease.generation, route.source),
                partial(under_way.barrier.passed, party) if under_way.barrier is not None else None,
            )
            work = self._attempt(under_way, route, group, attempt, party)
            if is_whole and len(groups) == 1 and under_way.preparing is not None:
                under_way.attempts[attempt], under_way.preparing = under_way.preparing, None
                return work
            under_way.attempts[attempt] = self._task(work, under_way, [index for index, _ in group])
        return None

    async def _attempt(self, under_way: UnderWay, route: Route, group: Group, attempt: Attempt, party: int) -> None:
        """All that becomes of one group: a transport's results, and the smart host's for what these leave deferred."""
        results: Sequence[Result] = [NOT_TRIED] * len(group)
        if under_way.terms.straight:
            under_way.ended(attempt)
        else:
            results = await self._carried(under_way, route, group, attempt)
            if under_way.barrier is not None:
                under_way.barrier.answered(party, any(not result.outcome.is_final for result in results))
        handed = results
        if under_way.terms.handoff is not None:
            handed = await self._handed_off(under_way, route, group, results)
        # what is known is told to everybody, however late it is by now
        told = 0
        try:
            for (index, delivery), result, last in zip(group, results, handed, strict=True):
                known = [result] if not under_way.terms.straight else []
                if last is not result and last.outcome is Outcome.DELIVERED:
                    known.append(last)
                told += 1
                await self._tell(under_way, index, delivery, known, last)
        finally:
            for (index, _), last in zip(group[told:], handed[told:], strict=True):
                self._settle(under_way, index, last)

    async def _handed_off(
        self, under_way: UnderWay, route: Route, group: Group, results: Sequence[Result]
    ) -> Sequence[Result]:
        """The results, with the smart host's answer for what may be kept; a deferral stays one if it has no yes."""
        handoff, transports = under_way.terms.handoff, under_way.lease.generation.transports
        rest = [place for place, result in enumerate(results) if may_be_kept(result)]
        if handoff is None or not rest or transports[route.transport].test_only:
            return results
        task = asyncio.current_task()
        if under_way.is_over or self._is_closing or task is None:
            return results
        attempt = Attempt(under_way.deadline)
        under_way.attempts[attempt] = task
        answers = await self._carried(under_way, handoff.route, [group[place] for place in rest], attempt)
        ends = list(results)
        for place, answer in zip(rest, answers, strict=True):
            ends[place] = final(results[place], answer)
            if answer.outcome is not Outcome.DELIVERED:
                reply = for_log(answer.reply).replace(" ", "/")
                log.warning(
                    "not handed off id=%s reply=%s remote=%s", under_way.envelope.id, reply, answer.remote or "-"
                )
        return ends

    async def _carried(self, under_way: UnderWay, route: Route, group: Group, attempt: Attempt) -> Sequence[Result]:
        """One call of a transport, bounded by the attempt's deadline until the point of no return."""
        deliveries = [delivery for _, delivery in group]
        began = self._clock.monotonic()
        call_off = None
        if attempt.deadline < under_way.deadline:
            call_off = partial(under_way.call_off, attempt)
            self._alarms.ring_at(attempt.deadline, call_off)
        try:
            results = await under_way.lease.generation.transports[route.transport].deliver(deliveries, route, attempt)
            if len(results) != len(group):
                raise ValueError("a transport gave too few or too many results")
        except asyncio.CancelledError:
            results = [self._plain(OUT_OF_TIME, route, began, attempt)] * len(group)
        except Exception:
            log.exception("transport failed id=%s transport=%s", under_way.envelope.id, route.transport)
            results = [self._plain(INTERNAL, route, began, attempt)] * len(group)
        finally:
            if call_off is not None:
                self._alarms.stop(call_off)
            under_way.ended(attempt)
        return results

    async def _tell(
        self, under_way: UnderWay, index: int, delivery: Delivery, results: Sequence[Result], last: Result | None = None
    ) -> None:
        """A recipient's results, in order, to the log and every plugin's on_result; the last to whoever waits."""
        try:
            plugins = under_way.lease.generation.plugins
            for result in results:
                self._log(under_way.envelope, delivery, result)
                if plugins.has("on_result"):
                    await plugins.on_result(delivery, result)
        finally:
            self._settle(under_way, index, last or results[-1])

    def _log(self, envelope: Envelope, delivery: Delivery, result: Result) -> None:
        tell(
            log,
            "attempt id=%s account=%s stream=%s to=%s outcome=%s reply=%s by=%s remote=%s took=%.3f",
            envelope.id,
            envelope.account or "-",
            envelope.stream or "-",
            self._tag(delivery.recipient.address, self._clock),
            result.outcome.value,
            for_log(result.reply).replace(" ", "/"),
            result.by,
            result.remote or "-",
            result.took,
        )

    def _settle(self, under_way: UnderWay, index: int, result: Result) -> None:
        if not under_way.results[index].done():
            under_way.results[index].set_result(result)

    def _settle_open(self, under_way: UnderWay, indices: Sequence[int], reply: Reply) -> None:
        for index in indices:
            self._settle(under_way, index, Result(Outcome.DEFERRED, reply, "dispatch"))

    def _plain(self, reply: Reply, route: Route, began: float, attempt: Attempt) -> Result:
        took = self._clock.monotonic() - began
        at = self._clock.now() - timedelta(seconds=took)
        return Result(Outcome.DEFERRED, reply, route.transport, None, route, at, took, attempt.dot_sent)

    def _stopped(self, stopped: Stopped, route: Route | None) -> Result:
        return result_of(stopped, route, self._clock.now())


def _awake(generation: Generation, source: Source | None) -> Callable[[], Awaitable[bool]] | None:
    """Asks whether a source may send; None where nobody needs to ask."""
    if source is None:
        return None

    async def is_awake() -> bool:
        return source.name not in await generation.plugins.ask(RestingSources())

    return is_awake


def result_of(stopped: Stopped, route: Route | None = None, at: datetime | None = None) -> Result:
    """The result of a plugin's verdict."""
    verdict = stopped.verdict
    outcome = (
        Outcome.DISCARDED
        if isinstance(verdict, Discard)
        else Outcome.FAILED
        if isinstance(verdict, Reject)
        else Outcome.DEFERRED
    )
    return Result(outcome, verdict.reply, stopped.by, route=route, began=at)


def envelope_id() -> str:
    """A name for a transaction, unique enough for every log that one will ever search."""
    return os.urandom(8).hex()
