"""One listening socket, where clients are taken in one by one, each by the worker whose turn it is."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial

from mtaframe.turn import MOMENT, Turn

log = logging.getLogger("mtaframe.entrance")

_WITHOUT_MEANS = 1.0
"""Seconds of rest when the process has no file descriptor left."""

Receive = Callable[[socket.socket], Awaitable[tuple[asyncio.BaseProtocol, Callable[[], None]] | None]]
"""Makes what speaks with a client; None if nobody will. The second is called if the connection comes to nothing."""


class Entrance:
    """Open from the start until ``close``; the socket is its own."""

    def __init__(self, listening: socket.socket, receive: Receive, turn: Turn) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._receive = receive
        self._turn = turn
        self._pause: asyncio.TimerHandle | None = None
        self._entering: set[asyncio.Task[None]] = set()
        listening.setblocking(False)
        self._loop.add_reader(listening, self._knocked)

    def close(self) -> None:
        """Nobody comes in any more."""
        if self._listening.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()

    def turn_away(self) -> None:
        """Nobody is on the way in any more, either."""
        for task in self._entering:
            task.cancel()

    def _knocked(self) -> None:
        if self._turn.must_wait():
            self._rest(MOMENT)
        else:
            self._take_in()

    def _rest(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening)
        self._pause = self._loop.call_later(seconds, self._rested)

    def _rested(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening, self._knocked)
        self._take_in()

    def _take_in(self) -> None:
        try:
            client, _ = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return  # another worker was faster, or the client has gone
        except OSError as error:
            log.error("no client can be taken in reason=%s: raise the limit of open files", error.strerror)
            self._rest(_WITHOUT_MEANS)
            return
        client.setblocking(False)
        task = self._loop.create_task(self._enter(client))
        self._entering.add(task)
        task.add_done_callback(self._entering.discard)

    async def _enter(self, client: socket.socket) -> None:
        has_entered, in_vain = False, _nothing
        try:
            if received := await self._receive(client):
                protocol, in_vain = received
                await self._loop.connect_accepted_socket(partial(_same, protocol), client)
                has_entered = True
        except OSError:
            pass  # it has gone
        finally:
            if not has_entered:
                client.close()
                in_vain()


def _nothing() -> None:
    return


def _same(protocol: asyncio.BaseProtocol) -> asyncio.BaseProtocol:
    return protocol
