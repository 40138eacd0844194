"""The files of ``conf/`` as shipped: they load without a word, and show every key that they may have."""

import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from mtaframe.account_settings import AccountsSettings
from mtaframe.cli.check import faults_of
from mtaframe.plugins import config_class, plugin_class
from mtaframe.reference import keys
from mtaframe.settings import Settings
from mtaframe.testing import authority
from tests.conftest import ROOT

CONF = ROOT / "conf"
PRESETS = sorted(path.stem for path in (CONF / "presets").glob("*.toml"))
FILES = sorted(path.stem for path in CONF.glob("*.toml"))

OFFERED = re.compile(r"""^#(?=[a-z0-9_]+ = |["'\[\]])""", re.MULTILINE)
"""A key, a table or the rest of a list that is shown but not set: no remark, which has one blank behind the mark."""


def model(name: str) -> type[BaseModel]:
    core: dict[str, type[BaseModel]] = {"mtaframe": Settings, "accounts": AccountsSettings}
    return core.get(name) or config_class(plugin_class(name))


def values(data: dict[str, Any], known: set[str], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every value by its name as the reference has it: ``listener.*.name``."""
    for name, value in data.items():
        full = f"{above}{name}"
        if full in known:
            yield full, value
        elif isinstance(value, list):
            for each in value:
                yield from values(each, known, f"{full}.*.")
        elif isinstance(value, dict) and any(key.startswith(f"{full}.*.") for key in known):
            for each in value.values():
                yield from values(each, known, f"{full}.*.")
        elif isinstance(value, dict):
            yield from values(value, known, f"{full}.")
        else:
            yield full, value


@pytest.mark.parametrize("name", FILES)
def test_a_file_shows_every_key_and_what_is_commented_is_the_default(name: str) -> None:
    text = (CONF / f"{name}.toml").read_text()
    reference = {key.name: key for key in keys(model(name))}
    shown = dict(values(tomllib.loads(OFFERED.sub("", text)), set(reference)))
    assert set(shown) - set(reference) == set(), f"conf/{name}.toml shows keys that do not exist"
    assert set(reference) - set(shown) == set(), f'show these in conf/{name}.toml, as "#key = default"'
    set_ones = dict(values(tomllib.loads(text), set(reference)))
    for key, value in shown.items():
        default = reference[key].default
        if key not in set_ones and default not in (None, "[]", "{}"):
            assert value == tomllib.loads(f"x = {default}")["x"], (
                f"conf/{name}.toml: {key} is shown with another default"
            )


@pytest.mark.parametrize("name", FILES)
def test_what_is_commented_may_be_written_as_it_stands(name: str) -> None:
    text = OFFERED.sub("", (CONF / f"{name}.toml").read_text())
    try:
        model(name).model_validate(tomllib.loads(text), context={"folder": CONF})
    except ValidationError as error:  # the files of another machine are not here
        faults = [f"{fault['loc']}: {fault['msg']}" for fault in error.errors() if "such file" not in fault["msg"]]
        assert faults == [], f"conf/{name}.toml shows what it would refuse"


@pytest.mark.parametrize("name", FILES)
def test_every_key_has_a_description(name: str) -> None:
    silent = [key.name for key in keys(model(name)) if not key.description.endswith((".", "?"))]
    assert silent == [], "a key says in a sentence what it is: Field(description=…)"


async def test_the_folder_is_good_without_a_word(tmp_path: Path) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    assert [str(fault) for fault in await faults_of(tmp_path / "conf")] == []


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_preset_is_good_without_a_word(preset: str, tmp_path: Path) -> None:
    """In the place of the shipped ``mtaframe.toml``, with the files of the plugins that it lists."""
    text = (CONF / "presets" / f"{preset}.toml").read_text()
    (tmp_path / "mtaframe.toml").write_text(text)
    for name in tomllib.loads(text)["plugins"]:
        shutil.copy(CONF / f"{name}.toml", tmp_path)
    (tmp_path / "tls").mkdir()
    certificate, key = authority(tmp_path).issue("mail.example.com")
    shutil.copy(certificate, tmp_path / "tls" / "fullchain.pem")
    shutil.copy(key, tmp_path / "tls" / "key.pem")
    assert [str(fault) for fault in await faults_of(tmp_path)] == []


def test_the_documentation_names_every_preset() -> None:
    table = (ROOT / "docs" / "configuration.md").read_text().partition("## Presets")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"(?m)^\| `([a-z-]+)` \|", table)) == PRESETS


def test_a_default_is_written_so_that_it_can_be_read_again() -> None:
    for name in FILES:
        for key in keys(model(name)):
            assert key.default is None or json.dumps(tomllib.loads(f"x = {key.default}")), key.name
