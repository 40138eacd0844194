"""A small SMTP client on one connection, which takes the time of each transaction."""

import asyncio
import time
from typing import cast

from contrib.bench.source import SENDER


class Client(asyncio.Protocol):
    """EHLO once, then transactions of one recipient. ConnectionError for a reply that says no, with its text."""

    def __init__(self, source: str | None = None) -> None:
        self._source = source
        self._octets = b""
        self._reply: asyncio.Future[bytes] | None = None
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._octets += data
        while (end := self._octets.find(b"\r\n")) >= 0:
            line, self._octets = self._octets[:end], self._octets[end + 2 :]
            if line[3:4] != b"-" and self._reply is not None and not self._reply.done():
                self._reply.set_result(line)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ConnectionResetError("the connection was closed"))

    async def open(self, host: str, port: int) -> None:
        """Connect, take the banner, say EHLO."""
        self._reply = asyncio.get_running_loop().create_future()
        local = (self._source, 0) if self._source else None
        await asyncio.get_running_loop().create_connection(lambda: self, host, port, local_addr=local)
        await self._expected(b"2")
        await self._said(b"EHLO client.example.com\r\n", b"2")

    async def transaction(self, recipient: str, message: bytes) -> tuple[float, float]:
        """Seconds from MAIL to the last reply, and from the final dot to it. ``message`` has no line that is a dot."""
        began = time.monotonic()
        await self._said(f"MAIL FROM:<{SENDER}>\r\n".encode(), b"2")
        await self._said(f"RCPT TO:<{recipient}>\r\n".encode(), b"2")
        await self._said(b"DATA\r\n", b"3")
        dotted = time.monotonic()
        await self._said(message + b".\r\n", b"2")
        ended = time.monotonic()
        return ended - began, ended - dotted

    def close(self) -> None:
        """End the connection, if there is one."""
        if hasattr(self, "_transport"):
            self._transport.abort()

    async def _said(self, octets: bytes, wanted: bytes) -> None:
        if self._lost:
            raise ConnectionResetError("the connection was closed")
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(octets)
        await self._expected(wanted)

    async def _expected(self, wanted: bytes) -> None:
        assert self._reply is not None
        line = await self._reply
        if not line.startswith(wanted):
            raise ConnectionAbortedError(line.decode(errors="replace"))
