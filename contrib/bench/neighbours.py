"""A small HTTP server for the plugins that want one: it answers as rspamd does, and takes webhooks.

It runs in a process of its own, below the benchmark: ``python -m contrib.bench.neighbours PORT``. What it costs is not
counted as mtaframe's, but it has its share of the same cores.
"""

import asyncio
import re
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, Self, cast

import uvloop

from contrib.bench.process import HOST, Kept, free_port

_OPINION = b'{"is_skipped":false,"score":0.5,"required_score":15.0,"action":"no action","symbols":{}}'
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked")


class Neighbours:
    """``with Neighbours(folder) as neighbours:`` it listens at ``neighbours.url``."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self.url = f"http://{HOST}:{self._port}"
        command = [sys.executable, "-m", "contrib.bench.neighbours", str(self._port)]
        self._program = Kept("the HTTP server", command, folder / "neighbours.log")
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._program).until_open(self._port)
            self._running = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def remark(self) -> str:
        """How much it was asked."""
        with urllib.request.urlopen(f"{self.url}/count", timeout=5) as answer:  # noqa: S310 - our own, on loopback
            scans, events = answer.read().decode().split()
        return f"{scans} scans, {events} events posted"


class _Connection(asyncio.Protocol):
    """Answers one request after the other; it believes its clients, which are ours."""

    taken: ClassVar = {"scans": 0, "events": 0}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own are no subclass
        self._octets = b""

    def data_received(self, data: bytes) -> None:
        self._octets += data
        while (end := self._octets.find(b"\r\n\r\n")) >= 0:
            head, size = self._octets[:end], self._size(end + 4)
            if size < 0 or len(self._octets) < size:
                return
            self._octets = self._octets[size:]
            self._transport.write(self._answer(head))

    def _size(self, body: int) -> int:
        """Where the request ends; -1 if that is not known yet."""
        head = self._octets[:body]
        if _CHUNKED.search(head):
            if self._octets[body : body + 5] == b"0\r\n\r\n":
                return body + 5
            end = self._octets.find(b"\r\n0\r\n\r\n", body)
            return end + 7 if end >= 0 else -1
        length = _LENGTH.search(head)
        return body + (int(length[1]) if length else 0)

    def _answer(self, head: bytes) -> bytes:
        path = head.split(b" ", 2)[1]
        body = b""
        if path == b"/checkv2":
            self.taken["scans"] += 1
            body = _OPINION
        elif path == b"/count":
            body = b"%d %d" % (self.taken["scans"], self.taken["events"])
        else:
            self.taken["events"] += 1
        kind = b"application/json" if path == b"/checkv2" else b"text/plain"
        return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(body), body)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, HOST, port, backlog=500)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
