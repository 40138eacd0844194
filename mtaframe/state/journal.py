"""What has changed and is not in the file yet. Whoever reads a row asks here first.

The law: it doesn't outgrow what RAM has anyway, however long the disk is gone.
"""

from collections.abc import Callable, Iterable, Mapping

from mtaframe.state.database import TABLES, Changes, Row

Whole = Mapping[str, Callable[[], Iterable[tuple[Row, Row]]]]
"""For each table that RAM has as a whole: all its rows, as key and rest."""

LIMIT = 100_000
"""Changes of the tables that RAM has: beyond, they are written as a whole, once the disk is back."""


class Journal:
    """Rows by table and key; None for one that is gone."""

    def __init__(self, whole: Whole) -> None:
        self._whole = whole
        self._new: dict[str, dict[Row, Row | None]] = {}
        self._under_way: dict[str, Changes] = {}
        self._count = 0
        self._is_whole_due = False

    @property
    def is_empty(self) -> bool:
        return not (self._new or self._under_way or self._is_whole_due)

    def put(self, table: str, key: Row, rest: Row | None) -> None:
        if table in self._whole:
            if self._is_whole_due:
                return
            self._count += 1
            if self._count > LIMIT:
                self.begin_anew()
                return
        self._new.setdefault(table, {})[key] = rest

    def begin_anew(self, rows: Mapping[str, Changes] | None = None) -> None:
        """Have everything that RAM has written as a whole; ``rows`` are what else the file had."""
        self._is_whole_due = True
        for table in self._whole:
            self._new.pop(table, None)
        for table, changes in (rows or {}).items():
            self._new[table] = {**changes, **self._new.get(table, {})}

    def changes(self, table: str, first: Row) -> dict[Row, Row | None]:
        """What is known here about rows whose key begins so."""
        known: dict[Row, Row | None] = {}
        for changes in (self._under_way.get(table, {}), self._new.get(table, {})):
            if len(first) < len(TABLES[table].key):
                known.update((key, rest) for key, rest in changes.items() if key[: len(first)] == first)
            elif first in changes:
                known[first] = changes[first]
        return known

    def take(self) -> tuple[dict[str, Changes], tuple[str, ...]]:
        """All of it, and which tables it is the whole of. ``done`` or ``undo`` comes next."""
        batch: dict[str, Changes] = dict(self._new)
        whole = tuple(self._whole) if self._is_whole_due else ()
        for table in whole:
            batch[table] = dict(self._whole[table]())
        self._under_way, self._new, self._count, self._is_whole_due = batch, {}, 0, False
        return batch, whole

    def done(self) -> None:
        """It is in the file."""
        self._under_way = {}

    def undo(self, whole: tuple[str, ...]) -> None:
        """It is not, so it is still to be written, but for what has changed again."""
        failed, self._under_way = self._under_way, {}
        if whole:
            self.begin_anew()
        for table, changes in failed.items():
            if table in self._whole and self._is_whole_due:
                continue
            self._new[table] = {**changes, **self._new.get(table, {})}
            self._count += len(changes) if table in self._whole else 0
