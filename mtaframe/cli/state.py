"""``mtaframe state …``: what is kept beyond a message, and its keys.

While a server runs it is asked, for it owns the state; else the command opens the state itself.
"""

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtaframe.cli.options import conf_option, json_option
from mtaframe.cli.plugin_commands import main_file, server_socket
from mtaframe.cli.printing import Failed, Unreachable, print_json, print_pairs, print_table

if TYPE_CHECKING:
    from mtaframe.settings import StateSettings
    from mtaframe.state.database import Database
    from mtaframe.state.keys import Keyring
    from mtaframe.state.place import Place

WORTH = {
    "ledger": "mails that are unsettled now may be delivered twice",
    "digests": "they are erased, and nobody recognises whom they stand for",
    "documents": "they are erased, and can't be read any more",
}
"""What it means to give up what was made under a key."""

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def state() -> None:
    """What is kept beyond a message, and its keys."""


@state.command(short_help="What is kept, in numbers.")
@conf_option
@json_option
def show(folder: Path, as_json: bool) -> None:
    """What is kept, in numbers: counters, digests, documents, the ledger, keys; and what is wrong with the disk."""
    answer = ask(folder, "state.show")
    print_json(answer) if as_json else print_pairs(answer)


@state.command(short_help="All that is kept of an account, as JSON.")
@click.argument("account")
@conf_option
def export(account: str, folder: Path) -> None:
    """Print all that is kept of an account, as JSON: its documents, counters and registers."""
    print_json(ask(folder, "state.export", {"account": account}))


@state.command(short_help="Erase all that is kept of an account.")
@click.argument("account")
@yes_option
@conf_option
@json_option
def purge(account: str, yes: bool, folder: Path, as_json: bool) -> None:
    """Erase the documents, counters and registers of an account, so that nothing of them is left in the file.

    Its limits and thresholds begin again at nothing. Numbers that were given out (of its webhooks) stay given out.
    """
    if not yes:
        click.confirm(f"Erase all documents, counters and registers of {account}?", abort=True, err=True)
    answer = ask(folder, "state.purge", {"account": account})
    print_json(answer) if as_json else print_pairs(answer)


@state.group()
def keys() -> None:
    """The keys of digests, documents and the ledger."""


@keys.command("list", short_help="Which keys there are, and what needs them.")
@conf_option
@json_option
def list_(folder: Path, as_json: bool) -> None:
    """Which keys there are, newest first, and how many rows need each."""
    rows = ask(folder, "state.show")["keys"]
    print_json(rows) if as_json else print_table(rows)


file_option = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file of keys, where the configuration does not name it, as with a systemd credential.",
)


@keys.command(short_help="Add new keys in front of the others.")
@click.argument("purpose", required=False, type=click.Choice(list(WORTH)))
@file_option
@conf_option
@json_option
def rotate(purpose: str | None, file: Path | None, folder: Path, as_json: bool) -> None:
    """Add a new key in front of the others, for one purpose or for all; a file that is named and missing is begun.

    The server takes it up at its next start. What was made under the older keys is still found.
    """
    from mtaframe.state.keys import PURPOSES, Keyring
    from mtaframe.state.place import replace_keys

    named = file or _named_file(folder)
    path = named or _place(folder).key_file
    purposes = (purpose,) if purpose else PURPOSES
    if path.exists():
        keyring = _read(path)
        for each in purposes:
            keyring = keyring.rotated(each)
    elif named:
        keyring, purposes = Keyring.random(), PURPOSES
    else:
        raise Failed(f"there is no file {path}: start the server once, or name the file of keys by --file")
    try:
        replace_keys(path, keyring)
    except OSError as error:
        raise Failed(f"{path} can't be written: {error.strerror}") from None
    rows = [{"purpose": each, "key": keyring.newest(each)[0]} for each in purposes]
    print_json(rows) if as_json else print_table(rows)
    if not as_json:
        click.echo(f"written to {path}; in use from the next start of the server (systemctl restart mtaframe)")


@keys.command(short_help="Take out an old key, and erase what needs it.")
@click.argument("key", metavar="PURPOSE.ID")
@yes_option
@file_option
@conf_option
def retire(key: str, yes: bool, file: Path | None, folder: Path) -> None:
    """Take out an old key, and erase what was made under it. `mtaframe state keys list` shows what that is."""
    from mtaframe.state.place import replace_keys

    purpose, _, key_id = key.partition(".")
    if purpose not in WORTH or not key_id:
        raise click.UsageError(f"a key is named as {next(iter(WORTH))}.ID; see `mtaframe state keys list`")
    path = file or _named_file(folder) or _place(folder).key_file
    keyring = _read(path) if path.exists() else None
    if keyring is not None and keyring.has(purpose, key_id) and keyring.newest(purpose)[0] == key_id:
        raise Failed(f"{key} is the newest: first `mtaframe state keys rotate {purpose}`, and restart the server")
    count = _needed(folder).get((purpose, key_id), 0)
    if not yes:
        click.confirm(f"{count} rows need {key}: {WORTH[purpose]}. Take it out?", abort=True, err=True)
    _forget(folder, purpose, key_id)
    if keyring is not None and keyring.has(purpose, key_id):
        replace_keys(path, keyring.without(purpose, key_id))
    click.echo(f"{key} is gone, and {count} rows with it")


