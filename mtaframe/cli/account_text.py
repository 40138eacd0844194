"""How ``accounts.toml`` is changed as a text: lines are put in or replaced, and every other one stays as it is.

The rule: what the new text says is the old one's data with this one change, or ``ValueError``: a file written in
another way than one table to an account is changed by hand. (A library that writes the file anew moves remarks to other
tables.)
"""

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from mtaframe.toml_position import positions

_LINE = re.compile(r"[^\n]*\n|[^\n]+")

Fields = Mapping[str, str | int | list[str]]


def with_account(text: str, fields: Fields, tables: Mapping[str, Fields]) -> str:
    """One more account, at the end; ``tables`` has a credential or a token of its own."""

    def changed(data: dict[str, Any]) -> None:
        data.setdefault("account", []).append({**fields, **{name: [dict(table)] for name, table in tables.items()}})

    blocks = [_block("account", fields), *(_block(f"account.{name}", table) for name, table in tables.items())]
    head = text if text.endswith("\n") or not text else f"{text}\n"
    return _proven(text, head + "".join(f"\n{block}" for block in blocks), changed)


def with_key(text: str, place: tuple[str | int, ...], value: str) -> str:
    """The key at this place of the file has this value from now on; a new one stands below the table's name."""

    def changed(data: Any) -> None:
        for step in place[:-1]:
            data = data[step]
        data[place[-1]] = value

    lines, found = _LINE.findall(text), positions(text)
    if place in found:
        at = found[place] - 1
        key = re.escape(str(place[-1]))
        lines[at] = re.sub(rf"""^(\s*{key}\s*=\s*)(?:"[^"]*"|'[^']*')""", lambda m: m[1] + _value(value), lines[at])
    elif (name := (*place[:-1], "name")) in found:
        at = found[name] - 1
        indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
        lines[at] = lines[at].rstrip("\r\n") + _end_of(lines[at])
        lines.insert(at + 1, f"{indent}{place[-1]} = {_value(value)}{_end_of(lines[at])}")
    return _proven(text, "".join(lines), changed)


def with_table(text: str, account: int, name: str, fields: Fields) -> str:
    """One more credential or token of an account, behind all else of it."""

    def changed(data: dict[str, Any]) -> None:
        data["account"][account].setdefault(name, []).append(dict(fields))

    lines, found = _LINE.findall(text), positions(text)
    at = found.get(("account", account + 1), len(lines) + 1) - 1
    while at and (not lines[at - 1].strip() or lines[at - 1].lstrip().startswith("#")):
        at -= 1
    if at:
        lines[at - 1] = lines[at - 1].rstrip("\r\n") + _end_of(lines[at - 1])
    lines.insert(at, f"\n{_block(f'account.{name}', fields)}")
    return _proven(text, "".join(lines), changed)


def line_of(text: str, place: tuple[str | int, ...]) -> int | None:
    """Where something stands."""
    return positions(text).get(place)


def _proven(old: str, new: str, changed: Callable[[dict[str, Any]], None]) -> str:
    wanted = tomllib.loads(old)
    try:
        changed(wanted)
        if tomllib.loads(new) == wanted:
            return new
    except (tomllib.TOMLDecodeError, AttributeError, TypeError, KeyError, IndexError):
        pass
    raise ValueError("it is written in a way that only a person can change")


def _block(header: str, fields: Fields) -> str:
    lines = [f"[[{header}]]", *(f"{key} = {_value(value)}" for key, value in fields.items())]
    return "".join(f"{line}\n" for line in lines)


def _value(value: str | int | list[str]) -> str:
    """As TOML: its basic strings, numbers and arrays are those of JSON."""
    return json.dumps(value, ensure_ascii=False)


def _end_of(line: str) -> str:
    return "\r\n" if line.endswith("\r\n") else "\n"
