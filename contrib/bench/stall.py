"""How long large messages on other sessions hold up a client that sends one small message after the other."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contrib.bench import programs
from contrib.bench.latency import quantiles
from contrib.bench.loads import Sending, Wanted, sent
from contrib.bench.process import BenchError
from contrib.bench.row import Place, Row
from contrib.bench.scratch import rsa_key, scratch
from contrib.bench.sink import Sink
from contrib.bench.table import markdown, number, octets

_BUSY, _SMALL = 2, 4
"""Sessions with large messages, and with small ones: every worker has some of both."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Seconds of the small messages' transactions, alone and beside the large ones: median, 99 %, the longest."""

    row: str
    title: str
    alone: tuple[float, float, float] = (0.0, 0.0, 0.0)
    beside: tuple[float, float, float] = (0.0, 0.0, 0.0)
    large: float = 0.0
    """Large messages per second meanwhile."""
    trouble: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def stalls(rows: Sequence[Row], size: int, seconds: float, told: Callable[[str], None]) -> list[Stall]:
    """Each row once. The direct one tells what the sink and the machine themselves cause."""
    found = []
    with scratch() as folder:
        key = rsa_key(folder)
        for row in rows:
            told(f"{octets(size)} messages: {row.key}")
            trouble = programs.lack(row.needs)
            if not trouble:
                try:
                    with scratch(folder) as here:
                        found.append(_stall(row, size, seconds, here, key))
                    continue
                except BenchError as error:
                    trouble = str(error)
            found.append(Stall(row.key, row.title, trouble=trouble))
    return found


def _stall(row: Row, size: int, seconds: float, folder: Path, key: Path) -> Stall:
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(folder))
        here = folder / "contender"
        here.mkdir(mode=0o755)
        running = stack.enter_context(row.start(Place(here, sink.port, 20, key)))
        small = Wanted("steady", running.port, _SMALL, 1024, seconds)
        patience = 60 + 5 * seconds
        sent(Wanted("steady", running.port, _SMALL, 1024, 1.0), patience)
        alone = sent(small, patience).whole
        busy = stack.enter_context(Sending(Wanted("steady", running.port, _BUSY, size, seconds + 1)))
        beside = sent(small, patience).whole
        large = busy.seen(patience)
        rate = len(large.whole) / (large.ended - large.began)
        return Stall(row.key, row.title, (*quantiles(alone), max(alone)), (*quantiles(beside), max(beside)), rate)


def table(found: Sequence[Stall], size: int) -> str:
    """One line for each."""
    head = [
        f"1 KB messages beside {_BUSY} sessions of {octets(size)}",
        "alone: median ms",
        "99 %",
        "longest",
        "beside: median ms",
        "99 %",
        "longest",
        f"{octets(size)} messages/s",
    ]
    rows = [
        [one.title, *(f"{value * 1000:.1f}" for value in (*one.alone, *one.beside)), number(one.large)]
        for one in found
        if not one.trouble
    ]
    failed = [f"- {one.title}: {one.trouble}" for one in found if one.trouble]
    return markdown(head, rows) + ("\n\nNot measured:\n\n" + "\n".join(failed) if failed else "")
