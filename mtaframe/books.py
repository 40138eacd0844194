"""What is one for the whole server: the state and the ledger. The supervisor has them, the workers ask."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtaframe import ledger
from mtaframe.config import ConfigError, Configuration, Fault
from mtaframe.ledger import LocalBook
from mtaframe.lifecycle import Clock
from mtaframe.link import Handler, Link
from mtaframe.page import Page
from mtaframe.state import OwnedState, StateDesk, StateError, answer, open_state


class Books:
    """``keys`` are what a worker hashes with: that of the ledger's fingerprints, and those of the state."""

    def __init__(self, state: OwnedState, clock: Clock, page: Page) -> None:
        self._state = state
        self._desk = StateDesk(state, clock)
        self._ledger = LocalBook(clock, state.ledger, page.mark)
        self._ledger.fill(state.ledger_rows())
        self.keys = (state.ledger_key, state.keyring.text())

    @classmethod
    async def opened(cls, configuration: Configuration, clock: Clock, page: Page) -> "Books":
        """As an earlier server left them. ConfigError if they must not be used."""
        settings, folder = configuration.settings.state, configuration.folder
        try:
            return cls(await open_state(settings, folder, clock), clock, page)
        except StateError as error:
            raise ConfigError([Fault(str(Path(folder, "mtaframe.toml")), None, "state", str(error))]) from None

    def handlers(self, worker: object) -> Mapping[str, Handler]:
        """What a worker may ask."""
        return {**ledger.desk(self._ledger, worker), **self._desk.handlers(worker)}

    def joined(self, worker: object, link: Link) -> None:
        self._desk.joined(worker, link)

    async def left(self, worker: object) -> None:
        """It is gone: what it followed is tried again, what it held counts as used."""
        self._ledger.void(worker)
        await self._desk.left(worker)

    @property
    def figures(self) -> dict[str, Any]:
        """For the status."""
        return {
            "ledger": len(self._ledger),
            "state": {"folder": str(self._state.folder or "in RAM"), "trouble": self._state.trouble},
        }

    async def answer(self, name: str, arguments: dict[str, Any]) -> Any:
        """``state.show`` and its like."""
        return await answer(self._state, name, arguments, self._desk.change)

    async def close(self) -> None:
        await self._state.close()
