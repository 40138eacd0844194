"""Mail held in RAM because the operator chose so: ``on_defer = "hold"``, tried again by a schedule.

The law: whoever is held was told so in the 250. Nobody is let go of in silence: a try delivers it, the smart host of
``[handoff]`` takes it when its time is over or the server stops, or its sender gets a report.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mtaframe.delivery import Outcome, Result
from mtaframe.dispatch import UnderWay
from mtaframe.envelope import Envelope, Recipient
from mtaframe.generation import Lease
from mtaframe.handoff import Terms, handoff_of
from mtaframe.message import Message
from mtaframe.plugins import Stopped
from mtaframe.reception.confirmation import confirm
from mtaframe.reception.passage import awaited
from mtaframe.reception.report import Report
from mtaframe.settings import HoldSettings, OnDefer
from mtaframe.verdict import Reject

if TYPE_CHECKING:
    from mtaframe.reception.reception import Reception

log = logging.getLogger("mtaframe.reception")

PATIENCE = 280.0
"""Seconds for one try, for the hand-off at the end, and for the report."""
FOR_REPORTS = 1 / 3
"""The part of the time for a stop that is kept for reports on what the smart host does not take."""
NAME = "hold"
"""Who gives it up; and the note of its envelope, the number of the try, by which plugins tell it from the first."""
GIVEN_UP = Stopped(Reject("given up: it could neither be delivered nor handed off in time", "5.4.7", 554), NAME)


@dataclass(eq=False)
class Held:
    """One message with those who wait for it, by a number; ``in_doubt`` are those who may have it already."""

    envelope: Envelope
    message: Message
    since: float
    waiting: dict[int, Recipient] = field(default_factory=dict)
    in_doubt: set[int] = field(default_factory=set)
    tries: int = 0


class Hold:
    """All that is held in this process. ``share`` is the part of the limits that is this process's."""

    def __init__(self, reception: "Reception", share: float) -> None:
        self._reception = reception
        self._share = share
        self._held: dict[str, Held] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = asyncio.Event()
        self._end = 0.0
        self._number = 0

    @property
    def count(self) -> int:
        """Recipients."""
        return sum(len(held.waiting) for held in self._held.values())

    def has_room(self, envelope: Envelope, message: Message) -> bool:
        """Whether the message may be held for one recipient more."""
        settings = self._settings
        size = sum(other.message.size for other in self._held.values())
        size += message.size if envelope.id not in self._held else 0
        if self._ending.is_set():
            return False
        if self.count >= max(1, settings.max_count * self._share) or size > settings.max_size * self._share:
            log.warning("no room to hold mail id=%s account=%s", envelope.id, envelope.account or "-")
            return False
        return True

    def take(self, envelope: Envelope, message: Message, recipient: Recipient) -> bool:
        """Hold the message, as on_data left it, for one recipient more; False if there is no room."""
        if not self.has_room(envelope, message):
            return False
        self.keep(envelope, message, recipient)
        return True

    def keep(self, envelope: Envelope, message: Message, recipient: Recipient, *, in_doubt: bool = False) -> None:
        """The same for who was told already that it is held: there is room, and time, whatever comes."""
        held = self._held.get(envelope.id)
        if held is None:
            held = self._held[envelope.id] = Held(envelope, message, self._reception.clock.monotonic())
            task = asyncio.ensure_future(self._keep(held))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._number += 1
        held.waiting[self._number] = recipient
        if in_doubt:
            held.in_doubt.add(self._number)
        log.info("held id=%s account=%s", envelope.id, envelope.account or "-")

    async def drain(self, seconds: float) -> None:
        """The server stops: the smart host takes all that is held, or its senders are told."""
        self._end = self._reception.clock.monotonic() + seconds
        self._ending.set()
        if not self._tasks:
            return
        log.info("handing off what is held recipients=%d", self.count)
        await asyncio.wait(self._tasks, timeout=seconds)
        if lost := self.count:
            log.error("held mail is lost recipients=%d: neither handed off nor reported in time", lost)
        for task in self._tasks:
            task.cancel()

    @property
    def _settings(self) -> HoldSettings:
        return self._reception.lease().generation.settings.hold

    async def _keep(self, held: Held) -> None:
        """One message until nobody waits for it any more."""
        try:
            while held.waiting:
                if await self._paused(held):
                    await self._try(held)
                else:
                    await self._give_up(held)
        except Exception:
            log.exception("held mail is lost id=%s recipients=%d", held.envelope.id, len(held.waiting))
        finally:
            del self._held[held.envelope.id]

    async def _paused(self, held: Held) -> bool:
        """Wait until the next try is due; False if there is to be none."""
        settings = self._settings
        pause = settings.schedule[min(held.tries, len(settings.schedule) - 1)] * random.uniform(0.9, 1.1)
        left = held.since + settings.max_age - self._reception.clock.monotonic()
        try:
            await asyncio.wait_for(self._ending.wait(), max(0.0, min(pause, left)))
        except TimeoutError:
            return pause < left
        return False

    async def _try(self, held: Held) -> None:
        """One attempt like any other, by the configuration of today."""
        held.tries += 1
        lease, places = self._reception.lease(), list(held.waiting)
        under_way = self._start(lease, held, places, PATIENCE)
        ended = asyncio.gather(*under_way.results)
        ending = asyncio.ensure_future(self._ending.wait())
        await asyncio.wait((ended, ending), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        under_way.end()
        deadline = self._reception.clock.monotonic()
        if not ended.done():
            deadline += (self._end - deadline) * FOR_REPORTS
        results = [await awaited(future, deadline, self._reception.alarms) for future in under_way.results]
        failed: list[int] = []
        for place, result in zip(places, results, strict=True):
            if result.outcome is Outcome.FAILED:
                failed.append(place)
            elif result.outcome is Outcome.DEFERRED:
                (held.in_doubt.add if result.in_doubt else held.in_doubt.discard)(place)
            else:
                del held.waiting[place]
        by_place = dict(zip(places, results, strict=True))
        await self._report(lease, held, failed, [by_place[place] for place in failed])

    async def _give_up(self, held: Held) -> None:
        """Its time is over: the smart host takes it; of what may not go there, or is refused, its sender is told."""
        lease, places = self._reception.lease(), list(held.waiting)
        certain = [place for place in places if place not in held.in_doubt]
        handoff = handoff_of(lease.generation.settings)
        if certain and handoff is not None:
            seconds = self._left * (1 - FOR_REPORTS)
            under_way = self._start(lease, held, certain, seconds, Terms(handoff=handoff, straight=True))
            deadline = self._reception.clock.monotonic() + seconds
            results = [await awaited(future, deadline, self._reception.alarms) for future in under_way.results]
            under_way.end()
            for place, result in zip(certain, results, strict=True):
                if result.outcome in (Outcome.DELIVERED, Outcome.DISCARDED):
                    del held.waiting[place]
        lost = list(set(places) & held.waiting.keys())
        if lost:
            log.error("held mail is given up id=%s recipients=%d", held.envelope.id, len(lost))
            envelope = self._envelope(held, lost)
            results = await self._reception.dispatch.refuse(lease, envelope, held.message, GIVEN_UP)
            await self._report(lease, held, lost, results)

    @property
    def _left(self) -> float:
        """Seconds for the last things that can be done for a message."""
        return max(0.0, self._end - self._reception.clock.monotonic()) if self._ending.is_set() else PATIENCE

    def _start(
        self, lease: Lease, held: Held, places: Sequence[int], seconds: float, terms: Terms | None = None
    ) -> UnderWay:
        deadline = self._reception.clock.monotonic() + seconds
        under_way = self._reception.dispatch.start(
            lease, self._envelope(held, places), held.message, deadline, terms or Terms()
        )
        confirm(self._reception, held.message, under_way)
        return under_way

    @staticmethod
    def _envelope(held: Held, places: Sequence[int]) -> Envelope:
        envelope = held.envelope.with_note(NAME, held.tries)
        return replace(envelope, recipients=tuple(held.waiting[place] for place in places))

    async def _report(self, lease: Lease, held: Held, places: Sequence[int], results: Sequence[Result]) -> None:
        """Tell the sender who failed, and let go of them."""
        if not places:
            return
        failures = [(held.waiting.pop(place), result) for place, result in zip(places, results, strict=True)]
        keeping: OnDefer = "upstream" if self._ending.is_set() else "hold"
        report = Report(self._reception, lease, held.envelope, held.message, failures, keeping)
        result = await report.sent(self._reception.clock.monotonic() + self._left)
        if result is not None and result.outcome is Outcome.DEFERRED:
            report.unreported(failures, "report not delivered")
            log.error("no report on held mail id=%s recipients=%d", held.envelope.id, len(places))
