"""One accepted connection as octets: read a line, read up to a terminator, write, close in three ways.

The rule: only CR LF ends a line and only CR LF . CR LF ends message content; octets pass unchanged.
"""

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any


class WireLost(Exception):
    """The client is gone, or the script ended the connection."""


class Wire(asyncio.Protocol):
    """The server's side of a connection; ``opened`` is called with it once the client is there."""

    def __init__(self, opened: Callable[["Wire"], None]) -> None:
        self._opened = opened
        self._transport: asyncio.Transport | None = None
        self._more = asyncio.Event()
        self._lost = False
        self.buffer = bytearray()
        self.client = ""
        self.tls = False

    @property
    def transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise WireLost
        return self._transport

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        name = transport.get_extra_info("peername")
        self.client = str(name[0]) if isinstance(name, tuple) else ""
        self.tls = transport.get_extra_info("ssl_object") is not None
        self._opened(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self._more.set()

    def eof_received(self) -> bool:
        self._lost = True
        self._more.set()
        return not self.tls

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._more.set()

    async def more(self) -> None:
        """Wait for octets beyond those in the buffer. WireLost if none will come."""
        if self._lost:
            raise WireLost
        self._more.clear()
        await self._more.wait()

    async def line(self) -> bytes:
        """The next line, without its CR LF."""
        return await self.until(b"\r\n")

    async def until(self, terminator: bytes) -> bytes:
        """The octets before ``terminator``, which is taken away too."""
        searched = 0
        while (end := self.buffer.find(terminator, searched)) < 0:
            searched = max(0, len(self.buffer) - len(terminator) + 1)
            await self.more()
        found = bytes(self.buffer[:end])
        del self.buffer[: end + len(terminator)]
        return found

    async def content(self) -> bytes:
        """Message content as it stood on the wire, dots still stuffed, without the final ``.`` CR LF."""
        while len(self.buffer) < 3:
            await self.more()
        if self.buffer.startswith(b".\r\n"):
            del self.buffer[:3]
            return b""
        return await self.until(b"\r\n.\r\n") + b"\r\n"

    def write(self, octets: bytes) -> None:
        if self._lost and self.transport.is_closing():
            raise WireLost
        self.transport.write(octets)

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """The server's side of the handshake. What the client sent too early is thrown away (RFC 3207 §4.2)."""
        self.buffer.clear()
        loop = asyncio.get_running_loop()
        try:
            upgraded = await loop.start_tls(self.transport, self, context, server_side=True)
        except (OSError, asyncio.IncompleteReadError):
            self._lost = True
            raise WireLost from None
        if upgraded is None:
            raise WireLost
        self._transport = upgraded
        self.tls = True

    async def ignore(self) -> None:
        """Never answer again; returns (by WireLost) only when the client has closed."""
        while True:
            self.buffer.clear()
            await self.more()

    async def stall(self) -> None:
        """Never read again, so that the client can't write on either; returns only by cancellation."""
        self.transport.pause_reading()
        await asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """End the connection after what is still to be written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """End the connection by TCP RST; a Unix socket knows none and just closes."""
        known = self.transport.get_extra_info("socket")
        if known is not None and known.family != socket.AF_UNIX:
            # A copy of the descriptor, because event loops hand out wrappers that refuse setsockopt.
            with socket.socket(fileno=os.dup(known.fileno())) as copy:
                copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()
