"""How each recipient of one message ended, as far as its transaction knows, and what the ledger must know of it.

The law: whatever is final and may be asked again is entered; whatever is proven to be known is forgotten.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from functools import cached_property

from mtaframe.alarms import Alarms
from mtaframe.delivery import Result
from mtaframe.dispatch import UnderWay
from mtaframe.envelope import Envelope
from mtaframe.ledger import Entry, Ledger
from mtaframe.lifecycle import Clock
from mtaframe.message import Message
from mtaframe.reception.passage import awaited


class Outcomes:
    """Recipients are known by their place in the envelope."""

    def __init__(self, ledger: Ledger, clock: Clock, alarms: Alarms, envelope: Envelope, message: Message) -> None:
        self._ledger = ledger
        self._clock = clock
        self._alarms = alarms
        self._envelope = envelope
        self._message = message
        self._places = range(len(envelope.recipients))
        self._results: dict[int, Result] = {}
        self._pending: dict[int, asyncio.Future[Result]] = {}
        self._under_way: UnderWay | None = None
        self._told_final: set[int] = set()
        self._since: float | None = None
        self._report: dict[bytes, Result] = {}
        """How the report on the failed ended, by its fingerprint."""

    @cached_property
    def _fingerprints(self) -> tuple[bytes, ...]:
        return self._ledger.fingerprints(self._envelope, self._message)

    async def look_up(self) -> None:
        """Learn what the ledger knows."""
        if self._ledger.is_empty:
            return
        for place, found in enumerate(await self._ledger.look_up(self._fingerprints)):
            if isinstance(found, Entry):
                self._results[place] = found.result
                self._since = min(found.since, self._since or found.since)
            elif found is not None:
                self._pending[place] = found

    @property
    def open_places(self) -> list[int]:
        """Of whom nothing is known, and nothing under way."""
        if not self._results and not self._pending:
            return list(self._places)
        return [place for place in self._places if place not in self._results and place not in self._pending]

    @property
    def is_repeat(self) -> bool:
        """Whether some were final before this transaction began."""
        return self._since is not None

    @property
    def age(self) -> float:
        """Seconds since the first of them became final; 0 if the ledger knows of none."""
        return self._clock.now().timestamp() - self._since if self._since is not None else 0.0

    def begun(self, places: Sequence[int], under_way: UnderWay) -> None:
        """Attempts for these are under way."""
        self._under_way = under_way
        self._pending.update(zip(places, under_way.results, strict=True))

    def ended(self, places: Sequence[int], results: Sequence[Result]) -> None:
        self._results.update(zip(places, results, strict=True))

    async def result(self, place: int, deadline: float) -> Result:
        """As it is at the deadline at the latest."""
        if place not in self._results:
            future = self._pending[place]
            result = await awaited(future, deadline, self._alarms)
            if not future.done():
                return result
            self._results[place] = result
            del self._pending[place]
        return self._results[place]

    async def told(self, place: int, result: Result) -> None:
        """The client is about to be told: if it is not final and may become so, every process has to know that."""
        if result.outcome.is_final:
            self._told_final.add(place)
        elif place in self._pending:
            await self._safe(self.let_go())

    def told_all(self) -> None:
        """The client is told that all are final."""
        self._told_final.update(self._places)

    async def unsettled(self) -> None:
        """The client will come again: every process has to know what is final and what is under way by then."""
        detached = self.let_go()
        await self._safe(self._remember(self._results))
        await self._safe(detached)

    def proven(self) -> None:
        """The client has read the answer: what it knows to be final need not be remembered."""
        self.let_go()
        if not self._ledger.is_empty:
            self._ledger.forget([self._fingerprints[place] for place in self._told_final])
            self._ledger.forget(self._report)

    def unproven(self) -> None:
        """The answer may not have arrived: what is final is remembered, for the client will try again."""
        self.let_go()
        self._remember(self._results)
        if self._report:
            self._ledger.write(self._report)

    def let_go(self) -> Awaitable[None] | None:
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
        for place, future in self._pending.items():
            if future.done():
                self._results[place] = late[place] = future.result()
            elif future in ours:
                detached[self._fingerprints[place]] = future
        self._remember(late)  # it came too late to be told
        return self._ledger.detach(detached) if detached else None

    # The report on those who failed

    def report_fingerprint(self, failed: Iterable[int]) -> bytes:
        """Known again, though a repeat words its report otherwise: it follows from who failed, of which message."""
        return self._ledger.combined([self._fingerprints[place] for place in failed])

    def reported(self, fingerprint: bytes, result: Result) -> None:
        """The report has ended: a repeat must not send another, until the client has read that it need not come."""
        if result.outcome.is_final:
            self._report = {fingerprint: result}

    def _remember(self, results: Mapping[int, Result]) -> Awaitable[None] | None:
        """Enter what is final; done once the entries are safe."""
        final = {self._fingerprints[place]: result for place, result in results.items() if result.outcome.is_final}
        return self._ledger.write(final) if final else None

    @staticmethod
    async def _safe(written: Awaitable[None] | None) -> None:
        if written is not None:
            await written
