"""One worker process: carries mail, and asks its supervisor for all that is one for the whole server.

The law: it does what the supervisor says and nothing of its own accord. When the supervisor is gone it takes no more
clients at once, finishes what is beyond its point of no return, and ends.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop

from mtaframe import logs
from mtaframe.assembly import checked
from mtaframe.clock import SystemClock
from mtaframe.config import ConfigError, Source
from mtaframe.ledger import Ledger, RemoteBook
from mtaframe.lifecycle import CommandError
from mtaframe.link import Handler, Link
from mtaframe.mta import Mta
from mtaframe.page import Page
from mtaframe.sockets import HandedOver
from mtaframe.state import Keyring, RemoteState
from mtaframe.tail import Tail
from mtaframe.turn import Turn

log = logging.getLogger("mtaframe")

ALIVE = 1.0
"""Seconds between two signs of life."""
ORPHAN = 30.0
"""Seconds at most that a worker without a supervisor has to finish."""

YOUNG = 5000
"""Objects more than were freed, after which the collector looks at the new ones."""


def main() -> None:
    """``number workers slots link sockets page``: who it is, and the file descriptors that it was given."""
    number, workers, slots, link, sockets, page = map(int, sys.argv[1:7])
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # they are for the supervisor, which says what to do
    turn = Turn(Page(page), number, workers, slots)
    uvloop.run(Worker(turn).run(socket.socket(fileno=link), socket.socket(fileno=sockets)))


class Worker:
    """``run`` until the supervisor says that it is enough, or is gone."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._clock = SystemClock()
        self._sockets: dict[str, socket.socket] = {}
        self._news = asyncio.Event()
        self._end = asyncio.Event()
        self._mta: Mta | None = None
        self._state: RemoteState | None = None
        self._link: Link | None = None
        self._tail = Tail(self._seen)

    async def run(self, end: socket.socket, sockets: socket.socket) -> None:
        """Until the end."""
        loop = asyncio.get_running_loop()
        sockets.setblocking(False)
        loop.add_reader(sockets, self._handed, sockets)
        handlers: dict[str, Handler] = {
            "begin": self._begin,
            "prepare": self._prepare,
            "switch": self._switch,
            "discard": self._discard,
            "status": self._status,
            "command": self._command,
            "tail": self._tail.turn,
            "drain": self._drain,
        }
        self._link = await Link.over(end, handlers, self._orphaned)
        alive = loop.create_task(self._sign_of_life(self._link))
        await self._end.wait()
        alive.cancel()
        loop.remove_reader(sockets)
        self._link.close()
        await asyncio.sleep(0)

    async def _begin(self, key: bytes, keys: str) -> None:
        """The first word: ``key`` is that of the ledger's fingerprints, ``keys`` are those of the state."""
        assert self._link is not None
        assert self._turn.page is not None
        self._state = RemoteState(self._link, Keyring.parse(keys))
        self._link.handlers.update(self._state.handlers())
        await self._state.begin()
        ledger = Ledger(self._clock, RemoteBook(self._link, self._turn.page), key)
        self._mta = Mta(self._clock, ledger=ledger, state=self._state, turn=self._turn, everywhere=self._everywhere)
        self._mta.watchdog.start()

    def _handed(self, channel: socket.socket) -> None:
        """A listening socket: its key, and its file descriptor beside."""
        try:
            key, fds, _, _ = socket.recv_fds(channel, 4096, 1)
        except BlockingIOError:
            return
        if not key:
            asyncio.get_running_loop().remove_reader(channel)
            return
        self._sockets[key.decode()] = HandedOver(fileno=fds[0])
        self._news.set()

    async def _prepare(self, folder: str, files: Mapping[str, bytes], digest: str, keys: Sequence[str]) -> list[Any]:
        """The faults of a configuration; none if it waits to be switched to."""
        while not self._sockets.keys() >= set(keys):
            self._news.clear()
            await self._news.wait()
        try:
            configuration = checked(Source(Path(folder), files, digest))
            await self._at_work().prepare(configuration, {key: self._sockets[key] for key in keys})
        except ConfigError as error:
            return [(fault.file, fault.line, fault.key, fault.text, fault.kind) for fault in error.faults]
        return []

    async def _switch(self) -> None:
        mta = self._at_work()
        await mta.switch()
        assert mta.configuration is not None
        logs.set_up(mta.configuration.settings.logs)
        self._sockets = {key: one for key, one in self._sockets.items() if one.fileno() >= 0}
        _settle_down()
        self._turn.open()

    async def _discard(self, keys: Sequence[str]) -> None:
        """Forget what was prepared, and these sockets that were for it."""
        await self._at_work().discard()
        for key in keys:
            self._sockets.pop(key).close()

    def _status(self) -> dict[str, Any]:
        mta = self._at_work()
        assert mta.generation is not None
        transport = mta.generation.transports[mta.generation.settings.route.transport]
        return {"pid": os.getpid(), **mta.status(), "is_trial": transport.test_only}

    async def _command(self, name: str, arguments: Mapping[str, Any]) -> tuple[str, Any]:
        """("value", the answer) or ("error", what to tell the operator)."""
        try:
            return "value", await self._at_work().command(name, arguments)
        except CommandError as error:
            return "error", str(error)
        except Exception as error:
            return "error", f"the call failed: {type(error).__name__}"

    async def _everywhere(self, name: str, arguments: Mapping[str, Any]) -> Sequence[Any]:
        assert self._link is not None
        answers: Sequence[Any] = await self._link.call("everywhere", name, dict(arguments))
        return answers

    def _seen(self, at: float, line: str) -> None:
        if self._link is not None:
            self._link.tell("seen", at, line)

    async def _drain(self, seconds: float) -> None:
        """Take no more clients, finish what is under way, end."""
        self._turn.close()
        await self._at_work().stop(seconds)
        if self._state is not None:
            await self._state.end()
        self._end.set()

    def _orphaned(self) -> None:
        for one in self._sockets.values():
            one.close()  # the next server wants their addresses
        if self._mta is None or self._mta.generation is None:
            self._end.set()
        elif not self._mta.is_stopping:
            log.error("the supervisor is gone: finishing what is under way")
            self._mta.stop_listening()
            self._last = asyncio.ensure_future(self._drain(min(ORPHAN, self._mta.generation.settings.drain)))

    async def _sign_of_life(self, link: Link) -> None:
        while True:
            link.tell("alive")
            await asyncio.sleep(ALIVE)

    def _at_work(self) -> Mta:
        assert self._mta is not None
        return self._mta


def _settle_down() -> None:
    """What is there by now stays: the collector need not look at it again and again, only at what messages leave."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 100)
