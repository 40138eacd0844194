"""What each relay adds to the time of a transaction while there is little to do."""

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contrib.bench import programs
from contrib.bench.loads import Seen, Wanted, sent
from contrib.bench.process import BenchError
from contrib.bench.row import Place, Row
from contrib.bench.rows import LIMIT
from contrib.bench.scratch import rsa_key, scratch
from contrib.bench.sink import Sink
from contrib.bench.table import markdown

ROWS = (LIMIT, "mtaframe", "mtaframe-dkim", "postfix-proxy", "exim-cutthrough", "haraka", "haraka-dkim")


@dataclass(frozen=True, slots=True)
class Pace:
    """Transactions a second in all, over so many sessions, for so long."""

    rate: float = 50.0
    sessions: int = 5
    seconds: float = 5.0
    size: int = 10_240


@dataclass(slots=True)
class Times:
    """Seconds of all rounds of one row: whole transactions, and from the message's first octet to the last reply."""

    row: Row
    whole: list[float] = field(default_factory=list)
    dot: list[float] = field(default_factory=list)
    trouble: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"row": self.row.key, "trouble": self.trouble, "whole": self.whole, "dot": self.dot}


def quantiles(values: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th percentile, in the unit of the values."""
    if len(values) < 2:
        return (values[0], values[0]) if values else (0.0, 0.0)
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]


def taken(rows: Sequence[Row], pace: Pace, rounds: int, told: Callable[[str], None]) -> list[Times]:
    """All rows in turn, round by round."""
    found = [Times(row, trouble=programs.lack(row.needs)) for row in rows]
    with scratch() as folder:
        key = rsa_key(folder)
        for number in range(rounds):
            for times in found:
                told(f"round {number + 1}: {times.row.key}")
                if times.trouble:
                    continue
                try:
                    with scratch(folder) as here:
                        once = _once(times.row, pace, here, key)
                except BenchError as error:
                    times.trouble = str(error)
                else:
                    times.whole += once.whole
                    times.dot += once.dot
    return found


def _once(row: Row, pace: Pace, folder: Path, key: Path) -> Seen:
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(folder))
        here = folder / "contender"
        here.mkdir(mode=0o755)
        running = stack.enter_context(row.start(Place(here, sink.port, 20, key)))
        for seconds in (1.0, pace.seconds):  # the first one warms it up
            wanted = Wanted("paced", running.port, pace.sessions, pace.size, seconds, pace.rate)
            once = sent(wanted, 30 + 5 * seconds)
        return once


def table(found: Sequence[Times]) -> str:
    """Milliseconds, and what each adds to the direct way."""
    head = ["", "median ms", "99 % ms", "adds (median)", "adds (99 %)", "after the message: median", "99 %"]
    limit = next((quantiles(times.whole) for times in found if times.row.key == LIMIT), (0.0, 0.0))
    rows = []
    for times in found:
        if not times.whole:
            continue
        whole, dot = quantiles(times.whole), quantiles(times.dot)
        added = [value - base for value, base in zip(whole, limit, strict=True)]
        dashed = times.row.key == LIMIT or not limit[0]
        rows.append(
            [
                times.row.title,
                *(f"{value * 1000:.2f}" for value in whole),
                *("–" if dashed else f"{value * 1000:.2f}" for value in added),
                *(f"{value * 1000:.2f}" for value in dot),
            ]
        )
    failed = [f"- {times.row.title}: {times.trouble}" for times in found if times.trouble]
    return markdown(head, rows) + ("\n\nNot measured:\n\n" + "\n".join(failed) if failed else "")
