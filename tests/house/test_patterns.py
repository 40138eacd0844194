"""Regular expressions mean the same on every Python we run on."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
PARSER = importlib.import_module("re._parser")
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")


def patterns() -> Iterator[tuple[str, "re.Pattern[Any]"]]:
    """All that a module of ours, or a class in it, keeps."""
    for file in sorted((*ROOT.glob("mtaframe/**/*.py"), *ROOT.glob("plugins/**/*.py"))):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name.endswith("__main__"):
            continue
        module = importlib.import_module(name)
        for holder in (module, *(one for one in vars(module).values() if isinstance(one, type))):
            for key, value in vars(holder).items():
                if isinstance(value, re.Pattern):
                    yield f"{name}.{key}", value


def sequences(parsed: Any) -> Iterator[list[tuple[str, Any]]]:
    """The ways through one part of a pattern."""
    items = [(str(operator), argument) for operator, argument in parsed]
    if len(items) == 1 and items[0][0] == "BRANCH":
        for branch in items[0][1][1]:
            yield from sequences(branch)
    elif len(items) == 1 and items[0][0] == "SUBPATTERN":
        yield from sequences(items[0][1][-1])
    else:
        yield items


def groups(parsed: Any) -> Iterator[Any]:
    """The bodies of all possessive repeats of groups."""
    for operator, argument in parsed:
        if str(operator) == "POSSESSIVE_REPEAT":
            yield argument[2]
        for part in argument if isinstance(argument, (list, tuple)) else ():
            for inner in part if isinstance(part, list) else (part,):
                if isinstance(inner, PARSER.SubPattern):
                    yield from groups(inner)


def is_trap(body: Any) -> bool:
    """Before 3.11.5, ``(?:x[ab]+)*+`` takes an x that nothing follows (gh-106052): its end is an unmet repeat."""
    return any(len(way) > 1 and way[-1][0] in _REPEATS and way[-1][1][0] > 0 for way in sequences(body))


def traps(pattern: Any) -> list[Any]:
    parsed = PARSER.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
    return [body for body in groups(parsed) if is_trap(body)]


@pytest.mark.parametrize("trap", [r"a(?:\.[ab]+)*+@", r"(?:x|\.[ab]++)++", r"((?: a+){0,9}+)x", r"(a|b(?:(\.a+))*+)"])
def test_a_trap_is_found(trap: str) -> None:
    assert traps(re.compile(trap))


def test_no_pattern_is_read_otherwise_by_an_older_python() -> None:
    found = dict(patterns())
    assert len(found) > 50
    assert [name for name, pattern in found.items() if traps(pattern)] == []
