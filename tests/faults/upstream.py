"""A client with a queue: it gives up no recipient before it was told 2xx or 5xx, by LMTP or by SMTP."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import cast

from tests.faults.books import Books

PAUSE = 0.4
"""Seconds between two tries of a message, more or less."""
SILENCE = 30.0
"""Seconds that a server may keep it waiting."""


@dataclass(slots=True)
class Mail:
    """``recipients`` are those that are still to be served."""

    name: str
    reverse_path: str
    recipients: list[str]
    octets: bytes
    tries: int = 0


class ScriptedUpstream:
    """``cuts``: how many of a hundred replies it does not wait for, but goes and comes again."""

    def __init__(self, books: Books, port: int, *, seed: int, is_lmtp: bool, sessions: int = 12, cuts: int = 4) -> None:
        self._books = books
        self._port = port
        self._seed = seed
        self._is_lmtp = is_lmtp
        self._sessions = sessions
        self._cuts = cuts
        self._due: asyncio.Queue[Mail] = asyncio.Queue()
        self._unfinished = 0
        self.is_calm = False
        """Whether it waits for every reply."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ScriptedUpstream"]:
        tasks = [asyncio.create_task(self._session()) for _ in range(self._sessions)]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def submit(self, mail: Mail) -> None:
        """From now on it is the queue's business."""
        self._unfinished += 1
        self._due.put_nowait(mail)

    async def emptied(self, within: float) -> None:
        """Wait until nothing is left. TimeoutError if something still is."""
        async with asyncio.timeout(within):
            while self._unfinished:
                await asyncio.sleep(0.05)

    async def _session(self) -> None:
        client: _Client | None = None
        try:
            while True:
                mail = await self._due.get()
                mail.tries += 1
                chance = random.Random(f"{self._seed} {mail.name} {mail.tries}")
                is_over = chance.random() < 0.2
                try:
                    client = client or await _Client.connected(self._port, self._is_lmtp)
                    await self._try(client, mail, chance)
                    if is_over:
                        await client.say("QUIT")
                except (OSError, EOFError, TimeoutError):
                    is_over = True
                if is_over and client is not None:
                    client.cut()
                    client = None
                self._put_away(mail, PAUSE * chance.uniform(0.5, 1.5))
        finally:
            if client is not None:
                client.cut()

    def _put_away(self, mail: Mail, pause: float) -> None:
        if mail.recipients:
            asyncio.get_running_loop().call_later(pause, self._due.put_nowait, mail)
        else:
            self._unfinished -= 1

    async def _try(self, client: "_Client", mail: Mail, chance: random.Random) -> None:
        began = time.monotonic()
        if (code := await client.say(f"MAIL FROM:<{mail.reverse_path}>")) != 250:
            self._answered(mail, mail.recipients, code)
            return await client.reset()
        accepted = []
        for recipient in list(mail.recipients):
            code = await client.say(f"RCPT TO:<{recipient}>")
            if code == 250:
                accepted.append(recipient)
            else:
                self._answered(mail, [recipient], code)
        if not accepted or await client.say("DATA") != 354:
            return await client.reset()
        is_cut = not self.is_calm and chance.randrange(100) < self._cuts
        if is_cut:
            client.deafen()
        client.send(mail.octets + b".\r\n")
        if is_cut:
            await asyncio.sleep(chance.uniform(0.0, 0.2))
            raise ConnectionError
        for recipients in [[one] for one in accepted] if self._is_lmtp else [accepted]:
            code = await client.reply()
            for recipient in recipients:
                self._books.tell(recipient, code, began)
            self._answered(mail, recipients, code)
        return None

    def _answered(self, mail: Mail, recipients: Sequence[str], code: int) -> None:
        """2xx ends it, and 5xx does so with a report of its own."""
        if code // 100 == 4:
            return
        for recipient in list(recipients):
            mail.recipients.remove(recipient)
            if code // 100 == 5:
                self._books.bounced_upstream(recipient)


class _Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connected(cls, port: int, is_lmtp: bool) -> "_Client":
        """OSError if there is nobody, or nobody who wants us."""
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        try:
            if await client.reply() != 220 or await client.say(f"{'LHLO' if is_lmtp else 'EHLO'} upstream.test") != 250:
                raise ConnectionError
        except BaseException:
            client.cut()
            raise
        return client

    async def say(self, line: str) -> int:
        self.send(line.encode() + b"\r\n")
        return await self.reply()

    def send(self, octets: bytes) -> None:
        self._writer.write(octets)

    async def reply(self) -> int:
        """The code. EOFError or OSError if the connection is gone; 421 is as good as that."""
        while True:
            line = await asyncio.wait_for(self._reader.readline(), SILENCE)
            if not line.endswith(b"\n") or line.startswith(b"421"):
                raise EOFError
            if line[3:4] != b"-":
                return int(line[:3])

    def deafen(self) -> None:
        """Read nothing from here on: what the server says stays in the socket."""
        cast("asyncio.ReadTransport", self._writer.transport).pause_reading()

    async def reset(self) -> None:
        await self.say("RSET")

    def cut(self) -> None:
        """Close, whatever goes on."""
        with suppress(OSError):
            self._writer.close()
