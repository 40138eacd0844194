"""One contender, started afresh, under load once: how fast it is, and what it uses."""

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contrib.bench.process import BenchError
from contrib.bench.row import Place, Row, Running
from contrib.bench.sink import Sink
from contrib.bench.source import Source

_WARM = 0.4
"""Seconds of load before anything is measured, in which the rate is estimated too."""
_POLL, _LOOK = 0.01, 0.5
"""Seconds between looks at the sink's counter, and at the memory."""


@dataclass(frozen=True, slots=True)
class Load:
    """So many sessions, messages of so many octets, for about so many seconds or exactly ``count`` messages."""

    sessions: int
    size: int = 10_240
    seconds: float = 5.0
    count: int = 0

    @property
    def patience(self) -> float:
        """Seconds after which a run is given up."""
        return 30 + 10 * self.seconds


@dataclass(frozen=True, slots=True)
class Measured:
    """``rate`` is messages per second, until the sink has the last one; ``cpu`` microseconds per message."""

    messages: int
    rate: float
    cpu: float
    rss: int
    remark: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measured(row: Row, load: Load, folder: Path, key: Path) -> Measured:
    """Start the contender in the folder, warm it up, load it. BenchError if it loses mail or time."""
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(folder))
        here = folder / "contender"
        here.mkdir(mode=0o755)
        running = stack.enter_context(row.start(Place(here, sink.port, load.sessions, key)))
        run = _Run(Source(folder, load.size, load.sessions, personal=row.personalised), sink, running, load.patience)
        rate = run.warm(load.sessions)
        count = load.count or max(load.sessions, round(rate * load.seconds))
        before = run.at_rest()
        took = run.sent(count)
        used = run.at_rest() - before
        return Measured(count, count / took, used / count * 1e6, run.most, running.remark())


class _Run:
    def __init__(self, source: Source, sink: Sink, running: Running, patience: float) -> None:
        self._source, self._sink, self._running = source, sink, running
        self._patience = patience
        self.most = 0

    def warm(self, sessions: int) -> float:
        """Messages per second, from bursts that grow until one is long enough."""
        count = max(100, 2 * sessions)
        self.sent(count)  # processes start, connections open
        while True:
            took = self.sent(count)
            if took >= _WARM or count >= 100_000:
                return count / took
            count = round(count * min(8.0, 1.2 * _WARM / took))

    def sent(self, count: int) -> float:
        """The seconds until the sink has so many more."""
        goal = self._sink.taken() + count
        began = look = time.monotonic()
        with self._source.sending(count, self._running.port) as process:
            while self._sink.taken() < goal:
                now = time.monotonic()
                if now - began > self._patience:
                    missing = goal - self._sink.taken()
                    raise BenchError(f"{missing} of {count} messages were not there after {self._patience:.0f} s")
                if now >= look:
                    self.most = max(self.most, self._running.usage().rss)
                    look = now + _LOOK
                self._source.check(process)
                time.sleep(_POLL)
            took = time.monotonic() - began
            process.wait(self._patience)
            self._source.check(process)
        return took

    def at_rest(self) -> float:
        """The CPU seconds used so far, once it does no more than a program that waits."""
        last = self._running.usage().cpu
        for _ in range(20):
            time.sleep(0.25)
            now = self._running.usage().cpu
            if now - last < 0.01:
                return now
            last = now
        return last
