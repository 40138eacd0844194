"""What a program uses, all its processes together, as /proc tells it."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from contrib.bench.keeper import descendants

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since the start, user and system; resident octets now, where shared pages count in each process."""

    cpu: float = 0.0
    rss: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.cpu + other.cpu, self.rss + other.rss)


def below(keeper: int) -> Usage:
    """All that a keeper has started, with what has ended since."""
    used = Usage(_ended(keeper))
    for pid in descendants(keeper):
        with suppress(OSError):
            used += Usage(_ended(pid) + _running(pid), _resident(pid))
    return used


def _ended(pid: int) -> float:
    """CPU seconds of the children that it has waited for."""
    fields = _stat(pid)
    return (int(fields[13]) + int(fields[14])) * _TICK


def _running(pid: int) -> float:
    """CPU seconds of its own: to the nanosecond where the kernel tells, else in ticks."""
    with suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) * _TICK


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
