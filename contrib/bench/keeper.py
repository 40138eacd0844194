"""Runs one command, and stays the ancestor of all that it starts, daemons' orphans too.

So what ended children have used is counted here, by the kernel, and nothing outlives the benchmark: on SIGTERM, or
when the benchmark itself dies, all descendants are ended by pid. It stands alone: ``python keeper.py COMMAND …``.
"""

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GRACE = 8
"""Seconds between SIGTERM and SIGKILL."""


def parents() -> dict[int, int]:
    """The parent of each process of this machine."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            found[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    return found


def descendants(root: int) -> list[int]:
    """The pids below a process, nearest first."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found = list(children.get(root, ()))
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def _signal_all(number: int) -> None:
    for pid in descendants(os.getpid()):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def keep(command: list[str]) -> int:
    """Run it to its end, and end what it leaves behind; its exit code."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    status = 0

    def end(*_: object) -> None:
        signal.alarm(_GRACE)
        with suppress(ProcessLookupError):
            os.kill(main.pid, signal.SIGTERM)

    def kill(*_: object) -> None:
        signal.alarm(1)
        _signal_all(signal.SIGKILL)

    main = subprocess.Popen(command, start_new_session=True)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGALRM, kill)
    if os.getppid() == 1:
        end()
    while True:
        try:
            pid, ended = os.wait()
        except ChildProcessError:
            return status
        if pid == main.pid:
            status = os.waitstatus_to_exitcode(ended)
            signal.alarm(_GRACE)
            _signal_all(signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]) & 0xFF)
