"""``make fuzz``: every parser, or those named, on all cores; what was interesting before is gone on from."""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.parser import FINDINGS, parsers

CACHE = Path(__file__).parent.parent.parent / ".fuzz"
"""Corpora that grew, logs, and what ended a fuzzer; not in git."""

_DONE = re.compile(r"Done ([0-9]+) runs")
_PROGRESS = re.compile(r"PROGRESS ([0-9]+) ([0-9.]+)")
_FINDING = re.compile(r"FINDING (.*)")
_RESTARTS = 5
_LIMITS = ("-timeout=30", "-rss_limit_mb=2048")
_WAYS = ("-keep_seed=1", "-cross_over_uniform_dist=1")
"""Seeds are mutated all the time, though a parser made of regular expressions finds nothing new in them."""


class Run:
    """One parser's share of executions, in processes of its own: an input that hangs or kills one is kept."""

    def __init__(self, name: str, executions: int, seconds: float) -> None:
        self.name = name
        self.executions = 0
        self.rate = 0.0
        """Executions in a second of CPU time; known after ten seconds."""
        self.findings: list[str] = []
        self._wanted = executions
        self._seconds = seconds

    def run(self) -> "Run":
        (CACHE / self.name).mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + self._seconds
        for _ in range(_RESTARTS + 1):
            left = int(until - time.monotonic())
            if self.executions >= self._wanted or left < 1:
                break
            if self._fuzz(self._wanted - self.executions, left) == 0:
                break
            self._keep()
        self._print("done")
        return self

    def _fuzz(self, executions: int, seconds: int) -> int:
        before = self.executions
        command = [sys.executable, "-m", "tests.fuzz.one", self.name, str(CACHE)]
        limits = [f"-runs={executions}", f"-max_total_time={seconds}", *_LIMITS, *_WAYS]
        process = subprocess.Popen([*command, *limits], stderr=subprocess.PIPE, text=True, errors="replace")
        assert process.stderr is not None
        with process, open(CACHE / self.name / "log", "a") as log:
            for line in process.stderr:
                log.write(line)
                if found := _PROGRESS.match(line):
                    self.executions, self.rate = before + int(found[1]), int(found[1]) / float(found[2])
                    self._print("")
                elif found := _FINDING.match(line):
                    self.findings.append(found[1])
                    print(f"{self.name:<24}FINDING {found[1]}", flush=True)
                elif found := _DONE.match(line):
                    self.executions = before + int(found[1])
        return process.returncode

    def _keep(self) -> None:
        """What libFuzzer wrote as it died: ``timeout-…``, ``oom-…``, ``crash-…``."""
        for kind in ("timeout", "oom", "crash"):
            for file in (CACHE / self.name).glob(f"{kind}-*"):
                kept = FINDINGS / self.name / f"{kind}-{file.name.rpartition('-')[2][:12]}"
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(file, kept)
                self.findings.append(kept.name)
                print(f"{self.name:<24}FINDING {self.name}/{kept.name}", flush=True)

    def _print(self, state: str) -> None:
        rate = f"{self.rate:,.0f}/s" if self.rate else ""
        print(
            f"{self.name:<24}{self.executions:>12,} executions {rate:>11} {len(self.findings):>3} findings {state}",
            flush=True,
        )


def _runs(names: list[str], executions: int, seconds: float, jobs: int) -> Iterator[Run]:
    """Every parser in turn; with fewer parsers than jobs, several processes share one parser's corpus."""
    shares = max(1, jobs // len(names))
    for name in names:
        for _ in range(shares):
            yield Run(name, -(-executions // shares), seconds)


def main() -> int:
    if importlib.util.find_spec("atheris") is None:
        print(f"atheris is missing: {sys.executable} -m pip install --editable '.[fuzz]'", file=sys.stderr)
        return 2
    known = parsers()
    options = argparse.ArgumentParser(prog="make fuzz ARGUMENTS=…", description=__doc__)
    options.add_argument(
        "--parser",
        action="append",
        choices=sorted(known),
        metavar="NAME",
        help=f"only this one, of {', '.join(sorted(known))}; may be repeated",
    )
    options.add_argument("--executions", type=int, default=10_000_000, help="of each parser (10000000)")
    options.add_argument("--seconds", type=int, default=3600, help="that each parser may take (3600)")
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time (one per core)")
    given = options.parse_args()
    runs = list(_runs(given.parser or sorted(known), given.executions, given.seconds, given.jobs))
    with ThreadPoolExecutor(given.jobs) as pool:
        finished = list(pool.map(Run.run, runs))
    findings = sum(len(run.findings) for run in finished)
    print(f"{sum(run.executions for run in finished):,} executions, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
