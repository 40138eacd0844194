"""The units in ``contrib/systemd``: systemd takes them, and says how open the service is."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mtaframe.settings import Settings
from tests.conftest import ROOT, Program

UNITS = ROOT / "contrib" / "systemd"
EXPOSURE = 1.6
"""What ``systemd-analyze security`` says of the service, of 10; contrib/systemd/README.md tells what is left."""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that exists on this machine."""
    for name in ("mtaframe.service", "mtaframe.socket"):
        text = (UNITS / name).read_text().replace("/opt/mtaframe/bin/mtaframe", sys.executable)
        (tmp_path / name).write_text(text)
    return tmp_path


def analyze(program: Program, *arguments: str | Path) -> str:
    ran = subprocess.run([program("systemd-analyze"), *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_systemd_takes_the_units(program: Program, units: Path) -> None:
    trouble = analyze(program, "verify", "--man=no", units / "mtaframe.service", units / "mtaframe.socket")
    assert [line for line in trouble.splitlines() if "mtaframe" in line] == []


def test_the_service_is_as_closed_as_the_readme_says(program: Program, units: Path) -> None:
    report = analyze(program, "security", "--offline=yes", "--no-pager", units / "mtaframe.service")
    found = re.search(r"exposure level for mtaframe.service: ([0-9.]+)", report)
    assert found is not None, report
    assert float(found[1]) <= EXPOSURE, report
    assert f"**{EXPOSURE}**" in (UNITS / "README.md").read_text()


def test_systemd_waits_longer_than_mtaframe_drains() -> None:
    found = re.search(r"(?m)^TimeoutStopSec=(\d+)s$", (UNITS / "mtaframe.service").read_text())
    assert found is not None
    assert int(found[1]) > Settings().drain


def test_the_socket_is_that_of_the_preset() -> None:
    addresses = re.findall(r"(?m)^ListenStream=(\S+)$", (UNITS / "mtaframe.socket").read_text())
    preset = tomllib.loads((ROOT / "conf" / "presets" / "behind-postfix.toml").read_text())
    assert set(addresses) <= {address for listener in preset["listener"] for address in listener["addresses"]}
