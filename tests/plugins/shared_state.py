"""The state of one server as several of its processes see it, in one: each asks through a view of its own.

As over a link, every question takes a turn of the event loop; what one adds the others are told at once.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from mtaframe import Clock, Counter
from mtaframe.state import MemoryState
from mtaframe.storage import Told


class ViewedCounters:
    """``all_views`` are the counters of every process, its own among them."""

    def __init__(self, state: MemoryState, all_views: "list[ViewedCounters]") -> None:
        self._counters = state.counters
        self._all_views = all_views
        self.followers: dict[object, tuple[str, Told]] = {}
        all_views.append(self)

    async def add(self, amounts: Mapping[Counter, int]) -> None:
        await asyncio.sleep(0)
        await self._counters.add(amounts)
        for view in self._all_views:
            for names, told in list(view.followers.values()):
                mine = {counter: amount for counter, amount in amounts.items() if counter.name.startswith(names)}
                if mine and view is not self:
                    told(mine)

    async def sums(self, counters: Sequence[Counter], since: datetime, until: datetime | None = None) -> Sequence[int]:
        await asyncio.sleep(0)
        return await self._counters.sums(counters, since, until)

    async def clear(self, counters: Iterable[Counter]) -> None:
        await asyncio.sleep(0)
        await self._counters.clear(counters)

    async def take(
        self, counter: Counter, count: int, *, per_hour: int | None = None, per_day: int | None = None
    ) -> Literal["hour", "day"] | None:
        await asyncio.sleep(0)
        return await self._counters.take(counter, count, per_hour=per_hour, per_day=per_day)

    def follow(self, names: str, told: Told) -> Callable[[], None]:
        key = object()
        self.followers[key] = (names, told)
        return lambda: self.followers.pop(key) and None


class ViewedRegisters:
    """One copy for all, for a change is known everywhere when it is answered."""

    def __init__(self, state: MemoryState) -> None:
        self._registers = state.registers

    def value(self, register: Counter) -> int:
        return self._registers.value(register)

    def all(self, name: str | None = None) -> Mapping[Counter, int]:
        return self._registers.all(name)

    async def change(self, register: Counter, before: int, after: int) -> bool:
        assert -(2**63) <= after < 2**63, "a register holds 64 bits"
        await asyncio.sleep(0)
        return await self._registers.change(register, before, after)


class ViewedSequences:
    def __init__(self, state: MemoryState) -> None:
        self._sequences = state.sequences

    async def next(self, sequence: Counter, count: int = 1) -> int:
        await asyncio.sleep(0)
        return await self._sequences.next(sequence, count)


class ViewedDocuments:
    def __init__(self, state: MemoryState) -> None:
        self._documents = state.documents

    async def put(self, account: str, kind: str, name: str, content: bytes) -> None:
        await asyncio.sleep(0)
        await self._documents.put(account, kind, name, content)

    async def change(
        self, account: str, kind: str, name: str, before: bytes | None, after: bytes | None, most: int | None = None
    ) -> bool:
        await asyncio.sleep(0)
        return await self._documents.change(account, kind, name, before, after, most)

    async def get(self, account: str, kind: str, name: str) -> bytes | None:
        await asyncio.sleep(0)
        return await self._documents.get(account, kind, name)

    async def names(self, account: str, kind: str) -> Sequence[str]:
        await asyncio.sleep(0)
        return await self._documents.names(account, kind)

    async def drop(self, account: str, kind: str | None = None, name: str | None = None) -> None:
        await asyncio.sleep(0)
        await self._documents.drop(account, kind, name)


class View:
    """The state of one process; implements ``mtaframe.State``."""

    def __init__(self, state: MemoryState, all_views: list[ViewedCounters]) -> None:
        self.counters = ViewedCounters(state, all_views)
        self.registers = ViewedRegisters(state)
        self.sequences = ViewedSequences(state)
        self.digests = state.digests
        self.documents = ViewedDocuments(state)


def views(clock: Clock, count: int = 2) -> list[View]:
    """One state, as so many processes see it."""
    state, all_views = MemoryState(clock), list[ViewedCounters]()
    return [View(state, all_views) for _ in range(count)]
