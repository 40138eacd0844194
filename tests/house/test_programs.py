"""The Debian programs that tests run: the one list has them all, and nothing else."""

import re

from tests.conftest import ROOT

LIST = ROOT / "contrib" / "deps" / "packages.txt"


def test_the_list_is_what_the_tests_ask_for() -> None:
    lines = [line.split() for line in LIST.read_text().splitlines() if line.strip() and not line.startswith("#")]
    asked = re.compile(r"""\bprogram\("([a-z0-9-]+)"\)""")
    wanted = {name for path in (ROOT / "tests").rglob("test_*.py") for name in asked.findall(path.read_text())}
    wanted |= {name for path in (ROOT / "tests").rglob("*/conftest.py") for name in asked.findall(path.read_text())}
    assert {program for _, program, *_ in lines} == wanted, f"{LIST}: package, program, perhaps unpacked"
    assert [package for package, *_ in lines] == sorted(package for package, *_ in lines)
