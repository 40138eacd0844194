"""How the command line says things: tables for people, JSON for machines, an error in one line, an exit code."""

import base64
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mtaframe.config import ConfigError

_WIDE = 1000
"""Columns of a table that no terminal shows: nothing is folded there."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Failed(click.ClickException):
    """The configuration or the mail is at fault."""

    exit_code = 1


class Unreachable(click.ClickException):
    """The running server can't be reached, or said no."""

    exit_code = 3


def faulty(error: "ConfigError", folder: Path) -> Failed:
    """Prints every fault of a configuration; what is returned is to be raised."""
    for fault in error.faults:
        click.echo(str(fault), err=True)
    count = sum(fault.kind == "error" for fault in error.faults)
    faults = "1 fault" if count == 1 else f"{count} faults"
    return Failed(f"the configuration in {folder} has {faults}: mend the above, then `mtaframe check --conf {folder}`")


@contextmanager
def log_kept() -> Iterator[list[logging.LogRecord]]:
    """What is logged meanwhile as a warning or worse, kept for the command to say in its own way."""
    kept: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record)

    log, keeper = logging.getLogger("mtaframe"), Keeper(logging.WARNING)
    before = log.propagate
    log.addHandler(keeper)
    log.propagate = False
    try:
        yield kept
    finally:
        log.removeHandler(keeper)
        log.propagate = before


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_value(value: Any, as_json: bool) -> None:
    """What a command of a plugin returned: octets as they are, rows as a table, anything else as text."""
    if as_json:
        print_json(_plain(value))
    elif isinstance(value, bytes):
        sys.stdout.flush()
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
    elif _are_rows(value):
        print_table(value)
    elif isinstance(value, Mapping):
        print_pairs(value)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value or ["none"]:
            click.echo(_cell(item))
    elif value is not None:
        click.echo(printable(str(value)))


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """One line per row below the names of the columns; plain text unless a terminal shows it."""
    from rich.table import Table
    from rich.text import Text

    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        numbers = all(isinstance(row.get(name, 0), (int, float)) for row in rows)
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name))) for name in names))
    _print_rich(table)


def print_pairs(pairs: Mapping[str, Any]) -> None:
    """One line per entry; tables in it come after, each below its name."""
    small = {name: value for name, value in pairs.items() if not _are_rows(value)}
    width = max(map(len, small), default=0)
    for name, value in small.items():
        click.echo(f"{name:<{width}}  {_cell(value)}")
    for name, value in pairs.items():
        if name not in small:
            click.echo(f"\n{name}")
            print_table(value)


def printable(text: str) -> str:
    """Without what could drive a terminal: mail is written by strangers."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def _print_rich(renderable: Any) -> None:
    from rich.console import Console

    console = Console() if sys.stdout.isatty() else Console(width=_WIDE, no_color=True)
    if sys.stdout.isatty():
        console.print(renderable)
        return
    with console.capture() as captured:
        console.print(renderable)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _are_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_cell(item) or '-'}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_cell, value))
    return " ".join(printable(str(value)).split("\n"))


def _plain(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
