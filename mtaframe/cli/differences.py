"""What a hook changed, told line by line: the message as a bounded unified diff, everything else by its name."""

import dataclasses
import difflib
from collections.abc import Iterator
from enum import Enum
from typing import Any

from mtaframe.address import Address
from mtaframe.delivery import Credentials
from mtaframe.message import Message
from mtaframe.redaction import Private

LINES = 60
"""Lines of one diff that are shown."""
WIDTH = 160
"""Characters of one line that are shown."""
_COMPARED = 2000
"""Lines of a body up to which it is compared line by line: the time grows with the square."""


def message_diff(before: Message, after: Message) -> list[str]:
    """A unified diff of header section and body; empty if nothing changed."""
    found: list[str] = []
    for part in ("header", "body"):
        old, new = getattr(before, part), getattr(after, part)
        if old != new:
            found.extend(_diff(part, old, new))
    if len(found) > LINES:
        found[LINES:] = [f"… {len(found) - LINES} more lines"]
    return found


def changes(before: object, after: object, name: str = "") -> Iterator[str]:
    """One line per field of a value that differs. Notes and variables by their names only, credentials not at all."""
    if before == after or isinstance(before, Message):
        return
    if isinstance(before, Private) and isinstance(after, Private):
        yield f"{name}: {', '.join(_names(before, after))}"
    elif isinstance(before, tuple) and isinstance(after, tuple) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from changes(old, new, f"{name}[{index}]")
    elif _is_open(before) and type(before) is type(after):
        for field in dataclasses.fields(before):  # type: ignore[arg-type]
            if field.name.startswith("_"):
                continue
            full = f"{name}.{field.name}" if name else field.name
            yield from changes(getattr(before, field.name), getattr(after, field.name), full)
    else:
        yield f"{name}: {shown(before)} → {shown(after)}"


def shown(value: object) -> str:
    """A value in clear: this is for the operator, who gave it."""
    if value is None:
        return "none"
    if isinstance(value, Address):
        return value.mailbox
    if isinstance(value, Credentials):
        return "credentials"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, (frozenset, set)):
        return "{" + ", ".join(sorted(map(str, value))) + "}"
    if _is_open(value):
        fields = dataclasses.fields(value)  # type: ignore[arg-type]
        return ", ".join(f"{field.name} {shown(getattr(value, field.name))}" for field in fields)
    return str(value)


def _is_open(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, (Address, Credentials, type))


def _names(before: Private[Any], after: Private[Any]) -> Iterator[str]:
    for key in after:
        if key not in before:
            yield f"+{key}"
        elif after[key] != before[key]:
            yield f"~{key}"
    yield from (f"-{key}" for key in before if key not in after)


def _diff(part: str, old: bytes, new: bytes) -> Iterator[str]:
    before, after = _lines(old), _lines(new)
    if max(len(before), len(after)) > _COMPARED:
        yield f"{part}: {len(old)} → {len(new)} octets, too long to compare by line"
        return
    lines = difflib.unified_diff(before, after, n=1, lineterm="")
    for line in lines:
        if line.startswith(("---", "+++")):
            continue
        yield f"@@ {part} {line[3:]}" if line.startswith("@@ ") else line


def _lines(octets: bytes) -> list[str]:
    text = octets.decode("utf-8", "backslashreplace").replace("\r\n", "\n").removesuffix("\n")
    return [line if len(line) <= WIDTH else f"{line[:WIDTH]}…" for line in text.split("\n")]
