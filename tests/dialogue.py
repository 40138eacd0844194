"""A client that says what a test tells it, octet for octet, and hands back each reply."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self, cast

MAIL = b"From: alice@example.com\r\nTo: bob@example.net\r\nSubject: hi\r\nMessage-ID: <1@example.com>\r\n\r\nHello\r\n"


class Dialogue:
    """``async with Dialogue(port) as client`` reads the greeting; ``say`` sends a line and reads one reply."""

    def __init__(self, port: int, *, hello: str | None = "EHLO client.example.com") -> None:
        self._port = port
        self._hello = hello

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.greeting = await self.reply()
        if self._hello:
            await self.say(self._hello)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, _: object, tb: TracebackType | None) -> None:
        if kind is None and not self._writer.is_closing():
            await self.say("QUIT")
        await self.cut()

    async def say(self, line: str) -> str:
        self.send(line.encode() + b"\r\n")
        return await self.reply()

    def send(self, octets: bytes) -> None:
        self._writer.write(octets)

    async def reply(self) -> str:
        """One reply, its lines joined by line feeds; empty if the server has closed the connection."""
        lines = []
        while True:
            line = (await asyncio.wait_for(self._reader.readline(), 20)).decode().rstrip("\r\n")
            lines.append(line)
            if line[3:4] != "-":
                return "\n".join(lines)

    def deafen(self) -> None:
        """Read nothing from here on: what the server says stays in the socket."""
        cast("asyncio.ReadTransport", self._writer.transport).pause_reading()

    async def cut(self) -> None:
        """End the connection without another word."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def envelope(self, *recipients: str, sender: str = "alice@example.com") -> list[str]:
        """MAIL and every RCPT; the replies to RCPT."""
        assert (await self.say(f"MAIL FROM:<{sender}>")).startswith("250")
        return [await self.say(f"RCPT TO:<{mailbox}>") for mailbox in recipients]

    async def data(self, octets: bytes = MAIL) -> None:
        """DATA and the message with its final dot; the answer is still to be read."""
        assert (await self.say("DATA")).startswith("354")
        self.send(octets + b".\r\n")

    async def mail(self, *recipients: str, sender: str = "alice@example.com", octets: bytes = MAIL) -> str:
        """A whole transaction; the reply after the dot."""
        await self.envelope(*recipients, sender=sender)
        await self.data(octets)
        return await self.reply()
