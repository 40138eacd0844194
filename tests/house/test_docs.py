"""What the docs say of the code is so: generated blocks, hooks, snippets, links."""

import ast
import inspect
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from mtaframe import Plugin, Source, hookspecs
from mtaframe.account_settings import AccountsSettings
from mtaframe.event import EventType
from mtaframe.lifecycle import NoConfig
from mtaframe.plugins import HOOKS, Plugins, config_class, plugin_class
from mtaframe.reply import _OUR_FAULT
from mtaframe.settings import PluginSettings, Settings
from mtaframe.testing import (
    RecordingMta,
    delivery,
    envelope,
    event,
    message,
    recipient,
    result,
    route,
    session,
)
from tests.conftest import ROOT
from tests.house.generated import BLOCK, pages, refreshed
from tests.house.test_rooms import POINTS

_OF_THIS_MACHINE = re.compile("such file|environment variable is not set")

PAGES = [
    *pages(),
    *(ROOT / name for name in ("README.md", "CHANGELOG.md")),
    *sorted((ROOT / "contrib").rglob("*.md")),
]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<!\\)\[[^\]\n]*\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def snippets(language: str) -> list[object]:
    """Each fenced block of a language, by page and line."""
    return [
        pytest.param(found[2], id=f"{name_of(page)}:{text.count(chr(10), 0, found.start()) + 1}")
        for page in PAGES
        for text in [page.read_text()]
        for found in _FENCE.finditer(text)
        if found[1] == language
    ]


# Generated blocks.


@pytest.mark.parametrize("page", [page for page in pages() if BLOCK.search(page.read_text())], ids=name_of)
def test_generated_blocks_are_fresh(page: Path) -> None:
    assert refreshed(page.read_text()) == page.read_text(), "run `make docs`"


def test_what_can_be_generated_is() -> None:
    found = {block[2] for page in pages() for block in BLOCK.finditer(page.read_text())}
    wanted = {"settings", "accounts", *POINTS, *(f"hook {name}" for name in HOOKS)}
    assert wanted - found == set(), "add <!-- generated: NAME --> and <!-- end --> to the page, then `make docs`"


# Hooks, events, replies.


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_has_its_heading_its_arguments_and_an_example(name: str) -> None:
    page = (ROOT / "docs" / "hooks.md").read_text()
    function = getattr(hookspecs, name)
    heading = f"## {name}({', '.join(inspect.signature(function).parameters)})"
    assert f"\n{heading}\n" in page, f'docs/hooks.md: add the heading "{heading}"'
    section = page.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    assert " ".join((inspect.getdoc(function) or "").split())[:60] in " ".join(section.split()), "run `make docs`"
    assert f"def {name}(" in section, f"docs/hooks.md: {name} needs an example"


@pytest.mark.parametrize("name", HOOKS)
async def test_a_hooks_example_works(name: str, caplog: pytest.LogCaptureFixture) -> None:
    section = (ROOT / "docs" / "hooks.md").read_text().partition(f"\n## {name}(")[2].partition("\n## ")[0]
    namespace: dict[str, Any] = {}
    exec(_FENCE.findall(section)[-1][1], namespace)
    [kind] = [it for it in namespace.values() if isinstance(it, type) and issubclass(it, Plugin) and it is not Plugin]
    plugins = Plugins([("example", kind(NoConfig(), RecordingMta()), PluginSettings())])
    words: dict[str, Any] = {
        "session": session(listener="partners"),
        "envelope": envelope(stream="newsletter"),
        "recipient": recipient("bob@partner.example"),
        "message": message(fields={"List-Unsubscribe": "<mailto:out@example.com>", "X-Mailer": "x"}),
        "delivery": delivery("bob@partner.example"),
        "route": route(source=Source("one", "192.0.2.1", "one.example.com")),
        "result": result(),
        "event": event(EventType.BOUNCE_HARD, data={"unreported": "not wanted"}),
    }
    arguments = [words[each] for each in inspect.signature(getattr(hookspecs, name)).parameters]
    answer = await getattr(plugins, name)(*arguments)
    assert (plugins.loaded[0].calls, plugins.loaded[0].faults, caplog.records) == (1, 0, [])
    if name in ("on_data", "before_sign", "route", "sign"):
        assert answer not in (arguments, arguments[0], arguments[1:])


