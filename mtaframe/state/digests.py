"""Who is on a list, without the list: hashed here, stored by whoever has the table.

The law: what is hashed never gets beyond this module; a table sees 16 octets.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from mtaframe.state.keys import Keyring

Print = tuple[str, bytes]
"""The id of a key, and the digest under it."""


class DigestTable(Protocol):
    """Digests with an integer and an end; ``until`` is in seconds since 1970."""

    async def put(self, purpose: str, key_id: str, digest: bytes, value: int, until: float) -> None: ...

    async def get(self, purpose: str, prints: Sequence[Print]) -> int | None:
        """The value of the first that is there, and whose time is not over."""

    async def agree(self, purpose: str, prints: Sequence[Print], value: int, until: float) -> int:
        """The value that ``get`` finds, else this one, ``put`` under the first, with nobody in between."""

    async def drop(self, purpose: str, prints: Sequence[Print]) -> None: ...

    async def counts(self) -> dict[tuple[str, str], int]:
        """How many there are by purpose and key."""


class Digests:
    """Keyed digests with an integer and an end."""

    def __init__(self, keyring: Keyring, table: DigestTable) -> None:
        self._keyring = keyring
        self.table = table

    async def put(self, purpose: str, what: bytes, value: int, until: datetime) -> None:
        (key_id, digest), *older = self._keyring.prints(purpose, what)
        await self.table.put(purpose, key_id, digest, int(value), until.timestamp())
        if older:
            await self.table.drop(purpose, older)

    async def get(self, purpose: str, what: bytes) -> int | None:
        return await self.table.get(purpose, self._keyring.prints(purpose, what))

    async def agree(self, purpose: str, what: bytes, value: int, until: datetime) -> int:
        return await self.table.agree(purpose, self._keyring.prints(purpose, what), int(value), until.timestamp())

    async def drop(self, purpose: str, what: bytes) -> None:
        await self.table.drop(purpose, self._keyring.prints(purpose, what))
