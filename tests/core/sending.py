"""What the tests of delivery share: a client on the real clock, name servers out of a table, a raw server."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mtaframe import DnsError, Message, Result
from mtaframe.clock import SystemClock
from mtaframe.lifecycle import Attempt
from mtaframe.settings import DeliverySettings
from mtaframe.smtp_client import SmtpClient
from mtaframe.testing import ScriptedMx, deliveries, message, route

HOSTNAME = "mta.example.com"


class Names:
    """A resolver out of tables; a name in ``failing`` has no answer."""

    def __init__(
        self,
        mx: Mapping[str, Sequence[tuple[int, str]]] | None = None,
        hosts: Mapping[str, Sequence[str]] | None = None,
        failing: Sequence[str] = (),
    ) -> None:
        self.mx_records, self.hosts, self.failing = mx or {}, hosts or {}, failing
        self.asked: list[str] = []

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        self.asked.append(f"MX {domain}")
        if domain in self.failing:
            raise DnsError("no answer")
        return self.mx_records.get(domain, ())

    async def addresses(self, host: str) -> Sequence[str]:
        self.asked.append(f"A {host}")
        if host in self.failing:
            raise DnsError("no answer")
        return self.hosts.get(host, ())

    async def txt(self, name: str) -> Sequence[str]:
        return ()


class Sender:
    """A client and what each of its calls is made of."""

    def __init__(self, client: SmtpClient) -> None:
        self.client = client
        self.attempt = Attempt(0.0)

    def to(self, mx: ScriptedMx, **changes: Any) -> Any:
        """A route straight to one server."""
        where = {"next_hop": mx.unix} if mx.unix else {"next_hop": mx.host, "port": mx.port}
        return route(**({"transport": "lmtp" if mx.lmtp else "smtp"} | where | changes))

    async def send(
        self,
        way: Any,
        *to: str,
        mail: Message | None = None,
        patience: float = 10.0,
        **changes: Any,
    ) -> Sequence[Result]:
        self.attempt = Attempt(asyncio.get_running_loop().time() + patience)
        recipients = to or ("bob@example.net",)
        return await self.client.deliver(
            deliveries(*recipients, message=mail or message(), **changes), way, self.attempt
        )


@asynccontextmanager
async def sender(names: Any = None, **settings: Any) -> AsyncIterator[Sender]:
    client = SmtpClient(HOSTNAME, names or Names(), SystemClock(), DeliverySettings(**settings))
    try:
        yield Sender(client)
    finally:
        await client.close()


@asynccontextmanager
async def raw_server(answer: Any) -> AsyncIterator[int]:
    """A server for what no honest one does: ``answer(reader, writer)``; yields its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
        await asyncio.sleep(0)
