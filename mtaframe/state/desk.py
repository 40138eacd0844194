"""The owner's side of a state that many workers share: it answers their calls, and tells them what others do.

The law: counters are changed and read one call after the other, and each is told to the workers at that moment; so
what a worker reads and what it is told of others add up, without a gap and with nothing twice.
"""

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from weakref import WeakValueDictionary

from mtaframe.lifecycle import Clock
from mtaframe.link import Handler, Link, LinkError
from mtaframe.state.leases import Holdings, Limits, Used, refusal, share
from mtaframe.state.memory import midnight
from mtaframe.state.owned import OwnedState
from mtaframe.state.rows import Row, counters, moment, row, rows
from mtaframe.state.storage import TROUBLES
from mtaframe.storage import Counter

PATIENCE = 2.0
"""Seconds that a worker has to do what everybody waits for. One that is late isn't waited for until it answers."""


@dataclass(slots=True, eq=False)
class _Worker:
    """``follows``: how the names begin that it is told about. ``has_registers``: it keeps a copy of them."""

    link: Link
    follows: tuple[str, ...] = ()
    has_registers: bool = False
    is_late: bool = False


class StateDesk:
    """For each worker: ``handlers`` for its link, ``joined`` before it says a word, ``left`` when it is gone.

    A worker is whatever stands for it, as a key.
    """

    def __init__(self, state: OwnedState, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._workers: dict[object, _Worker] = {}
        self._holdings = Holdings()
        self._counting = asyncio.Lock()
        self._turns: WeakValueDictionary[Counter, asyncio.Lock] = WeakValueDictionary()

    def handlers(self, worker: object) -> Mapping[str, Handler]:
        own: dict[str, Callable[..., Any]] = {
            "registers": self._registers,
            "follow": self._follow,
            "counted": self._counted,
            "take": self._take,
        }
        shared: dict[str, Callable[..., Any]] = {
            "sums": self._sums,
            "clear": self._clear,
            "change": self._change,
            "next": self._next,
            "digests.put": self._state.digests.table.put,
            "digests.get": self._state.digests.table.get,
            "digests.agree": self._state.digests.table.agree,
            "digests.drop": self._state.digests.table.drop,
            "digests.counts": self._state.digests.table.counts,
        }
        documents: dict[str, Callable[..., Any]] = {
            "documents.put": self._state.documents.put,
            "documents.change": self._state.documents.change,
            "documents.get": self._state.documents.get,
            "documents.names": self._names,
            "documents.drop": self._state.documents.drop,
        }
        shared |= {name: partial(_readable, handler) for name, handler in documents.items()}
        handlers = {name: partial(handler, worker) for name, handler in own.items()} | shared
        return {f"state.{name}": handler for name, handler in handlers.items()}

    def joined(self, worker: object, link: Link) -> None:
        self._workers[worker] = _Worker(link)

    async def left(self, worker: object) -> None:
        """What it held may have been spent, so it counts."""
        async with self._counting:
            if self._workers.pop(worker, None) is not None:
                lost = self._holdings.of(worker)
                await self._book(worker, lost)
                self._holdings.settle(worker, lost)

    # counters

    def _follow(self, worker: object, names: Sequence[str]) -> None:
        self._member(worker).follows = tuple(names)

    async def _counted(
        self, worker: object, amounts: Mapping[Row, int], spent: Mapping[Row, int], unused: Mapping[Row, int]
    ) -> None:
        """What a worker added, what it took of its leases, and what it gives back of them."""
        taken, back = counters(spent), counters(unused)
        added = Tally(counters(amounts))
        added.update(taken)
        async with self._counting:
            self._member(worker)
            await self._book(worker, added)
            self._holdings.settle(worker, taken)
            self._holdings.settle(worker, back)

    async def _sums(self, names: Sequence[Row], since: float, until: float | None) -> list[int]:
        asked, end = [Counter(*name) for name in names], None if until is None else moment(until)
        async with self._counting:
            return list(await self._state.counters.sums(asked, moment(since), end))

    async def _clear(self, names: Sequence[Row]) -> None:
        async with self._counting:
            await self._state.counters.clear([Counter(*name) for name in names])

    async def _take(
        self, worker: object, name: Row, count: int, per_hour: int | None, per_day: int | None
    ) -> Literal["hour", "day"] | None:
        """As ``Counters.take``. Before a limit refuses, whoever holds a lease on it gives the rest back."""
        counter, limits = Counter(*name), (per_hour, per_day)
        async with _turn(self._turns, counter):
            refused, is_certain = await self._granted(worker, counter, count, limits)
            if refused is not None and not is_certain:
                holders = [self._workers[one] for one in self._holdings.holders(counter) if one in self._workers]
                await self._answers(holders, "state.give_back", name)
                refused, _ = await self._granted(worker, counter, count, limits)
            return refused

    async def _granted(
        self, worker: object, counter: Counter, count: int, limits: Limits
    ) -> tuple[Literal["hour", "day"] | None, bool]:
        """Which limit refuses it, and whether that is so whatever others give back; else it is taken, with a lease."""
        async with self._counting:
            link = self._member(worker).link
            hour, day = await self._used(counter)
            held = self._holdings.held(counter)
            refused = refusal(limits, (hour + held, day + held), count)
            if refused is not None:
                return refused, refusal(limits, (hour, day), count) is not None
            await self._book(worker, {counter: count})
            lease = share(limits, (hour + held + count, day + held + count), len(self._workers))
            if lease:
                self._holdings.grant(worker, counter, lease)
                link.tell("state.leased", row(counter), *limits, lease)
            return None, True

    async def _used(self, counter: Counter) -> Used:
        counters, now = self._state.counters, self._clock.now()
        (hour,), (day,) = await counters.sums([counter], now), await counters.sums([counter], midnight(now))
        return max(0, hour), max(0, day)

    async def _book(self, worker: object, amounts: Mapping[Counter, int]) -> None:
        """Add it, and tell the others."""
        if not amounts:
            return
        await self._state.counters.add(amounts)
        for other, member in self._workers.items():
            if other is not worker and member.follows:
                theirs = {one: amount for one, amount in amounts.items() if one.name.startswith(member.follows)}
                if theirs:
                    member.link.tell("state.told", rows(theirs))

    # registers

    def _registers(self, worker: object) -> None:
        """From now on this worker has a copy, and is told of changes."""
        member = self._member(worker)
        member.has_registers = True
        member.link.tell("state.registered", rows(self._state.registers.all()))

    async def _change(self, name: Row, before: int, after: int) -> bool:
        return await self.change(Counter(*name), before, after)

    async def change(self, register: Counter, before: int, after: int) -> bool:
        """Change it, and wait until every worker knows."""
        async with _turn(self._turns, register):
            if not await self._state.registers.change(register, before, after):
                return False
            knowing = [member for member in self._workers.values() if member.has_registers]
            await self._answers(knowing, "state.registered", {row(register): after})
            return True

    # the rest

    async def _next(self, counts: Mapping[Row, int]) -> dict[Row, int]:
        return {name: await self._state.sequences.next(Counter(*name), count) for name, count in counts.items()}

    async def _names(self, account: str, kind: str) -> list[str]:
        return list(await self._state.documents.names(account, kind))

    # workers

    def _member(self, worker: object) -> _Worker:
        """LinkError if it has left."""
        try:
            return self._workers[worker]
        except KeyError:
            raise LinkError("this worker has left") from None

    async def _answers(self, workers: Iterable[_Worker], name: str, *arguments: Any) -> None:
        """Ask them all, and wait until they have answered, or are gone, or late."""
        asked = {member.link.asked(name, *arguments): member for member in workers}
        awaited = [answer for answer, member in asked.items() if not member.is_late]
        if not awaited:
            return
        _, late = await asyncio.wait(awaited, timeout=PATIENCE)
        for answer in late:
            asked[answer].is_late = True
            answer.add_done_callback(partial(_in_time, asked[answer]))


async def _readable(handler: Callable[..., Any], *arguments: Any) -> Any:
    """What it answers. A disk that can't be read is told to the worker; the log says it already."""
    try:
        return await handler(*arguments)
    except TROUBLES:
        raise LinkError("the state's disk can't be read now") from None


def _in_time(worker: _Worker, answer: object) -> None:
    worker.is_late = False


def _turn(turns: WeakValueDictionary[Counter, asyncio.Lock], counter: Counter) -> asyncio.Lock:
    """One after the other, for each counter and each register; nothing remains of it when nobody waits."""
    return turns.setdefault(counter, asyncio.Lock())
