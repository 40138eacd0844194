"""From one accepted message to a result per recipient: copies, routes, signatures, transactions.

The law: an attempt ends by its deadline unless the next hop may already be responsible; then it goes on without
us, and what it ends with is told to whoever still wants to know. Trouble becomes a result, never an exception.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mtaframe.delivery import Delivery, Outcome, Result, Route, Source
from mtaframe.envelope import Envelope
from mtaframe.generation import Generation, Lease
from mtaframe.lifecycle import Attempt, Clock
from mtaframe.logs import RecipientTag
from mtaframe.message import Message
from mtaframe.mime import seven_bit
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


@dataclass(frozen=True, slots=True)
class Halted:
    """A copy that a plugin stopped, as it was then; ``route`` is None if it had none yet."""

    delivery: Delivery
    stopped: Stopped
    route: Route | None = None


class UnderWay:
    """The attempts of one message. ``results`` has a future per recipient, in the envelope's order."""

    def __init__(self, envelope: Envelope, lease: Lease) -> None:
        loop = asyncio.get_running_loop()
        self.envelope = envelope
        self.lease = lease
        self.results: tuple[asyncio.Future[Result], ...] = tuple(loop.create_future() for _ in envelope.recipients)
        self.attempts: dict[Attempt, asyncio.Task[None]] = {}
        self.preparing: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def end(self) -> None:
        """Call off what can still be called off; what is beyond its point of no return goes on."""
        if self.timer is not None:
            self.timer.cancel()
        if self.preparing is not None:
            self.preparing.cancel()
        for attempt, task in self.attempts.items():
            if not attempt.dot_sent:
                task.cancel()


