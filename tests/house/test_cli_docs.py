"""docs/cli.md shows the help of every command, as it is now."""

import re
from collections.abc import Iterator

import click
import pytest

from mtaframe.cli import COMMANDS, main
from tests.conftest import ROOT
from tests.house.generated import BLOCK, content

PAGE = (ROOT / "docs" / "cli.md").read_text()


def names(group: click.Group, path: str) -> Iterator[str]:
    yield path
    known = COMMANDS if group is main else group.commands
    for name in known:
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from names(command, f"{path} {name}")
        else:
            yield f"{path} {name}"


@pytest.mark.parametrize("name", list(names(main, "mtaframe")))
def test_the_help_of_each_command_is_there_and_fresh(name: str) -> None:
    shown = {block[2]: block[0] for block in BLOCK.finditer(PAGE)}
    assert name in shown, f"docs/cli.md needs <!-- generated: {name} --> and <!-- end -->, then: make docs"
    assert content(name) in shown[name], f"the help of `{name}` has changed: make docs"


def test_no_command_is_shown_that_is_gone() -> None:
    shown = {block[2] for block in BLOCK.finditer(PAGE)}
    assert shown == set(names(main, "mtaframe"))


def test_the_page_says_what_exit_codes_mean() -> None:
    for code, meaning in re.findall(r"^ +(\d)  (.+)$", content("mtaframe"), re.MULTILINE):
        assert f"| {code} | {meaning} |" in PAGE
