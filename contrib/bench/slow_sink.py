"""A sink that answers the final dot late, and holds very many transactions open meanwhile, in a process of its own.

``python -m contrib.bench.slow_sink PORT SECONDS HOPS`` listens on 127.0.0.1 to 127.0.0.HOPS, and prints how many it
holds, and how many it has answered, five times a second.
"""

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, Self, cast

import uvloop

from contrib.bench.process import Kept, free_port

_DOT = b"\r\n.\r\n"


class SlowSink:
    """``with SlowSink(folder, 5.0, hops=1) as sink:`` it listens on ``sink.port``."""

    def __init__(self, folder: Path, delay: float, hops: int) -> None:
        self.port = free_port()
        self._log = folder / "slow_sink.log"
        command = [sys.executable, "-m", "contrib.bench.slow_sink", str(self.port), str(delay), str(hops)]
        self._program = Kept("the slow sink", command, self._log)
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._program).until_open(self.port)
            self._running = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def counts(self) -> tuple[int, int]:
        """Transactions whose dot it has read and not answered; and those answered."""
        lines = self._log.read_text().splitlines()
        held, _, taken = lines[-1].partition(" ") if lines else ("0", "", "0")
        return int(held), int(taken or 0)


class _Session(asyncio.Protocol):
    counts: ClassVar = {"held": 0, "taken": 0}
    delay = 5.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(b"220 sink.example.net ESMTP\r\n")
        self._octets = b""
        self._data = False

    def data_received(self, data: bytes) -> None:
        self._octets += data
        while True:
            end = self._octets.find(_DOT if self._data else b"\r\n")
            if end < 0:
                return
            taken, self._octets = self._octets[:end], self._octets[end + (5 if self._data else 2) :]
            if self._data:
                self._data = False
                self.counts["held"] += 1
                asyncio.get_running_loop().call_later(self.delay, self._answer)
            else:
                self._transport.write(self._said(taken[:4].upper()))

    def _said(self, verb: bytes) -> bytes:
        if verb == b"EHLO":
            return b"250-sink.example.net\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n"
        if verb == b"DATA":
            self._data = True
            return b"354 go on\r\n"
        return b"221 2.0.0 bye\r\n" if verb == b"QUIT" else b"250 2.0.0 ok\r\n"

    def _answer(self) -> None:
        self.counts["held"] -= 1
        self.counts["taken"] += 1
        if not self._transport.is_closing():
            self._transport.write(b"250 2.0.0 ok\r\n")


async def _serve(port: int, delay: float, hops: int) -> None:
    _Session.delay = delay
    addresses = [f"127.0.0.{number + 1}" for number in range(hops)]
    await asyncio.get_running_loop().create_server(_Session, addresses, port, backlog=4096)
    while True:
        print(_Session.counts["held"], _Session.counts["taken"], flush=True)
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
