"""One name, six rooms: a bundled plugin's code, configuration, page, tests, entry point and name in the log."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

POINTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["mtaframe"]
CORE = {"mtaframe", "accounts"}


def names(folder: str, pattern: str) -> set[str]:
    return {path.stem for path in (ROOT / folder).glob(pattern)} - {"__init__", "__pycache__"}


@pytest.mark.parametrize("name", POINTS)
def test_a_plugin_is_in_every_room(name: str) -> None:
    rooms = {
        f"plugins/{name}.py or plugins/{name}/": [f"plugins/{name}.py", f"plugins/{name}/__init__.py"],
        f"conf/{name}.toml": [f"conf/{name}.toml"],
        f"docs/plugins/{name}.md": [f"docs/plugins/{name}.md"],
        f"tests/plugins/test_{name}….py": [f"tests/plugins/test_{name}*.py"],
    }
    missing = [room for room, patterns in rooms.items() if not any(any(ROOT.glob(p)) for p in patterns)]
    assert missing == [], f'the plugin "{name}" lacks these'


@pytest.mark.parametrize("name", POINTS)
def test_the_entry_point_says_the_same_name(name: str) -> None:
    camel = "".join(word.capitalize() for word in name.split("_"))
    assert POINTS[name] == f"mtaframe_plugins.{name}:{camel}"
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name), (
        "the log writes it as by=NAME, the configuration as NAME.toml"
    )


def test_no_room_holds_anything_else() -> None:
    assert names("plugins", "*.py") | names("plugins", "*/") == set(POINTS), "pyproject.toml: no entry point for this"
    assert names("conf", "*.toml") - CORE == set(POINTS), "conf/ has a file for no plugin"
    assert names("docs/plugins", "*") == set(POINTS), "docs/plugins/ has a page for no plugin"


def test_the_tests_name_their_plugin() -> None:
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / "plugins").glob("test_*.py")}
    strangers = {test for test in tests if not any(test == name or test.startswith(f"{name}_") for name in POINTS)}
    assert strangers == set(), "tests/plugins/test_NAME….py is about the plugin NAME"


def test_the_page_and_the_file_know_each_other() -> None:
    for name in POINTS:
        first = (ROOT / "conf" / f"{name}.toml").read_text().splitlines()[0]
        assert first.startswith(f"# {name}: "), f"conf/{name}.toml begins with what the plugin is"
        assert f"docs/plugins/{name}.md" in first, f"conf/{name}.toml names its page in the first line"
        page = Path(ROOT / "docs" / "plugins" / f"{name}.md")
        assert page.read_text().startswith(f"# {name}\n"), f"{page.name} is headed by the plugin's name"
