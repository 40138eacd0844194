"""Many transactions held open at once, behind a sink that takes seconds for its answer."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from contrib.bench.loads import Sending, Wanted, raise_limits, sent
from contrib.bench.process import BenchError
from contrib.bench.row import Place, Row, Running
from contrib.bench.scratch import rsa_key, scratch
from contrib.bench.slow_sink import SlowSink
from contrib.bench.table import markdown, number, octets

_PER_ADDRESS = 20_000
"""Connections from or to one address, below the number of free ports."""
_WARM = 100


@dataclass(frozen=True, slots=True)
class Held:
    """``rate`` is messages per second, ``ideal`` the most that the sink's delay allows; memory in octets."""

    row: str
    title: str
    wanted: int
    most: int
    rate: float
    ideal: float
    idle: int
    plateau: int
    each: float
    """Resident octets per held transaction, without its message's own."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def held(row: Row, count: int, delay: float, size: int, told: Callable[[str], None]) -> Held:
    """So many sessions, each with a transaction at any time. BenchError if one is refused."""
    raise_limits(2 * count + 1000)  # one worker may get them all: a client and a next hop each
    hops = count // _PER_ADDRESS + 1
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        sink = stack.enter_context(SlowSink(folder, delay, hops))
        here = folder / "contender"
        here.mkdir(mode=0o755)
        place = Place(here, sink.port, count, rsa_key(folder), transactions=count + 1000, hops=hops)
        running = stack.enter_context(row.start(place))
        recipients = tuple(f"bob@hop{hop}.example" for hop in range(hops))
        told("warm")
        warm = Wanted("steady", running.port, _WARM, size, delay, recipients=recipients)
        sent(warm, 60 + 3 * delay)
        time.sleep(1)
        idle = running.usage().rss
        told("held")
        wanted = Wanted(
            "steady", running.port, count, size, 4 * delay, stagger=delay, sources=hops, recipients=recipients
        )
        load = stack.enter_context(Sending(wanted))
        looks = _looks(sink, running, load, 120 + 10 * delay)
        load.seen(60)
    most = max(look.held for look in looks)
    plateau = [look for look in looks if look.held >= 0.95 * most]
    if not most or len(plateau) < 2:
        raise BenchError("the sink never held many: try a longer --delay")
    first, last = plateau[0], plateau[-1]
    rss = max(look.rss for look in plateau)
    rate = (last.taken - first.taken) / (last.at - first.at)
    return Held(row.key, row.title, count, most, rate, count / delay, idle, rss, (rss - idle) / most - size)


class _Look(NamedTuple):
    at: float
    held: int
    taken: int
    rss: int


def _looks(sink: SlowSink, running: Running, load: Sending, within: float) -> list[_Look]:
    """What the sink and the memory were until the load was over."""
    until, looks = time.monotonic() + within, []
    while not load.over():
        if time.monotonic() > until:
            raise BenchError(f"the transactions were not over after {within:.0f} s: try a smaller --count")
        looks.append(_Look(time.monotonic(), *sink.counts(), running.usage().rss))
        time.sleep(0.25)
    return looks


def table(found: list[Held], size: int, delay: float) -> str:
    """One line for each."""
    head = [
        f"{octets(size)}, answered after {delay:g} s",
        "sessions",
        "held at once",
        "messages/s",
        "of what the delay allows",
        "RSS idle MB",
        "RSS held MB",
        "per transaction KB",
    ]
    rows = [
        [
            one.title,
            f"{one.wanted:,}",
            f"{one.most:,}",
            number(one.rate),
            f"{one.rate / one.ideal:.0%}",
            number(one.idle / 2**20),
            number(one.plateau / 2**20),
            f"{one.each / 1024:.1f}",
        ]
        for one in found
    ]
    return markdown(head, rows)
