"""Options that several commands share, and which folder the configuration is in."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

SYSTEM_FOLDER = Path("/etc/mtaframe")
_MAIN = "mtaframe.toml"


def conf_option(function: F) -> F:
    """``--conf DIR``, given to the command as ``folder``."""
    return click.option(
        "--conf",
        "folder",
        type=click.Path(path_type=Path),
        metavar="DIR",
        callback=lambda context, _, value: value or chosen_folder(context),
        help="The configuration's folder; see `mtaframe --help` for the default.",
    )(function)


def json_option(function: F) -> F:
    """``--json``, given to the command as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")(function)


def chosen_folder(context: click.Context) -> Path:
    """What ``mtaframe --conf`` said, or the default."""
    return context.find_root().params.get("folder") or default_folder()


def default_folder() -> Path:
    """$MTAFRAME_CONF, else ``./conf`` if it has a mtaframe.toml, else ``/etc/mtaframe``."""
    if named := os.environ.get("MTAFRAME_CONF"):
        return Path(named)
    here = Path("conf")
    return here if (here / _MAIN).exists() else SYSTEM_FOLDER


def folder_among(arguments: list[str]) -> Path | None:
    """The ``--conf DIR`` among arguments of a command that is not known yet: its plugin stands in that folder."""
    for index, argument in enumerate(arguments):
        if argument == "--":
            return None
        if argument.startswith("--conf="):
            return Path(argument.removeprefix("--conf="))
        if argument == "--conf" and index + 1 < len(arguments):
            return Path(arguments[index + 1])
    return None