def test_hooks_stand_in_the_order_of_the_walk() -> None:
    headings = re.findall(r"(?m)^## (\w+)\(", (ROOT / "docs" / "hooks.md").read_text())
    assert headings == list(HOOKS)


def test_every_type_of_event_is_explained() -> None:
    table = (ROOT / "docs" / "events.md").read_text().partition("| Type |")[2]
    rows = re.findall(r"(?m)^\| `(\w+)` \|", table)
    assert rows == [kind.value for kind in EventType], "docs/events.md: one row for each type, in the code's order"


def test_the_codes_that_are_our_own_fault_are_named() -> None:
    page = (ROOT / "docs" / "replies.md").read_text()
    assert ", ".join(map(str, sorted(_OUR_FAULT))) in page


# Snippets.


@cache
def models() -> dict[str, type[BaseModel]]:
    return {"mtaframe": Settings, "accounts": AccountsSettings} | {n: config_class(plugin_class(n)) for n in POINTS}


@pytest.mark.parametrize("text", snippets("toml"))
def test_a_toml_block_is_what_the_configuration_takes(text: str) -> None:
    """By its own first line ("# conf/NAME.toml"), or else by its keys, it is for one of the files."""
    data = tomllib.loads(text)
    named = re.match(r"# conf/(\w+)\.toml", text)
    faults: dict[str, list[str]] = {}
    for name, model in models().items():
        if (named[1] == name) if named else set(data) <= set(model.model_fields):
            faults[name] = []
            try:
                model.model_validate(data, context={"folder": ROOT / "conf"})
            except ValidationError as error:
                all_ = [f"{f['loc']}: {f['msg']}" for f in error.errors()]
                faults[name] = [fault for fault in all_ if not _OF_THIS_MACHINE.search(fault)]
    assert not faults or [] in faults.values(), faults


@pytest.mark.parametrize("text", snippets("python"))
def test_a_python_block_compiles_and_imports_what_is_there(text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mtaframe"):
            assert node.module in ("mtaframe", "mtaframe.testing"), "plugins import public names only"
            exec(compile(ast.Module([node], []), "import", "exec"), {})


# Links and words.


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = _FENCE.sub("", page.read_text())
    broken = []
    for link in _LINK.findall(text):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        found = (page.parent / target).resolve() if target else page
        if not found.exists() or (anchor and found.suffix == ".md" and anchor not in anchors(found)):
            broken.append(link)
    assert broken == [], f"{name_of(page)}: mend these links"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_can_be_found_from_the_contents() -> None:
    found, open_ones = set[Path](), [ROOT / "docs" / "README.md"]
    while open_ones:
        page = open_ones.pop()
        found.add(page)
        linked = {(page.parent / link.partition("#")[0]).resolve() for link in _LINK.findall(page.read_text())}
        if page.name == "README.md":
            open_ones.extend(other for other in linked - found if other in pages())
        found |= linked
    assert [name_of(page) for page in pages() if page not in found] == [], "link it from docs/README.md"


def test_decisions_have_a_question_a_choice_and_a_cost() -> None:
    for page in (ROOT / "docs" / "decisions").glob("*.md"):
        text = page.read_text()
        if page.name == "README.md":
            continue
        assert [part for part in ("**Question.**", "**Choice.**", "**Cost.**") if part not in text] == [], page.name
        assert len(text.splitlines()) <= 45, f"{page.name}: half a page"


_OF_ONE_MACHINE = re.compile(r"(?<![\w.])/(?:home|root|Users|tmp)/[a-z]")


def test_no_path_of_one_machine_stands_in_the_tree() -> None:
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    found = []
    for name in filter(None, names):
        path = ROOT / name
        if path == Path(__file__) or "tests/data/" in name or not path.is_file() or path.is_symlink():
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if _OF_ONE_MACHINE.search(line):
                found.append(f"{name}:{number}: {line.strip()[:100]}")
    assert found == [], "write a path that every reader has"
