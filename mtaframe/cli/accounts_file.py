"""``accounts.toml`` as commands change it: read, checked with all the rest, shown, and replaced at once.

The rule: nothing is written that `mtaframe check` would not take, and nothing over what somebody else has written
meanwhile. A running server takes the new file by itself.
"""

import asyncio
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from mtaframe.cli import account_text, text_files
from mtaframe.cli.check import faults_of_source
from mtaframe.cli.printing import Failed, faulty
from mtaframe.config import ACCOUNTS, ConfigError, snapshot


class AccountsFile:
    """The file as it is, and as it shall be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / ACCOUNTS
        try:
            self._source = snapshot(folder)
            self._before = self._source.files.get(ACCOUNTS, b"")
            self.text = self._before.decode()
            tomllib.loads(self.text)
        except ConfigError as error:
            raise faulty(error, folder) from None
        except ValueError:
            raise Failed(f"{self.path} can't be read: see `mtaframe check --conf {folder}`") from None

    @property
    def accounts(self) -> list[dict[str, Any]]:
        """The accounts as they are written, unchecked but for that they are tables."""
        found = tomllib.loads(self.text).get("account", [])
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    def index(self, name: str) -> int:
        """Which one it is. Failed if there is none."""
        names = [account.get("name") for account in self.accounts]
        if name not in names:
            from mtaframe.explanation import guess

            raise Failed(f'there is no account "{name}" in {self.path}{guess(name, [str(each) for each in names])}')
        return names.index(name)

    def add(self, fields: account_text.Fields, tables: Mapping[str, account_text.Fields]) -> None:
        self._change(lambda: account_text.with_account(self.text, fields, tables))

    def set(self, place: tuple[str | int, ...], value: str) -> None:
        self._change(lambda: account_text.with_key(self.text, place, value))

    def add_below(self, account: int, table: str, fields: account_text.Fields) -> None:
        self._change(lambda: account_text.with_table(self.text, account, table, fields))

    def line(self, *place: str | int) -> str:
        """Where it stands, as errors say it."""
        line = account_text.line_of(self.text, place)
        return str(self.path) if line is None else f"{self.path}:{line}"

    def tell_who_bars(self, name: str) -> None:
        """An account that may send is never better off than those above it: which one it has to wait for."""
        known = {str(each.get("name")): each for each in self.accounts}
        above, seen = known[name].get("parent"), {name}
        while above in known and above not in seen:
            status = known[above].get("status", "approved")
            if status not in ("approved", "limited"):
                click.echo(f'mtaframe: "{name}" may not send yet: "{above}" above it is {status}', err=True)
                return
            seen.add(above)
            above = known[above].get("parent")

    def save(self, *, quiet: bool = False) -> None:
        """Check, show and write. Failed, with every fault, if the configuration could not be used then."""
        if self.text.encode() == self._before:
            return
        files = {**self._source.files, ACCOUNTS: self.text.encode()}
        faults = asyncio.run(faults_of_source(replace(self._source, files=files)))
        if any(fault.kind == "error" for fault in faults):
            for fault in faults:
                click.echo(str(fault), err=True)
            raise Failed(f"nothing is written: mend the above, then `mtaframe check --conf {self.folder}`")
        place = self.path.resolve()
        if (place.read_bytes() if place.exists() else b"") != self._before:
            raise Failed(f"{self.path} was changed by somebody else meanwhile: try again")
        if not quiet:
            text_files.show(self.path, self._before.decode(), self.text)
        try:
            text_files.replace(place, self.text)
        except OSError as error:
            raise Failed(f"{self.path} can't be written: {error.strerror}") from None

    def _change(self, change: Callable[[], str]) -> None:
        try:
            self.text = change()
        except ValueError as error:
            raise Failed(f"{self.path}: {error}") from None
