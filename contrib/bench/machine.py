"""On what a benchmark ran, for whoever reads its numbers later."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from contrib.bench import programs


def described() -> dict[str, str]:
    """Date, cores, kernel, memory, and the versions of all that takes part."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cores": f"{len(os.sched_getaffinity(0))} ({_cpu()})",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        **programs.versions(),
    }


def sentence(machine: dict[str, str]) -> str:
    """The same in one line, below a table."""
    return "; ".join(f"{name}: {value}" if name == "date" else f"{name} {value}" for name, value in machine.items())


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