def ask(folder: Path, call: str, arguments: dict[str, Any] | None = None) -> Any:
    """What the owner of the state answers: the server, or, if none runs, this process in its place."""
    from mtaframe.control import NotRunningError

    try:
        return _ask_server(folder, call, arguments)
    except NotRunningError:
        return asyncio.run(_answered(folder, call, arguments or {}))


def _ask_server(folder: Path, call: str, arguments: dict[str, Any] | None = None) -> Any:
    """NotRunningError if there is none."""
    from mtaframe import control

    try:
        return control.call(server_socket(folder), call, arguments)
    except control.NotRunningError:
        raise
    except control.ControlError as error:
        raise Unreachable(str(error)) from None


async def _answered(folder: Path, call: str, arguments: Mapping[str, Any]) -> Any:
    from mtaframe.clock import SystemClock
    from mtaframe.lifecycle import CommandError
    from mtaframe.state import StateError, answer, open_state

    _there(folder)
    try:
        state = await open_state(_settings(folder), folder, SystemClock())
        try:
            return await answer(state, call, arguments)
        finally:
            await state.close()
    except (StateError, CommandError) as error:
        raise Failed(str(error)) from None


def _needed(folder: Path) -> Mapping[tuple[str, str], int]:
    """How many rows need each key."""
    from mtaframe.control import NotRunningError

    try:
        keys = _ask_server(folder, "state.show")["keys"]
        return {(row["purpose"], row["key"]): row["rows"] for row in keys}
    except NotRunningError:
        with _database(folder) as database:
            return database.keys_needed()


def _forget(folder: Path, purpose: str, key_id: str) -> None:
    """Erase what needs the key, which itself may be gone: then no server starts, and the state can't be opened."""
    from mtaframe.control import NotRunningError

    try:
        _ask_server(folder, "state.retire", {"purpose": purpose, "key": key_id})
    except NotRunningError:
        with _database(folder) as database:
            database.forget_key(purpose, key_id)
            database.shrink()


@contextmanager
def _database(folder: Path) -> "Iterator[Database]":
    """The file, without its keys."""
    from mtaframe.state import StateError

    place = _there(folder)
    try:
        place.enter()
        place.open()
        assert place.database is not None
        yield place.database
    except (StateError, OSError, sqlite3.Error) as error:
        raise Failed(f"the state can't be used: {error}") from None
    finally:
        place.close()


def _there(folder: Path) -> "Place":
    """Where the file is. Failed if there is none."""
    if _settings(folder).backend == "memory":
        raise Failed("the state is in RAM, and no server runs: there is none")
    place = _place(folder)
    if not place.path.exists():
        raise Failed(f"there is no state in {place.folder}, and no server runs")
    return place


def _place(folder: Path) -> "Place":
    from mtaframe.state import StateError
    from mtaframe.state.opening import place_of

    try:
        return place_of(_settings(folder), folder)
    except StateError as error:
        raise Failed(str(error)) from None


def _settings(folder: Path) -> "StateSettings":
    from pydantic import ValidationError

    from mtaframe.settings import StateSettings

    try:
        return StateSettings.model_validate(main_file(folder).get("state", {}), context={"folder": folder})
    except ValidationError:
        raise Failed(f"[state] is at fault: see `mtaframe check --conf {folder}`") from None


def _named_file(folder: Path) -> Path | None:
    """The file of keys that the configuration names, if it says anything of them. Failed if they are in no file."""
    match main_file(folder).get("state", {}).get("keys"):
        case None:
            return None
        case {"file": str(name)}:
            return folder / name
    raise Failed("the keys are in the configuration or the environment, not in a file: name one by --file")


def _read(path: Path) -> "Keyring":
    from mtaframe.state.keys import KeyFileError, Keyring

    try:
        return Keyring.parse(path.read_text())
    except OSError as error:
        raise Failed(f"{path} can't be read: {error.strerror}") from None
    except (KeyFileError, UnicodeDecodeError) as error:
        raise Failed(f"{path}: {error}") from None
