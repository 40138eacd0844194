"""One HTTP listener: its sockets, who is connected, and how it stops. What it says is served by plugins."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from math import ceil
from typing import Any

from aiohttp import web

from mtaframe.clock import SystemClock
from mtaframe.entrance import Doorway
from mtaframe.guard import Guard, Visit
from mtaframe.http_server.exchange import Exchange
from mtaframe.lifecycle import Clock
from mtaframe.reception import Reception
from mtaframe.serving import plain_trouble
from mtaframe.settings import ListenerSettings
from mtaframe.turn import Turn

_SILENT = logging.getLogger("mtaframe.http_server.library")
_LINGERING = 2.0
"""Seconds in which what a refused client still sends is taken in, so that it reads its answer."""
_AT_ONCE = 0.001
"""Seconds. To aiohttp 0 is no limit; and whatever the limit is, it waits twice as long."""


class HttpServer:
    """Serves what the plugins of the current generation offer; requests under way end in the one they began in."""

    def __init__(
        self,
        listener: ListenerSettings,
        reception: Reception,
        clock: Clock | None = None,
        hostname: str = "",
        turn: Turn | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.hostname = hostname
        self._clock = clock or SystemClock()
        self._turn = turn or Turn()
        self._doorway = Doorway(listener, self._clock, self._turn, guard or Guard(self._clock, turn), self._received)
        self._exchange = Exchange(reception, self._clock)
        self._guests = Guests(self._turn)
        self._server: Connections | None = None

    @property
    def settings(self) -> ListenerSettings:
        return self._doorway.settings

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it really listens: a port 0 has become the one that the system chose."""
        return tuple(self._doorway.addresses)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._guests.visits)

    async def start(self, sockets: Iterable[socket.socket] | None = None) -> None:
        """Listens on the sockets given, which are its own from now on, else on the addresses of the settings.

        SocketError if an address can't be had.
        """
        _SILENT.setLevel(logging.CRITICAL + 1)  # it would write requests, and what is in them
        self._server = Connections(
            self._answered,
            self._guests,
            access_log=None,
            logger=_SILENT,
            lingering_time=_LINGERING,
        )
        self._doorway.open(sockets)

    def adopt(self, listener: ListenerSettings) -> None:
        """From the next request on these settings hold; time limits and certificates from the next client on.

        OSError if the certificate can't be loaded: then nothing has changed.
        """
        self._doorway.adopt(listener)

    def stop_listening(self) -> None:
        """Take no more clients; those that are here go on."""
        self._doorway.close()

    async def drain(self, seconds: float) -> None:
        """Takes no more clients, ends idle connections, and waits so long for requests under way to be answered."""
        self.stop_listening()
        if self._server is not None:
            self._exchange.is_draining = True
            self._server.pre_shutdown()
            try:
                async with asyncio.timeout(seconds):
                    await self._server.shutdown(None)
            except TimeoutError:
                await self._server.shutdown(_AT_ONCE)

    async def close(self) -> None:
        """Ends everything now."""
        self.stop_listening()
        self._doorway.turn_away()
        if self._server is not None:
            await self._server.shutdown(_AT_ONCE)

    def _received(self, proxied: str | None, visit: Visit) -> tuple[asyncio.BaseProtocol, Callable[[], bool]]:
        assert self._server is not None
        connection = self._server.expected(visit, proxied, self.settings.idle_timeout)
        return connection, lambda: connection in self._guests.visits

    async def _answered(self, request: web.BaseRequest) -> web.StreamResponse:
        visit, proxied = self._guests.of(request.protocol)
        if visit.refusal is not None or self.connections > ceil(self.settings.max_connections * self._turn.share):
            return await self._exchange.refused(request, self.settings)
        response, is_fruitful = await self._exchange.answered(request, self.settings, proxied)
        if is_fruitful:
            self._guests.fruitful.add(request.protocol)
        return response


class Guests:
    """Who is here: each connection's visit, and the address that a proxy told."""

    def __init__(self, turn: Turn) -> None:
        self.visits: dict[Any, tuple[Visit, str | None]] = {}
        self.fruitful: set[Any] = set()
        self._turn = turn

    def of(self, connection: Any) -> tuple[Visit, str | None]:
        return self.visits.get(connection, (Visit(), None))

    def came(self, connection: "Connection") -> None:
        self.visits[connection] = connection.visit, connection.proxied
        self._turn.came()

    def went(self, connection: Any) -> None:
        if (found := self.visits.pop(connection, None)) is not None:
            self._turn.went()
            found[0].leave(is_fruitful=connection in self.fruitful)
            self.fruitful.discard(connection)


class Connection(web.RequestHandler):
    """aiohttp's, and whose it is: nothing else knows of it until it is made, for it may never be."""

    __slots__ = ("proxied", "visit")

    visit: Visit
    proxied: str | None

    def handle_error(self, *told: Any, **more: Any) -> web.StreamResponse:
        """What the library itself answers, to what is no HTTP above all, in the form of everything else here."""
        its = super().handle_error(*told, **more)
        text = "this is no HTTP request that can be read" if its.status < 500 else "internal error; try again"
        ours = web.Response(
            status=its.status, body=plain_trouble(its.status, text, {}).body, content_type="application/json"
        )
        ours.force_close()
        return ours


class Connections(web.Server):
    """aiohttp's connections, of which the guests are told."""

    def __init__(self, handler: Any, guests: Guests, **settings: Any) -> None:
        super().__init__(handler, handler_cancellation=True, **settings)
        self._guests = guests
        self._settings = settings

    def expected(self, visit: Visit, proxied: str | None, idle: float) -> Connection:
        """What will speak with a client, which may be silent for ``idle`` seconds."""
        loop = asyncio.get_running_loop()
        connection = Connection(self, loop=loop, keepalive_timeout=idle, **self._settings)
        connection.visit, connection.proxied = visit, proxied
        return connection

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._guests.came(handler)

    def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._guests.went(handler)
