"""The workers of one server, as processes: started, listened to, counted out when they die."""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mtaframe.config import Configuration, Fault
from mtaframe.link import Handler, Link, LinkError
from mtaframe.page import Page

log = logging.getLogger("mtaframe")

STUCK = 30.0
"""Seconds without a sign of life after which a worker is replaced."""
LOOK = 5.0
"""Seconds between two looks for workers that are stuck."""
TO_BEGIN = 60.0
"""Seconds that a worker has for its first configuration."""
TO_TELL = 2.0
"""Seconds that a worker has to tell what it is doing."""

_PROGRAM = ("-P", "-c", "from mtaframe.worker import main; main()")


class WorkerProcess:
    """One worker. ``number`` is its place on the page; ``link`` is how one speaks with it."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, channel: socket.socket) -> None:
        self.number = number
        self.pid = process.pid
        self.link: Link
        self.is_leaving = False
        self._process = process
        self._channel = channel
        self._keys: set[str] = set()
        self._silent_looks = 0

    @classmethod
    async def started(
        cls, number: int, workers: int, page: Page, handlers: "Callable[[WorkerProcess], Mapping[str, Handler]]"
    ) -> "WorkerProcess":
        """A new process, which waits for its first word."""
        near, far = socket.socketpair()
        channel, far_channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = map(str, (number, workers, 2 * workers, far.fileno(), far_channel.fileno(), page.fd))
        with far, far_channel:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, *_PROGRAM, *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(far.fileno(), far_channel.fileno(), page.fd),
            )
        worker = cls(number, process, channel)
        worker.link = await Link.over(near, {"alive": worker._heard, **handlers(worker)})
        return worker

    def _heard(self) -> None:
        self._silent_looks = 0

    def is_stuck_at_this_look(self) -> bool:
        """To be asked every ``LOOK`` seconds. It counts looks, not time: the supervisor may have stood still, too."""
        self._silent_looks += 1
        return self._silent_looks * LOOK > STUCK

    async def status(self) -> dict[str, Any] | None:
        """What it is doing; None if it is gone, or hangs: then the operator needs an answer all the more."""
        try:
            async with asyncio.timeout(TO_TELL):
                answer: dict[str, Any] = await self.link.call("status")
                return answer
        except (LinkError, TimeoutError):
            return None

    async def command(self, name: str, arguments: Mapping[str, Any]) -> tuple[str, Any] | None:
        """What a plugin's command answers there; None if it is gone, or hangs."""
        try:
            async with asyncio.timeout(TO_TELL):
                answer: tuple[str, Any] = await self.link.call("command", name, dict(arguments))
                return answer
        except (LinkError, TimeoutError):
            return None

    def row(self, status: Mapping[str, Any] | None) -> dict[str, Any]:
        """Its line in the status of the server; without numbers if it has not told them."""
        return {"pid": self.pid, **{key: status and status[key] for key in ("under_way", "connections")}}

    async def prepare(self, configuration: Configuration, sockets: Mapping[str, socket.socket]) -> list[Fault]:
        """Have it build a configuration, with the sockets that listen for it. LinkError if it dies of it."""
        self._keys &= sockets.keys()
        for key in sockets.keys() - self._keys:
            socket.send_fds(self._channel, [key.encode()], [sockets[key].fileno()])
            self._keys.add(key)
        source = configuration.source
        rows: Sequence[Any] = await self.link.call(
            "prepare", str(source.folder), dict(source.files), source.digest, list(sockets)
        )
        return [Fault(*row) for row in rows]

    async def discard(self, keys: Sequence[str]) -> None:
        """Have it forget what it prepared, and these sockets."""
        self._keys -= set(keys)
        await self.link.call("discard", list(keys))

    async def begin(
        self, keys: tuple[bytes, str], configuration: Configuration, sockets: Mapping[str, socket.socket]
    ) -> list[Fault]:
        """The first configuration, ready to be switched to; or its faults.

        ``keys`` are that of the ledger's fingerprints, and those of the state.
        """
        async with asyncio.timeout(TO_BEGIN):
            await self.link.call("begin", *keys)
            return await self.prepare(configuration, sockets)

    async def drain(self, seconds: float) -> None:
        """Have it finish and end. Returns when the process is gone, by force if it takes much longer."""
        self.is_leaving = True
        try:
            async with asyncio.timeout(2 * seconds + 10):
                await self.link.call("drain", seconds)
                await self._process.wait()
        except (LinkError, TimeoutError):
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def ended(self) -> int:
        """The exit status, once the process is gone."""
        status = await self._process.wait()
        self.link.close()
        self._channel.close()
        return status


async def everywhere(workers: Sequence[WorkerProcess], name: str, arguments: Mapping[str, Any]) -> list[Any]:
    """What a plugin's command answers in each process that has an answer."""
    answers = await asyncio.gather(*(worker.command(name, arguments) for worker in workers))
    return [answer[1] for answer in answers if answer is not None and answer[0] == "value"]


class Deaths:
    """How long to wait before a worker is replaced: not at all, unless they die one after the other."""

    MANY, WITHIN, LONGEST = 3, 10.0, 30.0

    def __init__(self) -> None:
        self._at: list[float] = []
        self._delay = 0.0

    def pause(self, now: float) -> float:
        """Seconds to wait after a death at ``now`` (monotonic seconds)."""
        if self._at and now > self._at[-1] + self._delay + self.WITHIN:
            self._delay = 0.0  # the last one has lived long enough
        self._at = [at for at in self._at if at > now - self.WITHIN] + [now]
        if self._delay or len(self._at) > self.MANY:
            self._delay = min(self.LONGEST, max(1.0, 2 * self._delay))
        return self._delay
