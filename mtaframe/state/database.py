"""The file ``state.db``: its tables, and reading and writing them in the one thread that has it.

The law: the schema itself keeps text out. A name is at most 100 small letters, digits and ``_.:-``, a digest is 16
octets, everything else is a number; only ``documents`` has room for more, and that is sealed.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = tuple[Any, ...]
Changes = Mapping[Row, Row | None]
"""By the key of a row the rest of it; None if there is no such row any more."""

VERSION = 1
_APPLICATION = 0x6D746166
_RAM = "/dev/shm"  # noqa: S108


@dataclass(frozen=True)
class Table:
    """``key`` and ``rest`` are its columns with their types."""

    name: str
    key: Mapping[str, str]
    rest: Mapping[str, str]

    @property
    def definition(self) -> str:
        columns = [f"{column} {kind.replace('?', column)}" for column, kind in {**self.key, **self.rest}.items()]
        primary = f"PRIMARY KEY ({', '.join(self.key)})"
        return f"CREATE TABLE {self.name} ({', '.join([*columns, primary])}) STRICT, WITHOUT ROWID"

    @property
    def put(self) -> str:
        marks = ", ".join("?" * (len(self.key) + len(self.rest)))
        return f"INSERT OR REPLACE INTO {self.name} VALUES ({marks})"  # noqa: S608

    def where(self, count: int) -> str:
        """The first so many columns of the key are given."""
        return " AND ".join(["true", *(f"{column} = ?" for column in list(self.key)[:count])])


_NAME = "TEXT NOT NULL CHECK (length(?) <= 100 AND ? NOT GLOB '*[^a-z0-9_.:-]*')"
_DIGEST = "BLOB NOT NULL CHECK (length(?) = 16)"
_INTEGER = "INTEGER NOT NULL"
_COUNTER = {"name": _NAME, "account": _NAME, "stream": _NAME, "source": _NAME, "site": _NAME}

TABLES = {
    table.name: table
    for table in (
        Table("counters", {**_COUNTER, "hour": _INTEGER}, {"amount": _INTEGER}),
        Table("registers", _COUNTER, {"value": _INTEGER}),
        Table("sequences", _COUNTER, {"booked": _INTEGER}),
        Table("ledger", {"key_id": _NAME, "fingerprint": _DIGEST}, {"packed": _INTEGER, "since": "REAL NOT NULL"}),
        Table(
            "digests",
            {"purpose": _NAME, "key_id": _NAME, "digest": _DIGEST},
            {"value": _INTEGER, "until": "REAL NOT NULL"},
        ),
        Table(
            "documents",
            {"account": _NAME, "kind": _NAME, "key_id": _NAME, "name": "BLOB NOT NULL"},
            {"content": "BLOB NOT NULL"},
        ),
    )
}
SEALED = ("ledger", "digests", "documents")
"""Tables whose rows are worth nothing without the key that they name; each is the purpose of its keys."""


class NewerError(Exception):
    """The file was made by a newer mtaframe."""


class Database:
    """An open file. Every method raises sqlite3.Error if the disk has no part in it any more."""

    def __init__(self, connection: sqlite3.Connection, *, is_copy: bool = False) -> None:
        self._connection = connection
        self.is_copy = is_copy
        """In RAM, for the file can only be read."""

    @classmethod
    def open(cls, path: Path) -> "Database":
        """Open a file; one without content becomes a database. NewerError; DatabaseError if it is damaged."""
        database = cls(_connected(str(path)))
        try:
            database._set_up()
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def read_only(cls, path: Path) -> "Database":
        """A copy in RAM of a file that can't be written, with all that its last owner wrote."""
        memory = _connected(":memory:")
        with tempfile.TemporaryDirectory(prefix="mtaframe-", dir=_RAM) as folder:
            for part in (path, path.with_name(f"{path.name}-wal")):
                if part.exists():
                    shutil.copyfile(part, Path(folder, part.name))
            copy = _connected(str(Path(folder, path.name)))
            copy.backup(memory)
            copy.close()
        database = cls(memory, is_copy=True)
        database._set_up()
        return database

    def _set_up(self) -> None:
        # WAL: a batch is one write at the end of one file, and a process that is killed leaves nothing half done.
        # Exclusive, so that its index is in our own memory: no third file, and nobody else's hand on this one.
        for setting in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "secure_delete = ON", "temp_store = MEMORY"):
            self._connection.execute(f"PRAGMA {setting}").fetchall()
        if (found := self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(f"damaged: {found}")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise NewerError
        with _Transaction(self._connection):
            if version == 0:
                for table in TABLES.values():
                    self._connection.execute(table.definition)
                self._connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._connection.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Everything goes into the one file, where that is possible."""
        self._connection.close()

    def write(self, batch: Mapping[str, Changes], *, durable: bool, emptied: Collection[str] = ()) -> None:
        """Write all of it or nothing. It survives the end of this process; if ``durable``, a power cut as well.

        The tables in ``emptied`` have nothing else afterwards.
        """
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        with _Transaction(self._connection):
            for name in emptied:
                self._connection.execute(f"DELETE FROM {name}")  # noqa: S608
            for name, changes in batch.items():
                table = TABLES[name]
                gone = [key for key, rest in changes.items() if rest is None]
                delete = f"DELETE FROM {name} WHERE {table.where(len(table.key))}"  # noqa: S608
                self._connection.executemany(delete, gone)
                rows = (key + rest for key, rest in changes.items() if rest is not None)
                self._connection.executemany(table.put, rows)

    def rows(self, name: str, first: Row = (), order: str = "1") -> list[Row]:
        """The rows whose key begins so, whole."""
        table = TABLES[name]
        wanted = f"SELECT * FROM {name} WHERE {table.where(len(first))} ORDER BY {order}"  # noqa: S608
        return self._connection.execute(wanted, first).fetchall()

    def changes(self, name: str, first: Row = ()) -> dict[Row, Row | None]:
        """The same by key, as if they had just come."""
        size = len(TABLES[name].key)
        return {row[:size]: row[size:] for row in self.rows(name, first)}

    def counts(self, name: str, by: Iterable[str]) -> dict[Row, int]:
        """How many rows there are for each value of these columns."""
        columns = ", ".join(by)
        wanted = f"SELECT {columns}, count(*) FROM {name} GROUP BY {columns}"  # noqa: S608
        return {tuple(row): count for *row, count in self._connection.execute(wanted)}

    def keys_needed(self) -> dict[tuple[str, str], int]:
        """How many rows there are that need a key, by its purpose and id."""
        return {(name, key_id): count for name in SEALED for (key_id,), count in self.counts(name, ["key_id"]).items()}

    @property
    def is_empty(self) -> bool:
        return not any(self._connection.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in TABLES)  # noqa: S608

    def forget_ended(self, now: float) -> None:
        """Delete digests whose time is over."""
        self._connection.execute("DELETE FROM digests WHERE until <= ?", (now,))

    def forget_key(self, name: str, key_id: str) -> None:
        """Delete what needs this key."""
        self._connection.execute(f"DELETE FROM {name} WHERE key_id = ?", (key_id,))  # noqa: S608

    def shrink(self) -> None:
        """Leave no octet of what was deleted: neither in the file nor in its log."""
        self._connection.execute("VACUUM")
        self.check_in()

    def check_in(self) -> None:
        """Take what was logged into the file, and cut the log, which still has what was deleted since."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _connected(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)


class _Transaction:
    """All that is executed meanwhile, or nothing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            try:
                self._connection.execute("COMMIT")
                return
            except sqlite3.Error:
                self._back()
                raise
        self._back()

    def _back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
