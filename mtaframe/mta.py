"""The house: builds generations from ``conf/``, opens the doors, and keeps mail flowing across reloads.

The law: a configuration takes effect as a whole or not at all; what is under way ends in the generation that it
began in.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from weakref import WeakSet

from mtaframe import systemd
from mtaframe.assembly import Classes, Outbound, built, read
from mtaframe.clock import SystemClock
from mtaframe.config import ConfigError, Configuration, Fault
from mtaframe.control import ControlError, ControlServer, socket_path
from mtaframe.dispatch import Dispatch
from mtaframe.generation import Generation
from mtaframe.ledger import Ledger, LocalBook
from mtaframe.lifecycle import Clock
from mtaframe.reception import Reception
from mtaframe.settings import ListenerSettings
from mtaframe.smtp_server import SmtpServer
from mtaframe.sockets import SocketError, closed, handed_over, key_of, opened
from mtaframe.state import MemoryState
from mtaframe.watchdog import Watchdog

log = logging.getLogger("mtaframe")

PLUGINS_TO_STOP = 5.0
"""Seconds that plugins have for their end at least; as long as what is under way had, if that is more."""


class Mta:
    """One process: its listeners, its current generation and what all generations share.

    ``extra`` are plugin classes known without an entry point, by name: a test's own.
    """

    def __init__(self, folder: Path, clock: Clock | None = None, extra: Classes = MappingProxyType({})) -> None:
        self.folder = folder
        self._extra = extra
        self.clock = clock or SystemClock()
        self.dispatch = Dispatch(self.clock)
        self.book = LocalBook(self.clock)
        self.ledger = Ledger(self.clock, self.book)
        self.state = MemoryState(self.clock)
        self.reception = Reception(self._current, self.dispatch, self.ledger, self.clock)
        self.watchdog = Watchdog()
        self.generation: Generation | None = None
        self.configuration: Configuration | None = None
        self.listeners: dict[str, SmtpServer] = {}
        self._sockets: dict[str, socket.socket] = {}
        self._outbound: Outbound | None = None
        self._control: ControlServer | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._retired: WeakSet[Generation] = WeakSet()
        self._reloading = asyncio.Lock()
        self._is_stopping = False

    def _current(self) -> Generation:
        assert self.generation is not None
        return self.generation

    async def start(self) -> None:
        """Read the folder, start the plugins, open the doors. ConfigError if anything stands against it."""
        self._sockets = handed_over()
        configuration = read(self.folder, self._extra)
        self.watchdog.start()
        try:
            await self._take_over(configuration)
        except BaseException:
            self.watchdog.stop()
            raise
        for fault in configuration.warnings:
            log.warning("%s", fault)
        path = socket_path(configuration.settings.control, self.folder)
        self._control = ControlServer(path, self._call)
        try:
            await self._control.start()
        except ControlError as error:
            await self.stop()
            raise ConfigError([Fault(str(self.folder), None, "control", str(error))]) from None

    async def reload(self) -> bool:
        """Read the folder again. False, with the faults in the log, if the running configuration stays."""
        async with self._reloading:
            systemd.notify("RELOADING=1")
            try:
                configuration = read(self.folder, self._extra)
                if self.configuration and configuration.source.digest == self.configuration.source.digest:
                    log.info("configuration read again: the files are the same, what they refer to is taken up anew")
                await self._take_over(configuration)
            except ConfigError as error:
                for fault in error.faults:
                    log.error("%s", fault)
                log.error("configuration not changed: mend the faults above; the running one stays")
                return False
            finally:
                systemd.notify("READY=1")
        log.info("configuration in force number=%d", self._current().number)
        return True

    async def stop(self) -> None:
        """Stop accepting, finish what is under way within ``drain``, then end everything."""
        self._is_stopping = True
        systemd.notify("STOPPING=1")
        seconds = self.configuration.settings.drain if self.configuration else 0.0
        await asyncio.gather(*(listener.drain(seconds) for listener in self.listeners.values()))
        await self.dispatch.drain(seconds)
        for listener in self.listeners.values():
            await listener.close()
        self.listeners.clear()
        for one in self._sockets.values():
            closed(one)
        self._sockets.clear()
        if self._control is not None:
            await self._control.close()
        if self.generation is not None and self._outbound is not None:
            self._retire(self.generation, self._outbound)
            self.generation = None
        for generation in self._retired:
            generation.abandon()
        if self._retiring:
            await asyncio.wait(self._retiring, timeout=max(PLUGINS_TO_STOP, seconds))
        self.watchdog.stop()

    async def _take_over(self, configuration: Configuration) -> None:
        """Build a generation and switch to it; on any fault nothing has changed."""
        settings, old, before = configuration.settings, self.generation, self._outbound
        outbound = before if before is not None and before.fits(settings) else Outbound(settings, self.clock)
        generation: Generation | None = None
        try:
            number = old.number + 1 if old is not None else 1
            generation = await built(
                configuration,
                number,
                outbound,
                self.clock,
                self.reception,
                self.watchdog,
                extra=self._extra,
                state=self.state,
            )
            if self._is_stopping:
                raise ConfigError([Fault(str(self.folder), None, "", "the server is stopping")])
            sockets = self._opened(configuration)
        except BaseException:
            if generation is not None:
                await generation.plugins.stop()
            if outbound is not before:
                await outbound.close()
            raise
        if old is not None:
            generation.plugins.adopt(old.plugins)
        outbound.generations += 1
        self.generation, self.configuration, self._outbound = generation, configuration, outbound
        self.dispatch.show_recipients(settings.logs.recipient)
        await self._listen(settings.listener, sockets)
        if old is not None and before is not None:
            self._retire(old, before)

    def _opened(self, configuration: Configuration) -> dict[str, socket.socket]:
        wanted = {
            key_of(listener.name, address): (address, int(listener.socket_mode, 8))
            for listener in configuration.settings.listener
            for address in listener.addresses
        }
        try:
            return opened(wanted, self._sockets)
        except SocketError as error:
            raise ConfigError([Fault(str(self.folder / "mtaframe.toml"), None, "listener", str(error))]) from None

    async def _listen(self, wanted: Sequence[ListenerSettings], sockets: dict[str, socket.socket]) -> None:
        """Bring the listeners in line with the settings; a socket that stays never stops accepting."""
        keep: dict[str, SmtpServer] = {}
        gone: list[SmtpServer] = []
        for settings in wanted:
            server = self.listeners.pop(settings.name, None)
            if server is not None and _same_door(server.settings, settings):
                server.hostname = self._current().hostname
                _adopted(server, settings)
                keep[settings.name] = server
                continue
            try:
                new = SmtpServer(settings, self.reception, self.clock, self._current().hostname)
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

    async def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        """What the control socket may ask: ``status``, ``reload``, and every plugin's commands."""
        if name == "status":
            return self.status()
        if name == "reload":
            return {"changed": await self.reload()}
        plugin, _, method = name.partition(".")
        lease = self._current().lease()
        for loaded in lease.generation.plugins.loaded:
            function = getattr(type(loaded.instance), method, None)
            if loaded.name == plugin and getattr(function, "_mtaframe_command", False):
                return await getattr(loaded.instance, method)(**arguments)
        raise ControlError(f"the running server has no command {plugin} {method}; is the plugin listed?")

    def status(self) -> dict[str, Any]:
        """The state of the house in plain data."""
        generation = self._current()
        return {
            "hostname": generation.hostname,
            "generation": generation.number,
            "under_way": self.dispatch.under_way,
            "ledger": len(self.book),
            "listeners": {name: list(server.addresses) for name, server in self.listeners.items()},
            "plugins": [
                {
                    "name": plugin.name,
                    "hooks": plugin.hooks,
                    "calls": plugin.calls,
                    "faults": plugin.faults,
                    "microseconds_per_call": round(plugin.seconds / plugin.calls * 1e6) if plugin.calls else 0,
                }
                for plugin in generation.plugins.loaded
            ],
        }


def _same_door(one: ListenerSettings, other: ListenerSettings) -> bool:
    return (one.kind, one.addresses, one.tls == "implicit") == (other.kind, other.addresses, other.tls == "implicit")


def _adopted(server: SmtpServer, settings: ListenerSettings) -> None:
    try:
        server.adopt(settings)
    except OSError as error:
        log.error("listener keeps its settings listener=%s reason=%s", settings.name, error.strerror)


async def _leave(server: SmtpServer) -> None:
    await server.drain(30.0)
    await server.close()
