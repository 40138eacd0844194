"""What carries mail in one process: its listeners, its current generation and what all generations share.

The law: a configuration takes effect as a whole or not at all; what is under way ends in the generation that it
began in.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from weakref import WeakSet

from mtaframe.assembly import Classes, Everywhere, Outbound, built
from mtaframe.clock import SystemClock
from mtaframe.config import ConfigError, Configuration, Fault
from mtaframe.dispatch import Dispatch
from mtaframe.generation import Generation
from mtaframe.guard import Guard
from mtaframe.hook_call import Loaded
from mtaframe.http_server import HttpServer
from mtaframe.ledger import Ledger
from mtaframe.lifecycle import Clock, CommandError
from mtaframe.reception import Reception
from mtaframe.settings import ListenerSettings
from mtaframe.smtp_server import SmtpServer
from mtaframe.sockets import closed, key_of
from mtaframe.state import MemoryState
from mtaframe.storage import State
from mtaframe.turn import Turn
from mtaframe.watchdog import Watchdog

log = logging.getLogger("mtaframe")

PLUGINS_TO_STOP = 5.0
"""Seconds that plugins have for their end at least; as long as what is under way had, if that is more."""


@dataclass(frozen=True, slots=True)
class Next:
    """A configuration that is built and not yet in force."""

    configuration: Configuration
    generation: Generation
    outbound: Outbound
    sockets: Mapping[str, socket.socket]


class Mta:
    """One process at work.

    ``ledger``, ``state`` and ``turn`` are what it shares with others, ``everywhere`` asks them; without, it is alone.
    ``extra`` are plugin classes known without an entry point, by name: a test's own.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        extra: Classes = MappingProxyType({}),
        *,
        ledger: Ledger | None = None,
        state: State | None = None,
        turn: Turn | None = None,
        everywhere: Everywhere | None = None,
    ) -> None:
        self._everywhere = everywhere or self._here
        self._extra = extra
        self.clock = clock or SystemClock()
        self.dispatch = Dispatch(self.clock)
        self.ledger = ledger or Ledger(self.clock)
        self.state = state or MemoryState(self.clock)
        self.turn = turn or Turn()
        self.reception = Reception(self._current, self.dispatch, self.ledger, self.clock, self.turn.share)
        self.guard = Guard(self.clock, self.turn)
        self.watchdog = Watchdog()
        self.generation: Generation | None = None
        self.configuration: Configuration | None = None
        self.listeners: dict[str, SmtpServer | HttpServer] = {}
        self._sockets: Mapping[str, socket.socket] = {}
        self._outbound: Outbound | None = None
        self._next: Next | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._retired: WeakSet[Generation] = WeakSet()
        self.is_stopping = False

    def _current(self) -> Generation:
        assert self.generation is not None
        return self.generation

    async def prepare(self, configuration: Configuration, sockets: Mapping[str, socket.socket]) -> None:
        """Build a generation, its plugins started, to be switched to or discarded. ConfigError changes nothing.

        ``sockets`` listen for it, by ``sockets.key_of``; those that are in use already are the same objects.
        """
        settings, before = configuration.settings, self._outbound
        outbound = before if before is not None and before.fits(settings) else Outbound(settings, self.clock)
        try:
            number = self.generation.number + 1 if self.generation is not None else 1
            generation = await built(
                configuration,
                number,
                outbound,
                self.clock,
                self.reception,
                self.watchdog,
                extra=self._extra,
                state=self.state,
                everywhere=self._everywhere,
            )
        except BaseException:
            if outbound is not before:
                await outbound.close()
            raise
        self._next = Next(configuration, generation, outbound, sockets)
        if self.is_stopping:
            await self.discard()
            raise ConfigError([Fault(str(configuration.folder), None, "", "the server is stopping")])

    async def discard(self) -> None:
        """Forget what was prepared, if anything was."""
        found, self._next = self._next, None
        if found is not None:
            await found.generation.plugins.stop()
            if found.outbound is not self._outbound:
                await found.outbound.close()

    async def switch(self) -> None:
        """What was prepared is in force from now on."""
        assert self._next is not None
        found, self._next = self._next, None
        old, before = self.generation, self._outbound
        if old is not None:
            found.generation.plugins.adopt(old.plugins)
        found.outbound.generations += 1
        self.generation, self.configuration, self._outbound = found.generation, found.configuration, found.outbound
        self.guard.settings = found.configuration.settings.clients
        self.dispatch.show_recipients(found.configuration.settings.logs.recipient)
        await self._listen(found.configuration.settings.listener, found.sockets)
        if old is not None and before is not None:
            self._retire(old, before)

    def stop_listening(self) -> None:
        """Take no more clients; those that are here go on."""
        for listener in self.listeners.values():
            listener.stop_listening()

    async def stop(self, seconds: float | None = None) -> None:
        """Stop accepting, finish what is under way within ``seconds`` (``drain``), then end everything."""
        self.is_stopping = True
        if seconds is None:
            seconds = self.configuration.settings.drain if self.configuration else 0.0
        ends = [listener.drain(seconds) for listener in self.listeners.values()]
        await asyncio.gather(*ends, *([self.reception.drain(seconds)] if self.generation is not None else []))
        await self.dispatch.drain(seconds)
        for listener in self.listeners.values():
            await listener.close()
        self.listeners.clear()
        for one in self._sockets.values():
            closed(one)
        self._sockets = {}
        if self.generation is not None and self._outbound is not None:
            self._retire(self.generation, self._outbound)
            self.generation = None
        for generation in self._retired:
            generation.abandon()
        if self._retiring:
            await asyncio.wait(self._retiring, timeout=max(PLUGINS_TO_STOP, seconds))
        self.watchdog.stop()

    async def _listen(self, wanted: Sequence[ListenerSettings], sockets: Mapping[str, socket.socket]) -> None:
        """Bring the listeners in line with the settings; a socket that stays never stops accepting."""
        keep: dict[str, SmtpServer | HttpServer] = {}
        gone: list[SmtpServer | HttpServer] = []
        for settings in wanted:
            server = self.listeners.pop(settings.name, None)
            if server is not None and _same_door(server.settings, settings):
                server.hostname = self._current().hostname
                _adopted(server, settings)
                keep[settings.name] = server
                continue
            try:
                kind = HttpServer if settings.kind == "http" else SmtpServer
                new = kind(settings, self.reception, self.clock, self._current().hostname, self.turn, self.guard)
                await new.start([sockets[key_of(settings.name, address)].dup() for address in settings.addresses])
            except OSError as error:  # a certificate that has gone since it was checked
                log.error("listener not opened listener=%s reason=%s", settings.name, error.strerror)
                new = None
            if server is not None:
                gone.append(server)
            if new is not None:
                keep[settings.name] = new
        gone.extend(self.listeners.values())
        self.listeners = keep
        for address, one in self._sockets.items():
            if sockets.get(address) is not one:
                closed(one)
        self._sockets = sockets
        for server in gone:
            self._background(_leave(server))

    def _retire(self, generation: Generation, outbound: Outbound) -> None:
        self._retired.add(generation)
        self._background(generation.retire(outbound.leave))

    def _background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def command(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """What a plugin's command answers in this process: ``sandbox.list``. CommandError if there is none."""
        lease = self._current().lease()
        return await _command(lease.generation, name)(**arguments)

    async def _here(self, name: str, arguments: Mapping[str, Any]) -> Sequence[Any]:
        return [await self.command(name, arguments)]

    def gathering(self, name: str) -> Callable[[Sequence[Any]], Any] | None:
        """What makes one answer of those of several processes, where all are to be asked."""
        found: Callable[[Sequence[Any]], Any] | None = _command(self._current(), name)._mtaframe_gather
        return found

    def status(self) -> dict[str, Any]:
        """The state of this process in plain data."""
        generation = self._current()
        return {
            "hostname": generation.hostname,
            "generation": generation.number,
            "under_way": self.dispatch.under_way,
            "in_flight": self.reception.memory.used,
            "held": self.reception.hold.count,
            "connections": self.turn.connections,
            "plugins": [_figures(plugin) for plugin in generation.plugins.loaded],
        }


def _command(generation: Generation, name: str) -> Any:
    plugin, _, method = name.partition(".")
    for loaded in generation.plugins.loaded:
        if loaded.name == plugin and hasattr(getattr(type(loaded.instance), method, None), "_mtaframe_command"):
            return getattr(loaded.instance, method)
    raise CommandError(f"the running server has no command {plugin} {method}; is the plugin listed?")


def _figures(plugin: Loaded) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "hooks": plugin.hooks,
        "calls": plugin.calls,
        "faults": plugin.faults,
        "microseconds_per_call": round(plugin.seconds / plugin.calls * 1e6) if plugin.calls else 0,
    }


def _same_door(one: ListenerSettings, other: ListenerSettings) -> bool:
    return (one.kind, one.addresses, one.tls == "implicit") == (other.kind, other.addresses, other.tls == "implicit")


def _adopted(server: SmtpServer | HttpServer, settings: ListenerSettings) -> None:
    try:
        server.adopt(settings)
    except OSError as error:
        log.error("listener keeps its settings listener=%s reason=%s", settings.name, error.strerror)


async def _leave(server: SmtpServer | HttpServer) -> None:
    await server.drain(30.0)
    await server.close()
