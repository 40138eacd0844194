"""Programs that run for a while: started below a keeper, waited for, and ended by pid."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from contrib.bench import keeper, usage
from contrib.bench.usage import Usage

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"


class BenchError(Exception):
    """What went wrong, in one line that says what to do."""


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Kept:
    """``with Kept("postfix", command, folder / "log") as postfix:`` what it prints goes to the file."""

    def __init__(self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None):
        self.name = name
        self.log = log
        self._command = [sys.executable, "-I", "-S", keeper.__file__, *command]
        self._environment = dict(os.environ) | dict(env or {})

    def __enter__(self) -> Self:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the benchmark, which ends this in its turn
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    def usage(self) -> Usage:
        """What it and all its processes have used so far."""
        return usage.below(self._process.pid)

    def until(self, ready: Callable[[], bool], within: float = 20.0) -> None:
        """Wait until it is ready. BenchError with the last line of its log if it ends before, or takes longer."""
        until = time.monotonic() + within
        while not ready():
            ended = self._process.poll() is not None
            if ended or time.monotonic() > until:
                lines = self.log.read_text(errors="replace").split("\n")
                last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
                raise BenchError(f"{self.name} {'has ended' if ended else 'does not start'}: {last.strip()[:300]}")
            time.sleep(0.02)

    def until_open(self, port: int, host: str = HOST) -> None:
        """Wait until it takes connections there."""

        def connects() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex((host, port)) == 0

        self.until(connects)
