"""A next hop as careless as they come: any line end will do, and NULs are nothing. Smuggled mail shows here."""

import asyncio
import re
from types import TracebackType
from typing import Self

_LINE = re.compile(rb"\r\n|\n|\r")
_END = re.compile(rb"(?:\A|\r\n|\n|\r)\.(?:\r\n|\n|\r)")


class LaxMx:
    """``async with LaxMx() as mx``; ``received`` has reverse-path, recipients and content of every message."""

    def __init__(self) -> None:
        self.port = 0
        self.received: list[tuple[str, list[str], bytes]] = []

    @property
    def messages(self) -> int:
        return len(self.received)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, _: object, tb: TracebackType | None) -> None:
        self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 lax ESMTP\r\n")
        left, reverse_path, recipients, is_content = b"", "", list[str](), False
        while octets := await reader.read(65_536):
            left += octets.replace(b"\0", b"")
            while found := (_END if is_content else _LINE).search(left):
                taken, left = left[: found.start()], left[found.end() :]
                if is_content:
                    self.received.append((reverse_path, recipients, taken))
                    recipients, is_content = [], False
                    writer.write(b"250 taken\r\n")
                    continue
                line = taken.decode("latin-1")
                match line[:4].upper():
                    case "":
                        continue
                    case "EHLO":
                        writer.write(b"250-lax\r\n250-8BITMIME\r\n250 PIPELINING\r\n")
                    case "MAIL":
                        reverse_path, recipients = line[10:].partition(" ")[0], []
                        writer.write(b"250 ok\r\n")
                    case "RCPT":
                        recipients.append(line[8:].partition(" ")[0])
                        writer.write(b"250 ok\r\n")
                    case "DATA":
                        is_content = True
                        writer.write(b"354 go on\r\n")
                    case "QUIT":
                        writer.write(b"221 bye\r\n")
                        return writer.close()
                    case _:
                        writer.write(b"250 whatever\r\n")
        writer.close()
