"""Connections that wait for their next message, and how many there may be at once.

The rule: whoever acquires, releases, come what may; a connection that is not known to be in order is closed.
"""

import asyncio
from collections import deque
from time import monotonic

from mtaframe.smtp_client.connection import Budget, Connection, Target
from mtaframe.smtp_client.trouble import Kind, Trouble, TroubleError
from mtaframe.smtp_client.wire import QUIT_TIMEOUT, Wire

LONGEST_WAIT = 3600.0
"""Seconds for a connection to get free, if whoever waits has so much time."""


class _Site:
    """What the pool knows of one target."""

    __slots__ = ("busy", "idle", "waiting")

    def __init__(self) -> None:
        self.busy = 0
        self.idle: list[Connection] = []
        self.waiting: deque[asyncio.Future[Connection | None]] = deque()


class Pool:
    """Bounded per target. ``idle_timeout`` in seconds; a connection ends after ``max_uses`` transactions."""

    def __init__(self, idle_timeout: float, max_uses: int) -> None:
        self._idle_timeout = idle_timeout
        self._max_uses = max_uses
        self._sites: dict[Target, _Site] = {}
        self._leaving: set[Wire] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def acquire(self, target: Target, limit: int, budget: Budget) -> Connection | None:
        """A connection to use again, or None: leave to open one. TroubleError if none gets free in time."""
        site = self._sites.get(target)
        if site is None:
            site = self._sites[target] = _Site()
        if site.busy < limit:
            site.busy += 1
            return self._fresh_enough(site)
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        site.waiting.append(waiter)
        try:
            async with asyncio.timeout(budget.seconds(LONGEST_WAIT)):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self.release(target, waiter.result())
            elif waiter in site.waiting:
                site.waiting.remove(waiter)
            if isinstance(error, TimeoutError):
                raise TroubleError(Trouble(Kind.CONGESTED)) from None
            raise

    def _fresh_enough(self, site: _Site) -> Connection | None:
        oldest = monotonic() - self._idle_timeout
        while site.idle:
            connection = site.idle.pop()
            if connection.is_usable and connection.idle_since >= oldest:
                return connection
            self.retire(connection)
        return None

    def release(self, target: Target, connection: Connection | None) -> None:
        """Give back what ``acquire`` gave, and the connection opened with its leave."""
        site = self._sites[target]
        if connection is not None and not self.is_good(connection):
            self.retire(connection)
            connection = None
        while site.waiting:
            waiter = site.waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        site.busy -= 1
        if connection is not None:
            connection.idle_since = monotonic()
            site.idle.append(connection)
            if self._sweeper is None:
                self._sweep_in(self._idle_timeout)
        elif not site.busy and not site.idle:
            del self._sites[target]

    def is_good(self, connection: Connection) -> bool:
        """Whether it may carry another transaction."""
        most = self._max_uses
        if connection.limits:
            most = min(most, connection.limits.get("MAILMAX", most))
        return connection.is_usable and connection.uses < most and not self._is_closed

    def retire(self, connection: Connection) -> None:
        """Say QUIT if that can still be said, and close; nobody waits for it."""
        wire = connection.wire
        if not wire.closed.done():
            self._leaving.add(wire)
            wire.closed.add_done_callback(lambda _: self._leaving.discard(wire))
            wire.quit()

    def _sweep_in(self, seconds: float) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(seconds + 0.05, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        oldest = monotonic() - self._idle_timeout
        left: list[float] = []
        for target, site in list(self._sites.items()):
            kept = []
            for connection in site.idle:
                if connection.is_usable and connection.idle_since > oldest:
                    kept.append(connection)
                else:
                    self.retire(connection)
            site.idle = kept
            left.extend(connection.idle_since - oldest for connection in kept)
            if not kept and not site.busy and not site.waiting:
                del self._sites[target]
        if left:
            self._sweep_in(min(left))

    async def close(self) -> None:
        """Take leave of every idle connection and wait until its socket is closed; busy ones close on release."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for target, site in list(self._sites.items()):
            for connection in site.idle:
                self.retire(connection)
            site.idle = []
            if not site.busy:
                del self._sites[target]
        while self._leaving:
            leaving = list(self._leaving)
            _, late = await asyncio.wait([wire.closed for wire in leaving], timeout=QUIT_TIMEOUT + 1)
            if late:
                for wire in leaving:
                    wire.abort()
            await asyncio.sleep(0)
