"""Writes what the docs take from the code, between ``<!-- generated: NAME -->`` and ``<!-- end -->``.

``make docs`` runs it; ``test_docs`` says when that is due.
"""

import inspect
import re
import sys
from pathlib import Path

from click.testing import CliRunner

import mtaframe.cli
from mtaframe import hookspecs
from mtaframe.account_settings import AccountsSettings
from mtaframe.plugins import config_class, installed, plugin_class
from mtaframe.reference import settings_table
from mtaframe.settings import Settings
from tests.conftest import ROOT

BLOCK = re.compile(r"(<!-- generated: ([\w .-]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def content(name: str) -> str:
    """What belongs into the block of that name. LookupError if nothing does."""
    if name == "settings":
        return settings_table(Settings)
    if name == "accounts":
        return settings_table(AccountsSettings)
    if name.split()[0] == "mtaframe":
        return _help(name.split()[1:])
    if name.startswith("hook "):
        return _hook(name.removeprefix("hook "))
    if name in installed():
        return settings_table(config_class(plugin_class(name)))
    raise LookupError(f'nothing generates the block "{name}"')


def pages() -> list[Path]:
    """The pages that may hold blocks."""
    return sorted((ROOT / "docs").rglob("*.md"))


def refreshed(text: str) -> str:
    """The page with all its blocks as they should be."""
    return BLOCK.sub(lambda block: f"{block[1]}{content(block[2])}\n{block[3]}", text)


def _hook(name: str) -> str:
    function = getattr(hookspecs, name)
    lines = inspect.getsource(function).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("def "))
    end = next(number for number, line in enumerate(lines) if line.endswith(":"))
    signature = "\n".join(lines[start : end + 1]).removesuffix(":")
    return f"```text\n{signature.removeprefix('def ')}\n```\n\n{inspect.getdoc(function)}"


def _help(words: list[str]) -> str:
    """What ``mtaframe … --help`` prints where nothing is configured."""
    environment = {"COLUMNS": "80", "MTAFRAME_CONF": "/nowhere"}
    asked = CliRunner().invoke(mtaframe.cli.main, [*words, "--help"], env=environment)
    if asked.exit_code:
        raise LookupError(f"mtaframe {' '.join(words)} --help fails: {asked.output}")
    return f"```text\n{asked.stdout.rstrip()}\n```"


def main() -> None:
    """Refresh every page, and name those that changed."""
    for page in pages():
        before = page.read_text()
        after = refreshed(before)
        if after != before:
            page.write_text(after)
            sys.stdout.write(f"refreshed {page.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
