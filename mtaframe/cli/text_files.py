"""Other programs' configuration files: read, shown as a difference, and replaced at once, octet by octet."""

import difflib
import os
import tempfile
from pathlib import Path

import click


def show(path: Path, old: str, new: str) -> None:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), str(path), str(path), lineterm="")
    for line in lines:
        colour = {"+": "green", "-": "red"}.get(line[:1])
        click.secho(line, fg=colour)


def read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")


def octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def replace(path: Path, text: str) -> None:
    """Replaces a file at once; its mode and owner stay. Where that fails nothing is left of the new one.

    A link stays one: what it leads to is replaced.
    """
    path = path.resolve()
    descriptor, new = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets(text))
            if path.exists():
                status = path.stat()
                os.fchmod(file.fileno(), status.st_mode & 0o7777)
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), status.st_uid, status.st_gid)
            else:
                os.fchmod(file.fileno(), 0o644)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise
