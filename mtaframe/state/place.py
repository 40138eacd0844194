"""The folder of the state: which it is, that it is ours alone, and the file and the keys in it.

Everything here waits for the disk: it runs in the thread that has the file.
"""

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from mtaframe.state.database import Changes, Database, NewerError
from mtaframe.state.keys import PURPOSES, KeyFileError, Keyring
from mtaframe.state.owned import StateError

SYSTEM_FOLDER = Path("/var/lib/mtaframe")
KEY_FILE = "mtaframe.keys"
_FILE_ONLY = ("digests", "documents")
"""What RAM does not have as a whole."""


def default_folder(conf_folder: Path) -> Path:
    """systemd's StateDirectory, the system's folder if we may write there, or the user's for this configuration."""
    if directory := os.environ.get("STATE_DIRECTORY"):
        return Path(directory)
    if os.access(SYSTEM_FOLDER, os.W_OK):
        return SYSTEM_FOLDER
    above = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    mark = hashlib.blake2b(os.fsencode(conf_folder.resolve()), digest_size=4).hexdigest()
    return Path(above) / f"mtaframe-{mark}"


def credential() -> Path | None:
    """The keys as systemd hands them over, if it does."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(directory, KEY_FILE) if directory else None
    return path if path is not None and path.exists() else None


class Place:
    """``keys`` is the text of the keys, if they do not lie in the folder."""

    def __init__(self, folder: Path, keys: str | None = None) -> None:
        self.folder = folder
        self.path = folder / "state.db"
        self.key_file = folder / KEY_FILE
        self.database: Database | None = None
        self.set_aside: Path | None = None
        """Where the last damaged file is now."""
        self._given_keys = keys
        self._keyring: Keyring | None = None
        self._file: tuple[int, int] | None = None
        self._kept: dict[str, Changes] = {}
        """What was read of a file that is gone, until there is another one: who asked may not have waited for it."""
        self._lock: IO[str] | None = None

    # the folder

    def enter(self) -> None:
        """Make the folder, and have it alone. OSError; StateError if another process has it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / "lock"
        if self._lock is not None and _identity(path) == _identity(self._lock.fileno()):
            return
        try:
            lock = _made(path)
        except OSError:
            lock = open(path)  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            text = f"another mtaframe has the state in {self.folder}: stop it, or set another folder"
            raise StateError(text) from None
        self.leave()
        self._lock = lock

    def leave(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # the file

    def open(self) -> None:
        """Open the file, or begin it. What is damaged is set aside. OSError, sqlite3.Error, StateError."""
        try:
            database = self._opened()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._put_aside()
            database = self._opened()
        if self.database is not None:
            self.database.close()
        self.database = database

    def _opened(self) -> Database:
        with _made(self.path) as file:
            if os.fstat(file.fileno()).st_size == 0:  # it is ours from now on, even if this goes no further
                self._file = _identity(self.path)
        try:
            database = Database.open(self.path)
            self._file = _identity(self.path)
            return database
        except NewerError:
            raise StateError(f"{self.path} was made by a newer mtaframe: use that, or set another folder") from None

    def open_copy(self) -> None:
        """The file as it is, where it can't be written. OSError, sqlite3.Error."""
        self.database, self._file = Database.read_only(self.path), _identity(self.path)

    def open_again(self) -> None:
        """After ``let_go``. What RAM has belongs into the file that it came from, or into a new one."""
        self.enter()
        self.write_keys()
        if self._file is None and self.path.exists():
            raise StateError(f"there is another file at {self.path} now: restart mtaframe to use it")
        try:
            self.open()
        except (OSError, sqlite3.Error):
            if self.database is None:
                with suppress(OSError, sqlite3.Error):
                    self.open_copy()
            raise
        self._kept = {}

    def give_up(self) -> None:
        """The file can't be read: what RAM has does not come from it."""
        self._file = None
        self._close()

    def close(self) -> None:
        """Let go of the file and of the folder."""
        try:
            self._close()
        finally:
            self.leave()

    def _close(self) -> None:
        database, self.database = self.database, None
        if database is not None:
            database.close()

    def check(self) -> None:
        """OSError if what is open is no longer what stands there."""
        if _identity(self.path) != self._file:
            raise FileNotFoundError(f"{self.path} is gone")

    def let_go(self, *, damaged: bool) -> Mapping[str, Changes] | None:
        """Close the file, to open it again. If it is gone or damaged: what could be read that RAM does not have."""
        if damaged:
            self._put_aside()
        database, is_there = self.database, self._file is not None and _identity(self.path) == self._file
        if is_there and (database is None or database.is_copy):
            return None
        if database is not None:
            for table in () if is_there else _FILE_ONLY:
                with suppress(sqlite3.Error):
                    self._kept[table] = database.changes(table)
            self.database = None
            with suppress(sqlite3.Error):
                database.close()
        if is_there:
            return None
        self._file = None
        return self._kept

    def _put_aside(self) -> None:
        at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        target = self.path.with_name(f"{self.path.name}.corrupt-{at}")
        for end in ("", "-wal"):
            with suppress(FileNotFoundError):
                os.replace(f"{self.path}{end}", f"{target}{end}")
        self.set_aside = target

    # the keys

    def keyring(self, needed: Mapping[tuple[str, str], int]) -> Keyring:
        """The keys, made if nothing needs any yet. StateError if one is missing, or they can't be read."""
        keyring = self._found_keys()
        for (purpose, key_id), count in needed.items():
            if keyring is None or not keyring.has(purpose, key_id):
                raise StateError(
                    f"the key {purpose}.{key_id} is missing, and {count} rows of the state need it: put it back into "
                    f"{self.source_of_keys}, or give them up by `mtaframe state keys retire {purpose}.{key_id}`"
                )
        before, keyring = keyring, keyring or Keyring.random()
        lacking = [purpose for purpose in PURPOSES if not keyring.keys.get(purpose)]
        if lacking and self._given_keys is not None:
            raise StateError(f"{self.source_of_keys} lacks a key: `mtaframe state keys rotate {lacking[0]}` makes one")
        for purpose in lacking:
            keyring = keyring.rotated(purpose)
        self._keyring = keyring
        if keyring is not before:
            with suppress(OSError):  # then they are written with the file
                self.write_keys()
        return keyring

    @property
    def source_of_keys(self) -> str:
        return str(self.key_file) if self._given_keys is None else "what [state] keys or the credential names"

    def _found_keys(self) -> Keyring | None:
        try:
            return Keyring.parse(self.key_file.read_text() if self._given_keys is None else self._given_keys)
        except FileNotFoundError:
            return None
        except KeyFileError as error:
            raise StateError(f"{error}; look at {self.source_of_keys}") from None
        except (OSError, UnicodeDecodeError) as error:
            if self._lock is None:  # nothing in the folder can be reached
                return None
            raise StateError(f"the keys in {self.key_file} can't be read: {error}") from None

    def write_keys(self) -> None:
        """Put the keys in the folder, if they belong there. OSError; StateError if others are there."""
        if self._given_keys is not None or self._keyring is None:
            return
        found = self._found_keys()
        ours = self._keyring.keys
        if found is None or not all(map(found.keys.get, ours)):
            replace_keys(self.key_file, self._keyring)
        elif not all(found.has(purpose, self._keyring.newest(purpose)[0]) for purpose in ours):
            raise StateError(f"there are other keys in {self.key_file} now: restart mtaframe to use them")


def replace_keys(path: Path, keyring: Keyring) -> None:
    """Write the file of keys as a whole, for its owner alone. OSError."""
    new = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    with _made(new, owned_as=path if path.exists() else path.parent) as file:
        file.write(keyring.text())
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def _made(path: Path, owned_as: Path | None = None) -> IO[str]:
    """The file, begun if there is none, for its owner alone: root makes none that the server's user can't open."""
    file = open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")  # noqa: SIM115
    if os.geteuid() == 0:
        owner = os.stat(owned_as or path.parent)
        os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
    return file


def is_damage(error: BaseException) -> bool:
    """Whether it is the file itself that can't be read any more."""
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or (type(error) is sqlite3.DatabaseError and not name)


def _identity(file: Path | int) -> tuple[int, int] | None:
    """Device and number of a file; None if there is none."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino
