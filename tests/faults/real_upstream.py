"""A real Postfix or Exim as the upstream: its log says what it was told, and when."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.end_to_end.exim import Exim
from tests.end_to_end.postfix import Postfix
from tests.faults.books import Books
from tests.faults.upstream import Mail

LOOK = 0.03
"""Seconds between two looks into the log."""

_POSTFIX = re.compile(r" to=<([^>]*)>,.* status=(sent|bounced|deferred) \((.*)\)$")
_EXIM = re.compile(r" (=>|->|\*\*|==) (\S+@\S+?):? (.*)$")
_AFTER_DOT = re.compile(r"in reply to end of DATA|after end of data|after PRDR|after sending data block")
_CODES = {"sent": 250, "bounced": 550, "deferred": 451, "=>": 250, "->": 250, "**": 550, "==": 451}

EXIM_ROUTERS = """
out:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = mtaframe
"""
EXIM_TRANSPORTS = """
mtaframe:
  driver = smtp
  port = {port}
  protocol = {protocol}
  allow_localhost
  hosts_try_chunking =
  hosts_try_prdr = *
  max_rcpt = 0
"""


class RealUpstream:
    """Submits to ``server``, and follows its log into the books."""

    def __init__(self, books: Books, server: Postfix | Exim) -> None:
        self._books = books
        self._server = server
        self._log, self._pattern = (
            (server.configuration.parent / "maillog", _POSTFIX)
            if isinstance(server, Postfix)
            else (server.configuration.parent / "mainlog", _EXIM)
        )
        self.is_calm = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator["RealUpstream"]:
        task = asyncio.create_task(_follow(self._log, self._hear))
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def submit(self, mail: Mail) -> None:
        await self._server.inject(mail.reverse_path, mail.recipients, mail.octets.decode().replace("\r\n", "\n"))

    async def emptied(self, within: float) -> None:
        try:
            await self._server.emptied(within)
        except TimeoutError:
            print(*(await self._server.queue())[:20], *self._server.log().splitlines()[-200:], sep="\n")
            raise
        await asyncio.sleep(3 * LOOK)

    def lines(self, text: str) -> str:
        """What its log says of something."""
        return "\n".join(line for line in self._server.log().splitlines() if text in line)

    def _hear(self, line: str) -> None:
        """What was answered after a final dot settles what came of it; a refusal before says nothing about that."""
        found = self._pattern.search(line)
        if found is None:
            return
        mailbox, word, reason = found.groups() if self._pattern is _POSTFIX else (found[2], found[1], found[3])
        if _CODES[word] == 250 or _AFTER_DOT.search(reason):
            self._books.tell(mailbox, _CODES[word])


async def _follow(path: Path, hear: Callable[[str], None]) -> None:
    """Each line as it comes."""
    rest, place = b"", 0
    while True:
        with path.open("rb") as log:
            log.seek(place)
            octets = log.read()
            place += len(octets)
        *lines, rest = (rest + octets).split(b"\n")
        for line in lines:
            hear(line.decode(errors="replace"))
        await asyncio.sleep(LOOK)
