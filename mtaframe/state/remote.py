"""The state as a worker sees it: its owner is at the other end of a link.

The law: nothing is counted twice and nothing is missed, whatever crosses on the way. What the owner must have told
before it answers comes as a word of its own before the answer, for words take effect as they are heard, while whoever
waits for an answer goes on a moment later.
"""

import asyncio
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Literal
from weakref import WeakValueDictionary

from mtaframe.link import Handler, Link, LinkError
from mtaframe.state import memory
from mtaframe.state.digests import Digests, Print
from mtaframe.state.keys import Keyring
from mtaframe.state.leases import Lease, Leases, Limits
from mtaframe.state.rows import Row, counters, row, rows
from mtaframe.storage import Counter, Told

FLUSH = 0.05
"""Seconds until the owner knows what was counted here; so much is lost with a worker that is killed."""
IDLE = 0.5
"""Seconds between two looks at leases; one that was not used in between goes back."""


class Counters:
    """Integers over time."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._amounts: Tally[Counter] = Tally()
        self._leases = Leases()
        self._readings: list[Tally[Counter]] = []
        """What was counted since the owner was asked for sums that have not come yet."""
        self._followers: dict[object, tuple[str, Told]] = {}
        self._turns: WeakValueDictionary[Counter, asyncio.Lock] = WeakValueDictionary()
        self._flush_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    async def add(self, amounts: Mapping[Counter, int]) -> None:
        _add(self._amounts, amounts)
        self._counted(amounts)

    async def sums(self, counters: Sequence[Counter], since: datetime, until: datetime | None = None) -> list[int]:
        self.flush()
        names = [row(one) for one in counters]
        if until is not None:
            ended: list[int] = await self._link.call("state.sums", names, since.timestamp(), until.timestamp())
            return ended
        meanwhile: Tally[Counter] = Tally()
        self._readings.append(meanwhile)
        try:
            sums = await self._link.call("state.sums", names, since.timestamp(), None)
        finally:
            self._readings = [one for one in self._readings if one is not meanwhile]
        return [total + meanwhile[one] for total, one in zip(sums, counters, strict=True)]

    async def clear(self, counters: Iterable[Counter]) -> None:
        self.flush()
        await self._link.call("state.clear", [row(one) for one in counters])

    async def take(
        self, counter: Counter, count: int, *, per_hour: int | None = None, per_day: int | None = None
    ) -> Literal["hour", "day"] | None:
        if per_hour is None and per_day is None:
            await self.add({counter: count})
            return None
        limits = per_hour, per_day
        if self._spent(counter, count, limits):
            return None
        async with self._turns.setdefault(counter, asyncio.Lock()):
            if self._spent(counter, count, limits):
                return None
            self._leases.end(counter)
            self.flush()
            refused: Literal["hour", "day"] | None = await self._link.call("state.take", row(counter), count, *limits)
            return refused

    def _spent(self, counter: Counter, count: int, limits: Limits) -> bool:
        """Whether a lease was good for it. Without an owner none is."""
        if self._link.is_lost or not self._leases.spend(counter, count, limits):
            return False
        self._counted({counter: count})
        return True

    def follow(self, names: str, told: Told) -> Callable[[], None]:
        key = object()
        self._followers[key] = names, told
        self._tell_names()

        def end() -> None:
            if self._followers.pop(key, None) is not None:
                self._tell_names()

        return end

    def _tell_names(self) -> None:
        self._link.tell("state.follow", sorted({names for names, _ in self._followers.values()}))

    def _counted(self, amounts: Mapping[Counter, int]) -> None:
        for reading in self._readings:
            _add(reading, amounts)
        if self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(FLUSH, self.flush)

    def flush(self) -> None:
        """Tell the owner now."""
        if any(said := self._unsaid()):
            self._link.tell("state.counted", *said)

    async def end(self) -> None:
        """Give all leases back; returns once the owner knows everything, or is gone."""
        self._leases.end_all()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        with suppress(LinkError):
            await self._link.call("state.counted", *self._unsaid())

    def _unsaid(self) -> tuple[dict[Row, int], dict[Row, int], dict[Row, int]]:
        """What was added, what was taken of leases, and what goes back of them, since this was called before."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        tallies = self._amounts, self._leases.spent, self._leases.unused
        said = rows(tallies[0]), rows(tallies[1]), rows(tallies[2])
        for tally in tallies:
            tally.clear()
        return said

    def _look(self) -> None:
        """Give back what is not used."""
        self._leases.end_idle()
        self.flush()
        self._idle_timer = asyncio.get_running_loop().call_later(IDLE, self._look) if self._leases else None

    # what the owner says

    def leased(self, name: Row, per_hour: int | None, per_day: int | None, count: int) -> None:
        self._leases.keep(Counter(*name), Lease((per_hour, per_day), count))
        if self._idle_timer is None:
            self._idle_timer = asyncio.get_running_loop().call_later(IDLE, self._look)

    def give_back(self, name: Row) -> None:
        self._leases.end(Counter(*name))
        self.flush()

    def told(self, amounts: Mapping[Row, int]) -> None:
        """Followers hear of it a moment later, so behind whoever waits for sums that came before."""
        others = counters(amounts)
        for names, told in self._followers.values():
            theirs = {one: amount for one, amount in others.items() if one.name.startswith(names)}
            if theirs:
                asyncio.get_running_loop().call_soon(told, theirs)


