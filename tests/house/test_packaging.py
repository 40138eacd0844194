"""What a release holds: every package, what it needs beside Python files, and pinned dependencies."""

import re
import subprocess
import tomllib
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed() -> None:
    folders = {path.parent for top in ("mtaframe", "plugins") for path in (ROOT / top).rglob("*.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    expected = {re.sub("^plugins", "mtaframe_plugins", name) for name in names} | {"mtaframe_conf"}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == expected, "pyproject.toml: [tool.setuptools] packages"


def test_the_wheel_holds_all_that_runs(wheels: dict[str, Path]) -> None:
    held = set(zipfile.ZipFile(wheels["mtaframe"]).namelist())
    wanted = {path.relative_to(ROOT) for path in (ROOT / "mtaframe").rglob("*") if path.suffix in (".py", ".tmpl")}
    wanted |= {Path("mtaframe_plugins", p.relative_to(ROOT / "plugins")) for p in (ROOT / "plugins").rglob("*.py")}
    wanted |= {Path("mtaframe_conf", p.relative_to(ROOT / "conf")) for p in (ROOT / "conf").rglob("*.toml")}
    wanted |= {Path("mtaframe/py.typed"), Path("mtaframe_plugins/py.typed")}
    assert {str(path) for path in wanted} <= held


def test_the_wheel_runs_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    """``mtaframe setup`` finds the shipped configuration within the wheel."""
    script = "from mtaframe.cli.setup import setup; setup()"
    command = [installed, "-c", script, "--chain", "direct", "--conf", tmp_path / "conf", "--apply"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "conf" / "accounts.toml").read_text() == (ROOT / "conf" / "accounts.toml").read_text()


def test_the_lock_pins_every_dependency_within_its_bounds() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    pinned = dict(re.findall(r"(?m)^([A-Za-z0-9_.-]+)==(\S+)", lock))
    for text in PROJECT["project"]["dependencies"]:
        wanted = Requirement(text)
        found = pinned.get(canonicalize_name(wanted.name))
        assert found, f"requirements.lock lacks {wanted.name}: make lock"
        assert wanted.specifier.contains(found), f"requirements.lock has {wanted.name} {found}: make lock"
    assert "://" not in lock
    assert lock.count("==") <= lock.count("--hash=sha256:"), "every pin has its hashes"
