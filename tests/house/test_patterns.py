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


def ways(body: Any) -> Iterator[list[Any]]:
    """Each way through a part of a pattern, as its items."""
    items = list(body)
    if len(items) == 1 and str(items[0][0]) == "BRANCH":
        for branch in items[0][1][1]:
            yield from ways(branch)
    elif len(items) == 1 and str(items[0][0]) == "SUBPATTERN":
        yield from ways(items[0][1][-1])
    else:
        yield items


def operators(parsed: Any) -> Iterator[tuple[str, Any]]:
    """All of a pattern, however deep, with their arguments."""
    for operator, argument in parsed:
        yield str(operator), argument
        for part in argument if isinstance(argument, (list, tuple)) else (argument,):
            for inner in part if isinstance(part, list) else (part,):
                if isinstance(inner, PARSER.SubPattern):
                    yield from operators(inner)


def has_repeat(items: Any) -> bool:
    return any(name in _REPEATS for name, _ in operators(items))


def is_trap(body: Any) -> bool:
    """Whether it can fail behind a repeat: before 3.11.5, what that took stays taken (gh-106052)."""
    for *items, (operator, argument) in ways(body):
        is_optional = str(operator) in _REPEATS and argument[0] == 0
        if has_repeat(items) or (items and not is_optional and has_repeat([(operator, argument)])):
            return True
    return False


def traps(pattern: "re.Pattern[Any]") -> list[Any]:
    """The bodies of possessive and atomic groups that an older Python may misread."""
    parsed = PARSER.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
    bodies = [argument[-1] for name, argument in operators(parsed) if name == "POSSESSIVE_REPEAT"]
    bodies += [argument for name, argument in operators(parsed) if name == "ATOMIC_GROUP"]
    return [body for body in bodies if is_trap(body)]


FINE = {"plugins.merge_tags.header_places._ADDRESS_TOKEN": "its last branch takes whatever the one before began with"}


@pytest.mark.parametrize(
    "trap", [r"(?:\.[ab]+)*+@", r"(?:x|[ab]+:)++", r"((?:a+:){0,9}+)x", r"(a|b(?:(\.a?)c)*+)", r"(?>ab?c)"]
)
def test_a_trap_is_found(trap: str) -> None:
    assert traps(re.compile(trap))


def test_no_pattern_is_read_otherwise_by_an_older_python() -> None:
    found = dict(patterns())
    assert len(found) > 50
    assert {name for name, pattern in found.items() if traps(pattern)} == FINE.keys()
