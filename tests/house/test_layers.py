"""Who imports whom: the tables of docs/architecture.md, held against every import in the tree."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import mtaframe
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "architecture.md"
PUBLIC = {*mtaframe.__all__, "testing"}
IMPURE = {
    "asyncio",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}
EVERYWHERE = {"pydantic", "mtaframe"}
"""Packages without a door: pydantic's models are the settings themselves."""


class Import(NamedTuple):
    """``where`` is file and line, ``target`` the dotted name; ``level`` counts the dots before a relative one."""

    where: str
    file: Path
    target: str
    level: int

    @property
    def package(self) -> str:
        return self.target.partition(".")[0]


def table(head: str) -> list[list[str]]:
    """The rows of the page's table with this head, cell by cell."""
    rows = PAGE.read_text().partition(head)[2].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row.startswith("|")][1:]


LAYERS = [
    [name.strip() for name in modules.split(",")] for _, modules in table("| Layer | Modules, upper ones first |")
]
MODULES = {name for layer in LAYERS for name in layer}
DOORS = {
    re.findall(r"`(\w+)`", package)[0]: MODULES.intersection(re.findall(r"\w+", doors))
    for package, doors in table("| Package | Door |")
}


def module_of(path: Path) -> str:
    """``smtp_server`` for ``mtaframe/smtp_server/wire.py``; a package counts as one module."""
    return path.relative_to(ROOT / "mtaframe").parts[0].removesuffix(".py")


def imports(folder: str) -> Iterator[Import]:
    """Every import, wherever it stands: inside functions and for type checkers too."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                yield from (Import(where, path, alias.name, 0) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (
                    Import(where, path, f"{node.module or ''}.{alias.name}".strip("."), node.level)
                    for alias in node.names
                )


CORE = list(imports("mtaframe"))


def test_every_module_has_its_place() -> None:
    files = {module_of(path) for path in (ROOT / "mtaframe").rglob("*.py")} - {"__init__"}
    listed = [name for layer in LAYERS for name in layer]
    assert sorted(listed) == sorted(set(listed)), "a module stands twice in the layer table of docs/architecture.md"
    assert files - MODULES == set(), "put these modules into the layer table of docs/architecture.md"
    assert MODULES - files == set(), "these modules are gone: take them out of docs/architecture.md"


@pytest.mark.parametrize("layer", range(len(LAYERS)), ids=lambda index: LAYERS[index][0])
def test_imports_go_down_and_to_the_right(layer: int) -> None:
    order = {name: (number, place) for number, names in enumerate(LAYERS) for place, name in enumerate(names)}
    wrong = []
    for one in CORE:
        module = module_of(one.file)
        if one.package != "mtaframe" or module == "__init__" or order[module][0] != layer:
            continue
        target = one.target.split(".")[1]
        if target == module:
            continue
        if target not in order:
            wrong.append(f"{one.where}: import the module, not the public name {target}")
        elif order[target] < order[module]:
            wrong.append(f"{one.where}: {module} imports {target}, which stands above it or to its left")
    assert wrong == [], "move what is needed further down, or hand it over as an argument (docs/architecture.md)"


def test_the_public_names_come_from_contract_and_words_and_tools_that_are_pure() -> None:
    low = {name for layer in LAYERS[2:] for name in layer}
    used = {one.target.split(".")[1] for one in CORE if module_of(one.file) == "__init__"}
    assert used <= low, "what plugins import must not pull in a room or the house"


def test_words_are_pure() -> None:
    found = [
        f"{one.where}: {one.package}" for one in CORE if module_of(one.file) in LAYERS[-1] and one.package in IMPURE
    ]
    assert found == [], "words do no I/O and know no clock: decide here, act in a room"


def test_each_foreign_package_has_its_door() -> None:
    wrong = []
    for one in CORE:
        if one.level or one.package in sys.stdlib_module_names or one.package in EVERYWHERE:
            continue
        module = module_of(one.file)
        if module not in DOORS.get(one.package, set()):
            wrong.append(
                f"{one.where}: {one.package} has its door in {sorted(DOORS.get(one.package, set())) or 'no module'}"
            )
    assert wrong == [], "go through the door, or put a new package into the doors table of docs/architecture.md"


def test_every_door_is_used() -> None:
    used = {one.package for one in CORE}
    assert set(DOORS) <= used, "these packages are no longer imported: take their doors out of docs/architecture.md"


@pytest.mark.parametrize("folder", ["plugins", "contrib/example-plugin"])
def test_plugins_import_public_names_only(folder: str) -> None:
    wrong = []
    for one in imports(folder):
        own = one.file.relative_to(ROOT / folder).parts[0].removesuffix(".py")
        _, _, name = one.target.partition(".")
        if one.level:
            path = one.file.parents[one.level - 1]
            if path == ROOT / folder:
                wrong.append(f"{one.where}: a relative import out of the plugin's own package")
        elif one.package == "mtaframe" and name.partition(".")[0] not in PUBLIC:
            wrong.append(f'{one.where}: "{one.target}" is no public name; import from mtaframe itself, or ask for it')
        elif one.package == "mtaframe_plugins" and not name.startswith(own):
            wrong.append(f"{one.where}: a plugin never imports another: use notes, header fields, events or mta.ask")
    assert wrong == []
