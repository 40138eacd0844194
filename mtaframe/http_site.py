"""All connections to one HTTP server: those at work, those kept for the next request, and who waits for one.

The law: there are never more than ``CONNECTIONS``, whoever waits longest is next, and what is not used for a while
is closed.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, zip_longest

from mtaframe.alarms import Alarms
from mtaframe.http_connection import HttpConnection

CONNECTIONS = 20
KEPT = 15.0
"""Seconds that a connection is kept without use."""
HEAD_START = 0.25
"""Seconds that an address has before the next one is tried beside it (RFC 8305 §5)."""


class Site:
    """``addresses`` are looked up anew for each connection; ``tls`` None: none."""

    def __init__(
        self,
        addresses: Callable[[], Awaitable[Sequence[str]]],
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        alarms: Alarms,
    ) -> None:
        self._addresses = addresses
        self._host = host
        self._port = port
        self._tls = tls
        self._alarms = alarms
        self._idle: list[HttpConnection] = []
        self._count = 0
        """Connections, idle ones too, and those that are being made."""
        self._waiting: deque[asyncio.Future[HttpConnection | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def is_in_use(self) -> bool:
        return bool(self._count or self._waiting)

    def idle(self) -> HttpConnection | None:
        """A kept connection, if there is one: the last one used, so that others grow old."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
            self._count -= 1
        return None

    async def connected(self) -> HttpConnection:
        """A kept connection or a new one, once there may be one more. OSError or DnsError if none can be had."""
        if (found := self.idle()) is not None:
            return found
        if self._count >= CONNECTIONS:
            found = await self._turn()
            if found is not None and found.is_open:  # it may have ended on the way here
                return found
        else:
            self._count += 1
        try:
            return await self._new()
        except BaseException:
            self._give_up()
            raise

    def leave(self, connection: HttpConnection) -> None:
        """It is not needed any more: for the next one, if it is open."""
        if self._is_closed:
            connection.close()
        if not connection.is_open:
            self._give_up()
            return
        if (next_one := self._next()) is not None:
            next_one.set_result(connection)
            return
        self._idle.append(connection)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(KEPT, self._sweep)

    def close(self) -> None:
        """Close what is kept, and what is at work as soon as it is not."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (connection := self.idle()) is not None:
            self._drop(connection)

    async def _turn(self) -> HttpConnection | None:
        """Wait for a connection that somebody leaves, or, None, for the right to make one."""
        turn: asyncio.Future[HttpConnection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                left = turn.result()
                self._give_up() if left is None else self.leave(left)
            raise

    def _give_up(self) -> None:
        """There may be one more: the next one makes it."""
        if (next_one := self._next()) is not None:
            next_one.set_result(None)
        else:
            self._count -= 1

    def _next(self) -> "asyncio.Future[HttpConnection | None] | None":
        while self._waiting:
            if not (turn := self._waiting.popleft()).done():
                return turn
        return None

    def _drop(self, connection: HttpConnection) -> None:
        self._count -= 1
        connection.close()

    def _sweep(self) -> None:
        """Close what was not used for long."""
        loop = asyncio.get_running_loop()
        old = [one for one in self._idle if one.used_at <= loop.time() - KEPT or not one.is_open]
        self._idle = [one for one in self._idle if one not in old]
        for connection in old:
            self._drop(connection)
        self._timer = None
        if self._idle:
            self._timer = loop.call_at(self._idle[0].used_at + KEPT, self._sweep)

    # A new one

    async def _new(self) -> HttpConnection:
        addresses = list(await self._addresses())
        if len(addresses) == 1:
            return await self._open(addresses[0])
        waiting = deque(_by_turns(addresses))
        running: set[asyncio.Task[HttpConnection]] = set()
        error: BaseException = OSError("no address")
        try:
            while waiting or running:
                if waiting:
                    running.add(asyncio.ensure_future(self._open(waiting.popleft())))
                patience = HEAD_START if waiting else None
                done, _ = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    running.discard(task)
                    if (fault := task.exception()) is None:
                        return task.result()
                    error = fault
            raise error
        finally:
            for task in running:
                task.add_done_callback(_unwanted)
                task.cancel()

    async def _open(self, address: str) -> HttpConnection:
        name = self._host.rstrip(".") if self._tls else None
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            partial(HttpConnection, self._alarms), address, self._port, ssl=self._tls, server_hostname=name
        )
        return connection


def _by_turns(addresses: Sequence[str]) -> Iterator[str]:
    """IPv6 and IPv4 by turns (RFC 8305 §4), for where one does not work all of it does not."""
    six, four = ([one for one in addresses if (":" in one) is is_six] for is_six in (True, False))
    return (one for one in chain(*zip_longest(six, four)) if one is not None)


def _unwanted(task: "asyncio.Task[HttpConnection]") -> None:
    with suppress(asyncio.CancelledError, OSError):
        task.result().close()
