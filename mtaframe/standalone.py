"""A whole mtaframe in one process: reads the folder itself, opens its own doors. Tests run it in theirs."""

import logging
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mtaframe.assembly import Classes, listening, read
from mtaframe.config import ConfigError, Configuration
from mtaframe.control import ControlServer, socket_path
from mtaframe.ledger import LocalBook
from mtaframe.lifecycle import Clock
from mtaframe.mta import Mta
from mtaframe.sockets import closed_new

log = logging.getLogger("mtaframe")


class Standalone(Mta):
    """``folder`` is its configuration."""

    def __init__(self, folder: Path, clock: Clock | None = None, extra: Classes = MappingProxyType({})) -> None:
        super().__init__(clock, extra)
        self.folder = folder
        self.book = LocalBook(self.clock)
        self.ledger.book = self.book
        self._control: ControlServer | None = None

    async def start(self) -> None:
        """Read the folder, start the plugins, open the doors. ConfigError if anything stands against it."""
        configuration = read(self.folder, self._extra)
        self.watchdog.start()
        try:
            await self._take_over(configuration)
        except BaseException:
            self.watchdog.stop()
            raise
        self._control = ControlServer(socket_path(configuration.settings.control, self.folder), self._call)
        await self._control.start()

    async def reload(self) -> bool:
        """Read the folder again. False, with the faults in the log, if the running configuration stays."""
        try:
            await self._take_over(read(self.folder, self._extra))
        except ConfigError as error:
            for fault in error.faults:
                log.error("%s", fault)
            return False
        return True

    async def stop(self, seconds: float | None = None) -> None:
        await super().stop(seconds)
        if self._control is not None:
            await self._control.close()

    async def _take_over(self, configuration: Configuration) -> None:
        sockets = listening(configuration, self._sockets)
        try:
            await self.prepare(configuration, sockets)
        except BaseException:
            closed_new(sockets, self._sockets)
            raise
        await self.switch()

    async def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        if name == "status":
            listeners = {name: list(server.addresses) for name, server in self.listeners.items()}
            return self.status() | {"ledger": len(self.book), "listeners": listeners}
        if name == "reload":
            return {"changed": await self.reload()}
        answer = await self.command(name, arguments)
        gather = self.gathering(name)
        return gather([answer]) if gather is not None else answer
