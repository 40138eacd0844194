"""Where webhooks that account holders made are kept: documents of the state, whose changes every process is told.

The rule: an account never has more than it may, and what is told as changed can be read.
"""

import asyncio
import logging
from collections.abc import Sequence

from mtaframe import Counter, EndpointFault, Mta, Revisions
from mtaframe_plugins.webhooks.made import Made, Wish, new, opened

log = logging.getLogger("mtaframe.webhooks")

KIND = "webhook"
TOO_MANY = EndpointFault("this account has as many webhooks as it may have")
AT_ONCE = EndpointFault("other webhooks were made at the same moment, try again")


class Shelf:
    """``limit``: how many an account may have."""

    def __init__(self, mta: Mta, limit: int) -> None:
        self._state, self._clock = mta.state, mta.clock
        self.limit = limit
        self._revisions = Revisions(mta.state, "webhooks.made")
        self._adding = asyncio.Lock()

    def number(self, account: str) -> int:
        """Another one after each change; 0: nothing was ever made. Known without asking."""
        return self._revisions.current(account)

    async def all(self, account: str) -> list[Made]:
        """In the order in which they were made."""
        names = await self._names(account)
        found = await asyncio.gather(*(self._read(account, name) for name in names))
        return sorted((each for each in found if each is not None), key=lambda each: each.id)

    async def add(self, account: str, wish: Wish) -> Made | EndpointFault:
        """Never one more than the limit: where several processes add the last ones at once, each may be refused."""
        async with self._adding:
            return await self._added(account, wish)

    async def _added(self, account: str, wish: Wish) -> Made | EndpointFault:
        if len(await self._names(account)) >= self.limit:
            return TOO_MANY
        number = await self._state.sequences.next(Counter("webhooks.endpoint", account=account))
        change = await self._revisions.next(account)
        made = new(account, number, wish, self._clock.now(), change)
        await self._put(made)
        if len(await self._names(account)) > self.limit:
            await self.drop(account, made.id)
            return AT_ONCE
        await self._revisions.changed(account, change)
        return made

    async def change(self, account: str, number: int, wish: Wish) -> Made | None:
        """None if there is none of that number, also where another process deletes it at the same moment.

        A register says so: it is not 0 from before the document is read, and whoever deletes it sets that to 0.
        """
        if await self._read(account, str(number)) is None:
            return None
        registers, register = self._state.registers, _saved(account, number)
        change = await self._revisions.next(account)
        while not registers.value(register) and not await registers.change(register, 0, change):
            pass
        if (old := await self._read(account, str(number))) is None:
            await self._forget(register)
            return None
        changed = old.changed(wish, change)
        await self._put(changed)
        if not registers.value(register):
            await self.drop(account, number)
            return None
        await self._revisions.changed(account, changed.change)
        return changed

    async def drop(self, account: str, number: int) -> bool:
        """Whether there was one. The change is told also where there was none: an earlier try may have died halfway."""
        register, was_there = _saved(account, number), await self._read(account, str(number)) is not None
        while True:
            await self._forget(register)
            await self._state.documents.drop(account, KIND, str(number))
            if not self._state.registers.value(register):
                break
        await self._revisions.changed(account)
        return was_there

    async def _forget(self, register: Counter) -> None:
        """Set it to 0, whoever else changes it meanwhile."""
        registers = self._state.registers
        while (before := registers.value(register)) and not await registers.change(register, before, 0):
            pass

    async def _names(self, account: str) -> Sequence[str]:
        return await self._state.documents.names(account, KIND)

    async def _read(self, account: str, name: str) -> Made | None:
        content = await self._state.documents.get(account, KIND, name)
        if content is None:
            return None
        if (made := opened(account, name, content)) is None:
            log.error("a webhook can't be read account=%s id=%s", account, name)
        return made

    async def _put(self, made: Made) -> None:
        await self._state.documents.put(made.account, KIND, str(made.id), made.document())


def _saved(account: str, number: int) -> Counter:
    """The register that is not 0 while one that was there is saved again, and since."""
    return Counter("webhooks.saved", account=account, source=f"made.{number}")
