"""Small documents that account holders make, each kind in RAM of every worker, and in step: domains, addresses.

The rule: nobody asks the disk about an account that has made none, or that has changed none since; and an account
never has more than it may.
"""

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
        """The one of this name that is there already, else the new one. None if the account has as many as it may."""
        documents = self._mta.state.documents
        made = documents.change(account, self._kind, name, None, _octets(value), most)
        if not await self._revisions.told(account, made):
            there = await documents.get(account, self._kind, name)
            if there is None:
                return None
            if name not in await self.all(account):  # whoever made it has died before it was told
                await self._revisions.changed(account)
            return self._opened(there)
        return value

    async def change(self, account: str, name: str, change: Callable[[T], T | None]) -> T | None:
        """What becomes of the one of this name; None takes it away. None: there is none.

        ``change`` is asked again where somebody else was faster. That what is known here does not hold any more is
        told in any case: whoever changed it may have died before.
        """
        known = (await self.all(account)).get(name)
        if known is None or change(known) == known:
            return known
        documents = self._mta.state.documents
        while (before := await documents.get(account, self._kind, name)) is not None:
            after = change(self._opened(before))
            octets = None if after is None else _octets(after)
            changed = documents.change(account, self._kind, name, before, octets)
            if await self._revisions.told(account, changed):
                return after
        await self._revisions.changed(account)
        return None

    async def drop(self, account: str, name: str) -> None:
        await self._revisions.told(account, self._mta.state.documents.drop(account, self._kind, name))

    async def _loaded(self, account: str) -> Mapping[str, T]:
        documents = self._mta.state.documents
        found = {}
        for name in await documents.names(account, self._kind):
            octets = await documents.get(account, self._kind, name)
            if octets is not None:
                found[name] = self._opened(octets)
        return found

    def _opened(self, octets: bytes) -> T:
        return self._read(json.loads(octets))


def _octets(value: Any) -> bytes:
    return json.dumps(asdict(value)).encode()
