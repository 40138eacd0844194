"""Where webhooks that account holders made are kept: documents of the state, whose changes every process is told.

The rule: an account never has more than it may, and what is told as changed can be read.
"""

import asyncio
import logging

from mtaframe import Counter, EndpointFault, Mta, Revisions
from mtaframe_plugins.webhooks.made import Made, Wish, new, opened

log = logging.getLogger("mtaframe.webhooks")

KIND = "webhook"
TOO_MANY = EndpointFault("this account has as many webhooks as it may have")


class Shelf:
    """``limit``: how many an account may have."""

    def __init__(self, mta: Mta, limit: int) -> None:
        self._state, self._clock = mta.state, mta.clock
        self.limit = limit
        self._revisions = Revisions(mta.state, "webhooks.made")

    def number(self, account: str) -> int:
        """Another one after each change; 0: nothing was ever made. Known without asking."""
        return self._revisions.current(account)

    async def all(self, account: str) -> list[Made]:
        """In the order in which they were made."""
        names = await self._state.documents.names(account, KIND)
        found = await asyncio.gather(*(self._read(account, name) for name in names))
        return sorted((each for each in found if each is not None), key=lambda each: each.id)

    async def add(self, account: str, wish: Wish) -> Made | EndpointFault:
        number = await self._state.sequences.next(Counter("webhooks.endpoint", account=account))
        change = await self._revisions.next(account)
        made = new(account, number, wish, self._clock.now(), change)
        put = self._state.documents.change(account, KIND, str(number), None, made.document(), self.limit)
        return made if await self._revisions.told(account, put, change) else TOO_MANY

    async def change(self, account: str, number: int, wish: Wish) -> Made | None:
        """None if there is none of that number, also where another process deletes it at the same moment."""
        name, documents = str(number), self._state.documents
        while (before := await documents.get(account, KIND, name)) is not None:
            if (old := self._opened(account, name, before)) is None:
                return None
            changed = old.changed(wish, await self._revisions.next(account))
            put = documents.change(account, KIND, name, before, changed.document())
            if await self._revisions.told(account, put, changed.change):
                return changed
        return None

    async def drop(self, account: str, number: int) -> bool:
        """Whether there was one. The change is told also where there was none: an earlier try may have died halfway."""
        was_there = await self._read(account, str(number)) is not None
        await self._revisions.told(account, self._state.documents.drop(account, KIND, str(number)))
        return was_there

    async def _read(self, account: str, name: str) -> Made | None:
        content = await self._state.documents.get(account, KIND, name)
        return None if content is None else self._opened(account, name, content)

    def _opened(self, account: str, name: str, content: bytes) -> Made | None:
        if (made := opened(account, name, content)) is None:
            log.error("a webhook can't be read account=%s id=%s", account, name)
        return made
