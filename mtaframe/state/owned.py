"""What the one process that owns the state has of it, whichever backend keeps it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from mtaframe.ledger import Table
from mtaframe.state.digests import Digests
from mtaframe.state.keys import Keyring
from mtaframe.state.memory import Counters, Registers
from mtaframe.storage import Documents, Sequences


class StateError(Exception):
    """The state must not be used as it is; says what to do. The server does not start on it."""


class OwnedDocuments(Documents, Protocol):
    """Documents, and how to tell what there is."""

    async def of(self, account: str) -> Sequence[tuple[str, str, bytes]]:
        """(kind, name, content) of all that an account has. The trouble with the disk, if nobody can tell now."""

    async def counts(self) -> Mapping[tuple[str, str], int]:
        """How many there are by account and id of the key that sealed them."""


class OwnedState(Protocol):
    """The protocol State, and what only its owner may do."""

    counters: Counters
    registers: Registers
    digests: Digests
    keyring: Keyring
    ledger_key: bytes
    """The secret of the ledger's fingerprints."""

    @property
    def sequences(self) -> Sequences: ...

    @property
    def documents(self) -> OwnedDocuments: ...

    @property
    def ledger(self) -> Table | None:
        """Where the ledger's entries outlive the process, if they do."""

    @property
    def folder(self) -> Path | None:
        """Where it is kept, if it is."""

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written now, and what to do."""

    def ledger_rows(self) -> Iterable[tuple[bytes, int, float]]:
        """What an earlier process left: (fingerprint, packed, since), oldest first."""

    async def shrink(self) -> None:
        """Leave no octet of what was dropped. StateError says why that could not be."""

    async def keys_needed(self) -> Mapping[tuple[str, str], int]:
        """How much was made under each key, by purpose and id."""

    async def forget_key(self, purpose: str, key_id: str) -> None:
        """Drop what was made under a key. StateError while this process makes more of it."""

    async def close(self) -> None:
        """Write what is not written yet, and let go."""
