"""One message that a program hands in, from what is known of it already to a result for each recipient."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from mtaframe.delivery import Outcome, Result
from mtaframe.dispatch import NOT_ANSWERED
from mtaframe.envelope import Envelope, Session
from mtaframe.generation import Lease
from mtaframe.lifecycle import Identity
from mtaframe.message import Message
from mtaframe.reception.passage import Carried
from mtaframe.reception.submitted import Submitted
from mtaframe.settings import OnDefer
from mtaframe.settlement import HELD

if TYPE_CHECKING:
    from mtaframe.reception.reception import Reception

Told = Callable[[int, Result], None]
"""Called with a recipient's place and its result, as soon as that is known."""


class Submission:
    """``begin`` it, then wait for its ``results``, or let it be ``held``."""

    def __init__(
        self,
        reception: "Reception",
        lease: Lease,
        session: Session,
        envelope: Envelope,
        message: Message,
        deadline: float,
        identity: Identity | None,
    ) -> None:
        self._reception = reception
        self._lease = lease
        self._envelope = replace(envelope, session=session)
        self._message = message
        self._deadline = deadline
        self._submitted = Submitted(reception.ledger, self._envelope, message, identity)
        self._begun: dict[int, asyncio.Future[Result]] = {}
        self._attempts: dict[int, asyncio.Future[Result]] = {}
        """The same; each is done once its result is safe."""
        self._carried = Carried(())

    async def begin(self, keeping: OnDefer) -> None:
        """Look up who is known already, and begin the walk for the others."""
        envelope, submitted = self._envelope, self._submitted
        await submitted.look_up()
        fresh = [place for place in range(len(envelope.recipients)) if place not in submitted.known]
        rest = envelope.with_recipients(tuple(envelope.recipients[place] for place in fresh))
        try:
            if fresh:
                self._carried = await self._reception.carry(self._lease, rest, self._message, self._deadline, keeping)
            self._begun = dict(zip(fresh, self._carried.results, strict=True))
            self._attempts = submitted.followed(self._begun)
        finally:
            if len(self._attempts) != len(fresh):
                await submitted.let_go({}, is_settled=False)

    async def results(self, told: Told | None = None) -> list[Result]:
        """One per recipient, in order; what has not ended by the deadline is deferred, and goes on if it must.

        As long as anybody is deferred, the submitter comes again, and finds who is final already.
        """
        return await self._results(told, comes_again=True)

    async def _results(self, told: Told | None, *, comes_again: bool) -> list[Result]:
        results: dict[int, Result] = {}
        is_settled = False
        try:
            await self._gathered(results, told)
            is_settled = not comes_again or all(result.outcome.is_final for result in results.values())
        finally:
            self._carried.end()
            await self._submitted.let_go(self._attempts, is_settled=is_settled)
        if is_settled:
            self._submitted.proven(results)
        return [results[place] for place in sorted(results)]

    async def accepted(self) -> list[Result]:
        """What has ended already; HELD for everybody else. A repeat will find the same."""
        ended = {place: future.result() for place, future in self._begun.items() if future.done()}
        for place in ended:
            await self._attempts[place]  # until it is safe
        ended |= {place: future.result() for place, future in self._submitted.known.items() if future.done()}
        await self._submitted.accepted([place for place in self._attempts if place not in ended], HELD)
        return [ended.get(place, HELD) for place in range(len(self._envelope.recipients))]

    async def held(self) -> None:
        """Until everybody has a result, or waits for another try; nobody waits for it."""
        fresh = list(self._attempts)
        copies = {fresh[place]: index for index, place in enumerate(self._carried.joined)}

        def told(place: int, result: Result) -> None:
            if result.outcome is Outcome.DEFERRED and place in copies and self._carried.copy is not None:
                envelope, message = self._carried.copy
                recipient = envelope.recipients[copies[place]]
                self._reception.hold.keep(envelope, message, recipient, in_doubt=result.in_doubt)

        await self._results(told, comes_again=False)

    def _all(self) -> dict[int, asyncio.Future[Result]]:
        return self._attempts | self._submitted.known

    async def _gathered(self, results: dict[int, Result], told: Told | None) -> None:
        """Fill ``results`` as they come, and with what is deferred for lack of time in the end."""
        ended: asyncio.Queue[int] = asyncio.Queue()
        waiting = self._all()
        for place in sorted(waiting):
            waiting[place].add_done_callback(lambda _, one=place: ended.put_nowait(one))  # type: ignore[misc]
        left = self._deadline - self._reception.clock.monotonic()
        try:
            async with asyncio.timeout(max(0.0, left)):
                while len(results) < len(waiting):
                    place = await ended.get()
                    results[place] = waiting[place].result()
                    if told is not None:
                        told(place, results[place])
        except TimeoutError:
            for place in sorted(waiting.keys() - results.keys()):
                future = waiting[place]
                results[place] = future.result() if future.done() else _NOT_YET
                if told is not None:
                    told(place, results[place])


_NOT_YET = Result(Outcome.DEFERRED, NOT_ANSWERED, "dispatch", in_doubt=True)