class Dispatch:
    """Sends messages by the plugins and transports of a generation."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._tag = RecipientTag("domain")

    @property
    def under_way(self) -> int:
        """How many tasks are at work."""
        return len(self._tasks)

    def show_recipients(self, mode: str) -> None:
        """What log lines show of a recipient: none, domain or tag."""
        self._tag = RecipientTag(mode)

    def start(self, lease: Lease, envelope: Envelope, message: Message, deadline: float) -> UnderWay:
        """Begin to deliver; each recipient's result comes as soon as it is known."""
        under_way = UnderWay(envelope, lease)
        everybody = range(len(under_way.results))
        under_way.preparing = self._task(self._prepare(under_way, message, deadline), under_way, everybody)
        left = max(0.0, deadline - self._clock.monotonic())
        under_way.timer = asyncio.get_running_loop().call_later(left, under_way.end)
        return under_way

    async def refuse(self, lease: Lease, envelope: Envelope, message: Message, stopped: Stopped) -> list[Result]:
        """The result of a verdict on the whole message, told for each recipient."""
        under_way = UnderWay(envelope, lease)
        for index, recipient in enumerate(envelope.recipients):
            delivery = Delivery(f"{envelope.id}-{index}", envelope, recipient, envelope.reverse_path, message)
            await self._tell(under_way, index, delivery, self._stopped(stopped, None))
        return [future.result() for future in under_way.results]

    async def drain(self, seconds: float) -> None:
        """Wait for what is under way, then end it."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
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

        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(ended)
        return task

    async def _prepare(self, under_way: UnderWay, message: Message, deadline: float) -> None:
        """Make every copy, find its route, sign it, and send copies that can travel together in one transaction."""
        try:
            groups: dict[Hashable, tuple[Route, list[tuple[int, Delivery]]]] = {}
            signed: dict[Hashable, Message | Stopped] = {}
            for index in range(len(under_way.results)):
                copy = await ready(under_way.lease.generation, under_way.envelope, index, message, signed)
                if isinstance(copy, Halted):
                    await self._tell(under_way, index, copy.delivery, self._stopped(copy.stopped, copy.route))
                    continue
                delivery, route = copy
                site = None if route.next_hop or _own_way(route) else delivery.recipient.address.domain
                key = (delivery.message, delivery.reverse_path, route, site)
                groups.setdefault(key, (route, []))[1].append((index, delivery))
            for route, group in groups.values():
                attempt = Attempt(deadline, _awake(under_way.lease.generation, route.source))
                work = self._attempt(under_way, route, group, attempt)
                under_way.attempts[attempt] = self._task(work, under_way, [index for index, _ in group])
        except asyncio.CancelledError:
            self._settle_open(under_way, range(len(under_way.results)), OUT_OF_TIME)
        except Exception:
            log.exception("dispatch failed id=%s", under_way.envelope.id)
            self._settle_open(under_way, range(len(under_way.results)), INTERNAL)

    async def _attempt(
        self, under_way: UnderWay, route: Route, group: Sequence[tuple[int, Delivery]], attempt: Attempt
    ) -> None:
        """One call of a transport, bounded by the deadline until the point of no return."""
        deliveries = [delivery for _, delivery in group]
        began, clock = self._clock.now(), self._clock.monotonic()
        try:
            results = await under_way.lease.generation.transports[route.transport].deliver(deliveries, route, attempt)
            if len(results) != len(group):
                raise ValueError("a transport gave too few or too many results")
        except asyncio.CancelledError:
            results = [self._plain(Outcome.DEFERRED, OUT_OF_TIME, route, began, clock)] * len(group)
        except Exception:
            log.exception("transport failed id=%s transport=%s", under_way.envelope.id, route.transport)
            results = [self._plain(Outcome.DEFERRED, INTERNAL, route, began, clock)] * len(group)
        under_way.attempts.pop(attempt, None)  # what is known is told to everybody, however late it is by now
        try:
            for (index, delivery), result in zip(group, results, strict=True):
                await self._tell(under_way, index, delivery, result)
        finally:
            for (index, _), result in zip(group, results, strict=True):
                self._settle(under_way, index, result)

    async def _tell(self, under_way: UnderWay, index: int, delivery: Delivery, result: Result) -> None:
        """A recipient's result: to the log, to every plugin's on_result, to whoever waits."""
        envelope = under_way.envelope
        log.info(
            "attempt id=%s account=%s stream=%s to=%s outcome=%s reply=%s by=%s remote=%s took=%.3f",
            envelope.id,
            envelope.account or "-",
            envelope.stream or "-",
            self._tag(delivery.recipient.address, self._clock.now()),
            result.outcome.value,
            for_log(result.reply).replace(" ", "/"),
            result.by,
            result.remote or "-",
            result.took,
        )
        try:
            await under_way.lease.generation.plugins.on_result(delivery, result)
        finally:
            self._settle(under_way, index, result)

    def _settle(self, under_way: UnderWay, index: int, result: Result) -> None:
        if not under_way.results[index].done():
            under_way.results[index].set_result(result)

    def _settle_open(self, under_way: UnderWay, indices: Sequence[int], reply: Reply) -> None:
        for index in indices:
            self._settle(under_way, index, Result(Outcome.DEFERRED, reply, "dispatch"))

    def _plain(self, outcome: Outcome, reply: Reply, route: Route, began: datetime, clock: float) -> Result:
        return Result(
            outcome, reply, route.transport, route=route, began=began, took=self._clock.monotonic() - clock
        )  # fmt: skip

    def _stopped(self, stopped: Stopped, route: Route | None) -> Result:
        return result_of(stopped, route, self._clock.now())


async def ready(
    generation: Generation,
    envelope: Envelope,
    index: int,
    message: Message,
    signed: dict[Hashable, Message | Stopped],
) -> tuple[Delivery, Route] | Halted:
    """The signed copy for one recipient, and its route. ``signed`` keeps what equal copies share."""
    plugins = generation.plugins
    first = Delivery(f"{envelope.id}-{index}", envelope, envelope.recipients[index], envelope.reverse_path, message)
    delivery = await plugins.before_sign(first)
    if isinstance(delivery, Stopped):
        return Halted(first, delivery)
    route = await plugins.route(delivery, generation.default_route)
    if isinstance(route, Stopped):
        return Halted(delivery, route)
    key = (delivery.message, route)
    if (copy := signed.get(key)) is None:
        copy = signed[key] = await plugins.sign(envelope, seven_bit(delivery.message), route)
    if isinstance(copy, Stopped):
        return Halted(delivery, copy, route)
    return replace(delivery, message=copy), route


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


def _own_way(route: Route) -> bool:
    """Whether the transport is a plugin's, which finds its own next hops."""
    return route.transport not in ("smtp", "lmtp")
