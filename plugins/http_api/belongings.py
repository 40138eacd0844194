"""Small documents that account holders make, each kind in RAM of every worker, and in step: domains, addresses.

The rule: a register counts an account's changes, so nobody asks the disk about an account that has never made any, and
who sees another count than it has read reads again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Generic, TypeVar

from mtaframe import Counter, Mta

T = TypeVar("T")

REMEMBERED = 10_000
"""Accounts whose documents are kept in RAM."""


class Belongings(Generic[T]):
    """Dataclasses of one kind, by account and name. ``read`` makes one of its fields."""

    def __init__(self, mta: Mta, kind: str, read: Callable[[Mapping[str, Any]], T]) -> None:
        self._mta = mta
        self._kind = kind
        self._read = read
        self._known: dict[str, tuple[int, Mapping[str, T]]] = {}

    @property
    def accounts(self) -> Sequence[str]:
        """Those of the configuration that have ever made some."""
        made = self._mta.state.registers.all(self._register().name)
        return sorted(register.account for register in made if register.account in self._mta.accounts)

    async def all(self, account: str) -> Mapping[str, T]:
        """By name. It costs nothing where there are none, and no question where nothing has changed."""
        count = self._mta.state.registers.value(self._register(account))
        if not count:
            return {}
        known = self._known.get(account)
        if known is None or known[0] != count:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[account] = (count, await self._loaded(account))
        return known[1]

    async def put(self, account: str, name: str, value: T) -> T:
        content = json.dumps(asdict(value)).encode()  # type: ignore[call-overload]
        await self._mta.state.documents.put(account, self._kind, name, content)
        await self._changed(account)
        return value

    async def drop(self, account: str, name: str) -> None:
        await self._mta.state.documents.drop(account, self._kind, name)
        await self._changed(account)

    async def _loaded(self, account: str) -> Mapping[str, T]:
        documents = self._mta.state.documents
        found = {}
        for name in await documents.names(account, self._kind):
            octets = await documents.get(account, self._kind, name)
            if octets is not None:
                found[name] = self._read(json.loads(octets))
        return found

    async def _changed(self, account: str) -> None:
        registers, register = self._mta.state.registers, self._register(account)
        while not await registers.change(register, count := registers.value(register), count + 1):
            pass  # somebody else was faster: theirs is another change

    def _register(self, account: str = "") -> Counter:
        return Counter(f"http_api.{self._kind}", account=account)
