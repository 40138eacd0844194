"""How every process knows that what an account holder made has changed, without asking the disk.

The law: whoever sees another number than the one it has read by reads again. So the number changes after each change
of a document, to one that is never given twice: not even one from before a purge comes back.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from mtaframe.storage import Counter, State

T = TypeVar("T")


class Revisions:
    """The numbers of one kind of documents, by account; ``name`` is that of their register and sequence."""

    def __init__(self, state: State, name: str) -> None:
        self._state = state
        self._about = Counter(name)
        self._registers: dict[str, Counter] = {}
        self._telling: set[asyncio.Task[Any]] = set()

    @property
    def accounts(self) -> Sequence[str]:
        """Those that have ever made some, in order."""
        return sorted(register.account for register in self._state.registers.all(self._about.name))

    def current(self, account: str) -> int:
        """Another one after each change; 0: nothing was ever made. Known without asking."""
        return self._state.registers.value(self._register(account))

    async def next(self, account: str) -> int:
        """A number for a change that is about to be made."""
        return await self._state.sequences.next(self._register(account))

    async def changed(self, account: str, number: int | None = None) -> None:
        """The change is made, under this number or a new one: every process knows it when this returns."""
        register = self._register(account)
        after = await self.next(account) if number is None else number
        while not await self._state.registers.change(register, self._state.registers.value(register), after):
            pass  # somebody else was faster: theirs is another change

    async def told(self, account: str, change: Coroutine[Any, Any, T], number: int | None = None) -> T:
        """What ``change`` answers; unless that is False, every process is told.

        Who asked may be gone before the end, for clients go: what was begun is done and told all the same.
        """

        async def whole() -> T:
            answer = await change
            if answer is not False:
                await self.changed(account, number)
            return answer

        task = asyncio.ensure_future(whole())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        return await asyncio.shield(task)

    def _register(self, account: str) -> Counter:
        found = self._registers.get(account)
        if found is None:
            found = self._registers[account] = Counter(self._about.name, account=account)
        return found
