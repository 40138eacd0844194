"""One answer of those of several processes, each of which has queues of its own. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

STATES = ("on", "failing", "asked to wait", "resting", "off")
"""How a URL may be doing, the worst last."""
_COUNTS = ("queued", "to retry", "sent", "failed", "dropped", "expired")

Row = Mapping[str, Any]


def merged(tables: Sequence[Sequence[Row]]) -> Sequence[Row]:
    """One row for each endpoint: counts added up; state and last answer of the process where it does worst."""
    rows: dict[tuple[str, str, int], Row] = {}
    for row in (row for table in tables for row in table):
        key = row["url"], row["account"], row["id"]
        known = rows.get(key)
        if known is not None:
            worst = max(known, row, key=lambda one: STATES.index(one["state"]))
            row = dict(worst) | {name: known[name] + row[name] for name in _COUNTS}
        rows[key] = row
    return list(rows.values())


def tried_again(counts: Sequence[int]) -> str:
    return f"{sum(counts)} to try again"
