"""The example plugin, installed as any third party's, and the one that ``mtaframe plugin new`` writes."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from mtaframe.cli import main
from mtaframe.cli.plugin import package
from tests.conftest import ROOT
from tests.house.conftest import copied, pip

LISTENER = """
[[listener]]
name = "test"
kind = "application"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
"""
EXAMPLE = ROOT / "contrib" / "example-plugin"


def run(*command: str | Path, cwd: Path) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_example_passes_its_own_tests_where_it_is_installed(installed: Path, tmp_path: Path) -> None:
    project = copied(EXAMPLE, tmp_path / "example")
    (project / "mtaframe_feedback_id.py").unlink()  # what is installed is meant
    assert " passed" in run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)


def test_mtaframe_finds_the_example_and_asks_it(installed: Path, tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "mtaframe.toml").write_text(f'plugins = ["feedback_id"]\n{LISTENER}')
    (conf / "feedback_id.toml").write_text((EXAMPLE / "conf" / "feedback_id.toml").read_text() + 'sender = "example"\n')
    (tmp_path / "message").write_text("From: a@example.com\n\nHello\n")
    program = installed.parent / "mtaframe"
    assert "feedback_id" in run(program, "check", "--conf", conf, cwd=tmp_path) + run(program, "plugins", cwd=tmp_path)
    told = run(program, "explain", "--from", "a@example.com", "--to", "b@[127.0.0.1]", "message", cwd=tmp_path)
    assert "Feedback-ID: :::example" in told


def test_a_new_plugin_passes_its_tests_right_away(installed: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["plugin", "new", "list_help", "--into", str(tmp_path)])
    assert result.exit_code == 0, result.output
    project = tmp_path / "mtaframe-list-help"
    pip("install", "--no-deps", "--no-build-isolation", "--editable", project, python=installed)
    try:
        assert " passed" in run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    finally:
        pip("uninstall", "--yes", "mtaframe-list-help", python=installed)


def test_the_example_has_the_shape_of_a_new_plugin() -> None:
    new = package("feedback_id")
    assert {
        str(path.relative_to(EXAMPLE)) for path in EXAMPLE.rglob("*") if path.suffix in (".py", ".toml", ".md")
    } == set(new)
    ours, theirs = tomllib.loads((EXAMPLE / "pyproject.toml").read_text()), tomllib.loads(new["pyproject.toml"])
    ours["project"].pop("description"), theirs["project"].pop("description")
    assert ours == theirs


@pytest.mark.parametrize("name", ["Footer", "my-plugin", "", "1st", "../x", "dkim"])
def test_a_name_that_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["plugin", "new", name, "--into", str(tmp_path)])
    assert result.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_the_tutorials_plugin_passes_the_tutorials_tests(installed: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "writing-plugins.md").read_text(), re.DOTALL)
    (tmp_path / "test_tutorial.py").write_text("\n\n".join(blocks))
    arguments = ("-q", "-p", "no:cacheprovider", "-c", ROOT / "contrib" / "example-plugin" / "pyproject.toml")
    assert "2 passed" in run(installed, "-m", "pytest", *arguments, "test_tutorial.py", cwd=tmp_path)
