"""Clients that mean no good, as a process of its own: ``python -m tests.end_to_end.crowd PORT COUNT``, until killed.

Each does one thing again and again, from one of forty addresses, and comes back when it is sent away.
"""

import asyncio
import base64
import itertools
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

Do = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

PAUSE = 0.3
"""Seconds; the machine that runs the test is not what is to be measured."""
HELLO = b"EHLO crowd\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<b@example.net>\r\n"


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(b"E")
        await asyncio.sleep(0.05)


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"NOOP\r\n" * 50_000)
    await reader.read()


async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"HELP\r\n" * 50_000)
    await asyncio.sleep(2)


async def guess_addresses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HELLO + b"".join(b"RCPT TO:<%d@elsewhere.example>\r\n" % number for number in range(500)))
    await reader.read()


async def guess_passwords(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"EHLO crowd\r\n")
    for number in range(3):
        writer.write(b"AUTH PLAIN " + base64.b64encode(b"\0shop\0%d" % number) + b"\r\n")
    await reader.read()


async def chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HELLO)
    while not writer.is_closing():
        writer.write(b"BDAT 1\r\nx")
        await asyncio.sleep(0.02)


async def slow_message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HELLO + b"DATA\r\n")
    while not writer.is_closing():
        writer.write(b"x\r\n")
        await asyncio.sleep(0.05)


async def bomb(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HELLO + b"DATA\r\n" + b"X: y\r\n" * 200_000 + b"\r\n.\r\nQUIT\r\n")
    await reader.read()


async def smuggle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HELLO + b"DATA\r\nSubject: hi\r\n\r\ntext\n.\r\n" + HELLO[12:] + b"DATA\r\nsmuggled\r\n.\r\nQUIT\r\n")
    await reader.read()


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\0\xff\r\n" * 5 + b"x" * 500_000 + b"\r\n" + b"\n.\r" * 1000 + b"BDAT x\r\n")
    await reader.read()


async def knock(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    return


DOINGS: tuple[Do, ...] = (
    silent,
    trickle,
    flood,
    deaf,
    guess_addresses,
    guess_passwords,
    chunks,
    slow_message,
    bomb,
    smuggle,
    garbage,
    knock,
)


async def bother(port: int, number: int, do: Do) -> None:
    source = f"127.1.{number % 40}.1"
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
            try:
                await do(reader, writer)
            finally:
                writer.transport.abort()
        await asyncio.sleep(PAUSE)


async def main(port: int, count: int) -> None:
    doings = itertools.cycle(DOINGS)
    clients = [asyncio.ensure_future(bother(port, number, next(doings))) for number in range(count)]
    await asyncio.gather(*clients)


if __name__ == "__main__":
    os.nice(10)
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
