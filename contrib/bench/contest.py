"""All rows in turn, round by round, so that what else the machine does hits all alike."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contrib.bench import programs
from contrib.bench.process import BenchError
from contrib.bench.row import Row
from contrib.bench.rows import LIMIT
from contrib.bench.scratch import rsa_key, scratch
from contrib.bench.trial import Load, Measured, measured


@dataclass(slots=True)
class Standing:
    """What is known of one row under one load; ``trouble`` is why there is nothing, or less."""

    row: Row
    runs: list[Measured] = field(default_factory=list)
    trouble: str = ""

    @property
    def rate(self) -> float:
        """The median, in messages per second; 0 without a run."""
        return statistics.median(run.rate for run in self.runs) if self.runs else 0.0

    @property
    def spread(self) -> tuple[float, float]:
        """The slowest and the fastest round."""
        rates = [run.rate for run in self.runs]
        return min(rates), max(rates)

    @property
    def cpu(self) -> float:
        """The median, in microseconds per message."""
        return statistics.median(run.cpu for run in self.runs) if self.runs else 0.0

    @property
    def rss(self) -> int:
        """The median of the peaks, in octets."""
        return round(statistics.median(run.rss for run in self.runs)) if self.runs else 0

    def as_json(self) -> dict[str, Any]:
        return {"row": self.row.key, "trouble": self.trouble, "runs": [run.as_json() for run in self.runs]}


class Standings:
    """All rows under one load."""

    def __init__(self, load: Load, rows: Iterable[Row]) -> None:
        self.load = load
        self.rows = {row.key: Standing(row, trouble=programs.lack(row.needs)) for row in rows}

    def of_limit(self, one: Standing) -> float:
        """The share of the direct limit; 0 if that is not known."""
        limit = self.rows.get(LIMIT)
        return one.rate / limit.rate if limit and limit.rate else 0.0

    def advantage(self, one: Standing) -> float:
        """How many times faster mtaframe does the same work; 0 if that is not known."""
        ours = self.rows.get(one.row.against)
        return ours.rate / one.rate if ours and one.rate else 0.0

    def as_json(self) -> dict[str, Any]:
        rows = [one.as_json() for one in self.rows.values()]
        return {"sessions": self.load.sessions, "size": self.load.size, "rows": rows}


def results(rows: Sequence[Row], loads: Sequence[Load], rounds: int, told: Callable[[str], None]) -> list[Standings]:
    """Run them all; ``told`` hears what is next, once for each run. What fails is not tried again."""
    standings = [Standings(load, rows) for load in loads]
    with scratch() as folder:
        key = rsa_key(folder)
        for number in range(rounds):
            for each in standings:
                for one in each.rows.values():
                    told(f"round {number + 1}, {each.load.sessions} sessions: {one.row.key}")
                    if not one.trouble:
                        _run(one, each.load, folder, key)
    return standings


def _run(one: Standing, load: Load, parent: Path, key: Path) -> None:
    try:
        with scratch(parent) as folder:
            one.runs.append(measured(one.row, load, folder, key))
    except BenchError as error:
        one.trouble = str(error)
