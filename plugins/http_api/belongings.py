"""Small documents that account holders make, each kind in RAM of every worker, and in step: domains, addresses.

The rule: nobody asks the disk about an account that has made none, or that has changed none since; and an account
never has more than it may.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Generic, TypeVar

from mtaframe import Mta, Revisions

T = TypeVar("T")

REMEMBERED = 10_000
"""Accounts whose documents are kept in RAM."""


class Belongings(Generic[T]):
    """Dataclasses of one kind, by account and name. ``read`` makes one of its fields."""

    def __init__(self, mta: Mta, kind: str, read: Callable[[Mapping[str, Any]], T]) -> None:
        self._mta = mta
        self._kind = kind
        self._read = read
        self._revisions = Revisions(mta.state, f"http_api.{kind}.made")
        self._known: dict[str, tuple[int, Mapping[str, T]]] = {}
        self._turn = asyncio.Lock()

    @property
    def accounts(self) -> Sequence[str]:
        """Those of the configuration that have ever made some."""
        return [account for account in self._revisions.accounts if account in self._mta.accounts]

    async def all(self, account: str) -> Mapping[str, T]:
        """By name. It costs nothing where there are none, and no question where nothing has changed."""
        revision = self._revisions.current(account)
        if not revision:
            return {}
        known = self._known.get(account)
        if known is None or known[0] != revision:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[account] = (revision, await self._loaded(account))
        return known[1]

    async def add(self, account: str, name: str, value: T, most: int) -> T | None:
        """The one of this name that is there already, else the new one. None if the account has as many as it may:
        where several processes add the last ones at once, each may be told so.
        """
        async with self._turn:
            known = await self.all(account)
            if name in known:
                return known[name]
            if len(known) >= most:
                return None
            await self.put(account, name, value)
            if len(await self._mta.state.documents.names(account, self._kind)) <= most:
                return value
            await self.drop(account, name)
            return None

    async def change(self, account: str, name: str, change: Callable[[T], T]) -> T | None:
        """What becomes of the one of this name, which nobody in this process changes meanwhile; None: there is none."""
        async with self._turn:
            before = (await self.all(account)).get(name)
            if before is None:
                return None
            after = change(before)
            return before if after == before else await self.put(account, name, after)

    async def put(self, account: str, name: str, value: T) -> T:
        content = json.dumps(asdict(value)).encode()  # type: ignore[call-overload]
        await self._mta.state.documents.put(account, self._kind, name, content)
        await self._revisions.changed(account)
        return value

    async def drop(self, account: str, name: str) -> None:
        await self._mta.state.documents.drop(account, self._kind, name)
        await self._revisions.changed(account)

    async def _loaded(self, account: str) -> Mapping[str, T]:
        documents = self._mta.state.documents
        found = {}
        for name in await documents.names(account, self._kind):
            octets = await documents.get(account, self._kind, name)
            if octets is not None:
                found[name] = self._read(json.loads(octets))
        return found