def _add(tally: Tally[Counter], amounts: Mapping[Counter, int]) -> None:
    """What ``Tally.update`` does, without its questions about types, which take longer than the rest."""
    for counter, amount in amounts.items():
        tally[counter] += amount


class Registers(memory.Registers):
    """A copy, which the owner keeps up."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    async def change(self, register: Counter, before: int, after: int) -> bool:
        is_changed: bool = await self._link.call("state.change", row(register), before, after)
        return is_changed

    # what the owner says

    def registered(self, values: Mapping[Row, int]) -> None:
        for register, value in counters(values).items():
            self._set(register, value)


class Sequences:
    """Numbers that are given out once. Who asks in the same turn of the event loop is answered by one call."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._asking: defaultdict[Counter, list[tuple[int, asyncio.Future[int]]]] = defaultdict(list)

    async def next(self, sequence: Counter, count: int = 1) -> int:
        loop = asyncio.get_running_loop()
        if not self._asking:
            loop.call_soon(self._ask)
        number: asyncio.Future[int] = loop.create_future()
        self._asking[sequence].append((count, number))
        return await number

    def _ask(self) -> None:
        asking, self._asking = self._asking, defaultdict(list)
        counts = {row(sequence): sum(count for count, _ in those) for sequence, those in asking.items()}
        answer = self._link.asked("state.next", counts)
        answer.add_done_callback(lambda _: _hand_out(asking, answer))


def _hand_out(
    asking: Mapping[Counter, Sequence[tuple[int, asyncio.Future[int]]]], answer: "asyncio.Future[dict[Row, int]]"
) -> None:
    fault = answer.exception()
    for sequence, those in asking.items():
        number = 0 if fault else answer.result()[row(sequence)]
        for count, one in those:
            if not one.done():
                one.set_exception(fault) if fault else one.set_result(number)
            number += count


class DigestTable:
    """Digests, hashed already: no octets of a list cross."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def put(self, purpose: str, key_id: str, digest: bytes, value: int, until: float) -> None:
        await self._link.call("state.digests.put", purpose, key_id, digest, value, until)

    async def get(self, purpose: str, prints: Sequence[Print]) -> int | None:
        value: int | None = await self._link.call("state.digests.get", purpose, list(prints))
        return value

    async def agree(self, purpose: str, prints: Sequence[Print], value: int, until: float) -> int:
        agreed: int = await self._link.call("state.digests.agree", purpose, list(prints), value, until)
        return agreed

    async def drop(self, purpose: str, prints: Sequence[Print]) -> None:
        await self._link.call("state.digests.drop", purpose, list(prints))

    async def counts(self) -> dict[tuple[str, str], int]:
        counts: dict[tuple[str, str], int] = await self._link.call("state.digests.counts")
        return counts


class Documents:
    """What account holders made themselves."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def put(self, account: str, kind: str, name: str, content: bytes) -> None:
        await self._link.call("state.documents.put", account, kind, name, content)

    async def change(
        self, account: str, kind: str, name: str, before: bytes | None, after: bytes | None, most: int | None = None
    ) -> bool:
        arguments = account, kind, name, before, after, most
        is_changed: bool = await self._link.call("state.documents.change", *arguments)
        return is_changed

    async def get(self, account: str, kind: str, name: str) -> bytes | None:
        content: bytes | None = await self._link.call("state.documents.get", account, kind, name)
        return content

    async def names(self, account: str, kind: str) -> list[str]:
        names: list[str] = await self._link.call("state.documents.names", account, kind)
        return names

    async def drop(self, account: str, kind: str | None = None, name: str | None = None) -> None:
        await self._link.call("state.documents.drop", account, kind, name)


class RemoteState:
    """All of it. ``handlers`` are for the link; then ``begin``, and at the end ``end``.

    LinkError where there is no owner any more.
    """

    def __init__(self, link: Link, keyring: Keyring) -> None:
        self._link = link
        self.counters = Counters(link)
        self.registers = Registers(link)
        self.sequences = Sequences(link)
        self.digests = Digests(keyring, DigestTable(link))
        self.documents = Documents(link)

    def handlers(self) -> Mapping[str, Handler]:
        """What the owner says to this worker."""
        return {
            "state.leased": self.counters.leased,
            "state.give_back": self.counters.give_back,
            "state.told": self.counters.told,
            "state.registered": self.registers.registered,
        }

    async def begin(self) -> None:
        """Fetch the registers."""
        await self._link.call("state.registers")

    async def end(self) -> None:
        """Give back what is not used; returns once the owner knows everything, or is gone."""
        await self.counters.end()
