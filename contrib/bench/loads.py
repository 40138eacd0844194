"""Loads that smtp-source can't make: paced, held open, or with a look at the gaps. Each runs in a process of its own.

``python -m contrib.bench.loads '{"kind": "paced", …}'`` prints what it saw as JSON.
"""

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import uvloop

from contrib.bench.client import Client
from contrib.bench.process import HOST, ROOT, BenchError
from contrib.bench.source import RECIPIENT, message


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one process is to send, to where, for how long.

    ``paced``: ``rate`` transactions a second, in turn on its sessions. ``steady``: each session one after the other,
    the first ones spread over ``stagger`` seconds.
    """

    kind: Literal["paced", "steady"]
    port: int
    sessions: int
    size: int
    seconds: float
    rate: float = 50.0
    stagger: float = 0.0
    sources: int = 1
    """How many of our own addresses, from 127.0.1.1 on, the sessions come from."""
    recipients: tuple[str, ...] = (RECIPIENT,)
    """Taken in turn by the sessions."""
    host: str = HOST


@dataclass(slots=True)
class Seen:
    """Seconds of each transaction as a whole, and from its final dot to the reply; messages; what was refused."""

    whole: list[float] = field(default_factory=list)
    dot: list[float] = field(default_factory=list)
    trouble: str = ""
    began: float = 0.0
    """When all sessions were open, on the clock that all processes share."""
    ended: float = 0.0


class Sending:
    """``with Sending(wanted) as load:`` a process that sends it, and is ended at the end of the block."""

    def __init__(self, wanted: Wanted) -> None:
        self._command = [sys.executable, "-m", "contrib.bench.loads", json.dumps(asdict(wanted))]

    def __enter__(self) -> Self:
        self._output = tempfile.TemporaryFile()
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=self._output, cwd=ROOT)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()

    def over(self) -> bool:
        """Whether it has sent all."""
        return self._process.poll() is not None

    def seen(self, within: float) -> Seen:
        """What it saw, once it is over. BenchError if something was refused, or if it takes longer."""
        try:
            failed = self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise BenchError(f"the load did not end within {within:.0f} s") from None
        if failed:
            raise BenchError("the load generator has failed; its trace stands above")
        self._output.seek(0)
        found = Seen(**json.load(self._output))
        if found.trouble:
            raise BenchError(f"not all mail was taken: {found.trouble}")
        return found


def sent(wanted: Wanted, within: float) -> Seen:
    """Send it now, and wait for its end."""
    with Sending(wanted) as load:
        return load.seen(within)


async def _sent(wanted: Wanted) -> Seen:
    """Opens all sessions, then sends until the time is over."""
    found = Seen()
    clients = [
        Client(f"127.0.1.{number % wanted.sources + 1}" if wanted.sources > 1 else None)
        for number in range(wanted.sessions)
    ]
    try:
        for some in range(0, len(clients), 200):
            await asyncio.gather(*(client.open(wanted.host, wanted.port) for client in clients[some : some + 200]))
        found.began = time.monotonic()
        await (_paced if wanted.kind == "paced" else _steady)(wanted, clients, found)
        found.ended = time.monotonic()
    except (OSError, EOFError) as error:
        found.trouble = f"{type(error).__name__}: {error}"
    for client in clients:
        client.close()
    return found


def _numbered(wanted: Wanted) -> Callable[[], tuple[str, bytes]]:
    """The next recipient and message, as it goes over the wire."""
    raw = message(wanted.size)
    count = 0

    def following() -> tuple[str, bytes]:
        nonlocal count
        count += 1
        return wanted.recipients[count % len(wanted.recipients)], raw.replace(b"<0.", b"<%d." % count, 1)

    return following


async def _paced(wanted: Wanted, clients: list[Client], found: Seen) -> None:
    free: asyncio.Queue[Client] = asyncio.Queue()
    following = _numbered(wanted)
    for client in clients:
        free.put_nowait(client)

    async def one(client: Client) -> None:
        try:
            _note(found, await client.transaction(*following()))
        finally:
            free.put_nowait(client)

    begin, tasks = time.monotonic(), []
    for number in range(round(wanted.rate * wanted.seconds)):
        await asyncio.sleep(begin + number / wanted.rate - time.monotonic())
        tasks.append(asyncio.create_task(one(await free.get())))
    await asyncio.gather(*tasks)


async def _steady(wanted: Wanted, clients: list[Client], found: Seen) -> None:
    end = time.monotonic() + wanted.seconds
    following = _numbered(wanted)

    async def one(client: Client, wait: float) -> None:
        await asyncio.sleep(wait)
        while time.monotonic() < end:
            _note(found, await client.transaction(*following()))

    step = wanted.stagger / len(clients)
    await asyncio.gather(*(one(client, number * step) for number, client in enumerate(clients)))


def _note(found: Seen, took: tuple[float, float]) -> None:
    found.whole.append(took[0])
    found.dot.append(took[1])


def raise_limits(files: int) -> None:
    """Let this process, and those it starts, open so many files. BenchError if the system won't."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= files:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(hard, files)))
    except (OSError, ValueError):
        raise BenchError(
            f"{files} open files are needed, {hard} allowed: ulimit -n {files}, or fewer --count"
        ) from None


def main(text: str) -> dict[str, Any]:
    """What the process does: from JSON to what JSON can hold."""
    fields = json.loads(text)
    wanted = Wanted(**(fields | {"recipients": tuple(fields["recipients"])}))
    return asdict(uvloop.run(_sent(wanted)))


if __name__ == "__main__":
    json.dump(main(sys.argv[1]), sys.stdout)
