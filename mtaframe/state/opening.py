"""Opens the state that ``[state]`` describes, for the one process that owns it.

The law: without a key that something needs there is no start, for what can't be looked up would count as not there. A
disk that can't be used keeps nobody from starting.
"""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mtaframe.lifecycle import Clock
from mtaframe.settings import StateSettings
from mtaframe.state.database import Database, Row
from mtaframe.state.keys import Keyring
from mtaframe.state.memory import MemoryState
from mtaframe.state.owned import OwnedState, StateError
from mtaframe.state.place import Place, credential, default_folder
from mtaframe.state.sqlite import SqliteState

Loaded = Mapping[str, Sequence[Row]]
_ORDER = {"counters": "hour", "registers": "1", "sequences": "1", "ledger": "since"}


async def open_state(settings: StateSettings, conf_folder: Path, clock: Clock) -> OwnedState:
    """The state, begun if there is none yet. StateError if a key is missing, or another process has it."""
    if settings.backend == "memory":
        return MemoryState(clock, settings.counters)
    place = place_of(settings, conf_folder)
    try:
        loaded, keyring, ledger_key_id, error = await asyncio.to_thread(_opened, place)
    except BaseException:
        place.close()
        raise
    state = SqliteState(place, keyring, clock, settings.counters, ledger_key_id)
    state.begin(loaded, error)
    return state


def place_of(settings: StateSettings, conf_folder: Path) -> Place:
    """Where the state is, and its keys, if they lie elsewhere. StateError if those can't be read."""
    folder = Path(settings.folder) if settings.folder is not None else default_folder(conf_folder)
    keys = settings.keys.get_secret_value() if settings.keys is not None else None
    if keys is None and (path := credential()) is not None:
        try:
            keys = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise StateError(f"the credential {path} can't be read: {error}") from None
    return Place(folder, keys)


def _opened(place: Place) -> tuple[Loaded | None, Keyring, str, BaseException | None]:
    """What the file has, the keys, the one of the ledger, and why the file can't be used, if it can't."""
    error: BaseException | None = None
    loaded = None
    needed: Mapping[tuple[str, str], int] = {}
    try:
        place.enter()
        _open_somehow(place)
    except (OSError, sqlite3.Error) as trouble:
        error = trouble
    if place.database is not None:
        try:
            loaded, needed = _loaded(place.database), place.database.keys_needed()
        except sqlite3.Error as trouble:
            error = trouble
            place.give_up()
    keyring = place.keyring(needed)
    return loaded, keyring, _ledger_key_id(keyring, needed), error


def _open_somehow(place: Place) -> None:
    """OSError or sqlite3.Error if it can't be written; then it is open to be read, if that can be."""
    try:
        place.open()
    except (OSError, sqlite3.Error):
        with suppress(OSError, sqlite3.Error):
            place.open_copy()
        raise


def _loaded(database: Database) -> Loaded:
    return {name: database.rows(name, order=order) for name, order in _ORDER.items()}


def _ledger_key_id(keyring: Keyring, needed: Mapping[tuple[str, str], int]) -> str:
    """An older key as long as there are entries under it: those of a new one would not recognise their mail."""
    newest, _ = keyring.newest("ledger")
    used = [key_id for purpose, key_id in needed if purpose == "ledger"]
    return newest if newest in used or not used else used[0]
