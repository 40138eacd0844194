"""Where all mail ends: Postfix's smtp-sink, which counts it, in one thread."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from contrib.bench import programs
from contrib.bench.process import HOST, Kept, free_port


class Sink:
    """``with Sink(folder) as sink:`` it listens on ``sink.port``, and ``sink.taken()`` is the count of messages."""

    def __init__(self, folder: Path) -> None:
        program = programs.needed("smtp-sink")
        self.port = free_port()
        self._log = folder / "sink.log"
        user = () if os.geteuid() else ("-u", "nobody")
        command = [program, "-c", *user, "-m", "2000", f"{HOST}:{self.port}", "2000"]
        self._program = Kept("smtp-sink", command, self._log, programs.environment(program))
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._program).until_open(self.port)
            self._running = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def taken(self) -> int:
        """How many messages it has answered with 250."""
        with self._log.open("rb") as log:
            size = os.fstat(log.fileno()).st_size
            return count(os.pread(log.fileno(), 100, max(0, size - 100)))


def count(written: bytes) -> int:
    """The messages in what it has written last: ``sess=1 quit=0 mesg=2`` and CR, again and again."""
    whole = written.rpartition(b"\r")[0]
    found = whole.rpartition(b"mesg=")[2]
    return int(found) if found.isdigit() else 0
