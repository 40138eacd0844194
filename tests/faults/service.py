"""mtaframe as systemd would run it: killed in part or as a whole, and started again."""

import asyncio
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from mtaframe.control import call
from tests.end_to_end.chain import Mtaframe
from tests.faults.books import Books, Kill
from tests.faults.processes import children, connections, is_alive

TO_END = 15.0
"""Seconds in which workers without a supervisor have to be gone."""
TO_RETURN = 45.0
"""Seconds in which a worker that died has to be replaced, whatever happened before."""


class Service(Mtaframe):
    """``workers`` is how many the configuration asks for. Every death goes into the books."""

    def __init__(self, folder: Path, settings: str, books: Books, workers: int = 2) -> None:
        super().__init__(folder, settings)
        self._books = books
        self._workers = workers

    def workers(self) -> list[int]:
        """The pids of the workers that are there now."""
        return [pid for pid in children(self.pid) if is_alive(pid)]

    async def manned(self) -> list[int]:
        """Wait until all workers are at work; their pids."""
        async with asyncio.timeout(TO_RETURN):
            while True:
                pids = self.workers()
                if len(pids) == self._workers:
                    with suppress(OSError, ValueError, KeyError):
                        if sorted(worker["pid"] for worker in (await self.status())["workers"]) == pids:
                            return pids
                await asyncio.sleep(0.05)

    async def kill_worker(self, chance: random.Random) -> None:
        """SIGKILL to one of the workers; the supervisor replaces it."""
        pids = self.workers()
        if not pids:
            return
        victim = chance.choice(pids)
        others = [pid for pid in pids if pid != victim]
        spared = {(one.port, one.host) for pid in others for one in connections(pid)}
        now = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        self._books.kills.append(Kill(f"worker {victim}", now, now, frozenset(spared)))

    async def kill_all(self) -> None:
        """SIGKILL to everybody, as by ``KillMode=control-group``; then a new start."""
        pids = [self.pid, *children(self.pid)]
        now = time.monotonic()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._books.kills.append(Kill(f"all processes of {self.pid}", now, now))
        await self.stop()
        await self.start()

    async def kill_supervisor(self) -> None:
        """SIGKILL to the main process alone: the workers have to end by themselves; then a new start."""
        pid, now = self.pid, time.monotonic()
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(TO_END):
            await self.stop()  # its standard error is open as long as a worker lives
        self._books.kills.append(Kill(f"supervisor {pid}", now, time.monotonic()))
        await self.start()

    async def restart(self) -> None:
        """SIGTERM, and a new start: nobody dies with anything in hand."""
        await self.stop()
        await self.start()

    async def renew(self) -> None:
        """Replace the workers one after the other, as ``mtaframe restart`` does."""
        await asyncio.to_thread(call, self.folder / "control.sock", "restart")

    def touch(self) -> None:
        """Change the configuration a little: a reload."""
        path = self.folder / "mtaframe.toml"
        path.write_text(f"{path.read_text()}# {time.monotonic()}\n")


class EagerService(Service):
    """The build that lies."""

    program = (sys.executable, "-P", str(Path(__file__).with_name("eager.py")))
