"""mtaframe as a process of its own, as an operator starts it, for the chains with real mail servers."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from mtaframe.control import call

PROGRAM = (sys.executable, "-P", "-c", "from mtaframe.cli import main; main()")


class Mtaframe:
    """``async with Mtaframe(folder, text) as mta:`` writes ``mtaframe.toml`` and runs it until the end.

    ``log`` has all lines that it has logged, once it has ended; it may be started again then.
    """

    program: tuple[str, ...] = PROGRAM

    def __init__(self, folder: Path, settings: str) -> None:
        self.folder = folder
        self.log = ""
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        folder.mkdir(exist_ok=True)
        (folder / "mtaframe.toml").write_text(f'control = "{folder}/control.sock"\n{settings}')

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def status(self) -> dict[str, Any]:
        """What ``mtaframe status`` says."""
        status: dict[str, Any] = await asyncio.to_thread(call, self.folder / "control.sock", "status")
        return status

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            await self.stop()

    async def start(self) -> None:
        """Start it, and wait until its listeners are open."""
        self._process = await asyncio.create_subprocess_exec(
            *(*self.program, "run", "--conf", str(self.folder)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._reading = asyncio.create_task(self._read(self._process.stderr))
        async with asyncio.timeout(20):
            if not (await self._process.stdout.readline()).startswith(b"mtaframe runs"):
                await self.stop()
                raise RuntimeError(f"mtaframe does not start: {self.log}")

    async def stop(self, *, kill: bool = False) -> None:
        """End it by SIGTERM, or it and its workers at once by SIGKILL."""
        process, self._process = self._process, None
        assert process is not None
        if process.returncode is None:
            with suppress(ProcessLookupError):
                # not terminate(), which reaps a process that has just ended, and its exit code is gone
                os.killpg(process.pid, signal.SIGKILL) if kill else os.kill(process.pid, signal.SIGTERM)
        await process.wait()
        if self._reading is not None:
            await self._reading

    async def _read(self, errors: asyncio.StreamReader) -> None:
        """All along, for a full pipe would stop the program."""
        async for line in errors:
            self.log += line.decode()
