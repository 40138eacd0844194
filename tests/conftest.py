"""What every test may ask for: the real programs of ``contrib/deps/packages.txt``.

The rule: a test never passes silently because a program is missing. It is skipped with the program's name, and
the last lines of the run say so; with ``MTAFRAME_REQUIRE=all`` (as in CI) it fails instead.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_MISSING = "missing program: "

Program = Callable[[str], Path]


def _find(name: str) -> Path | None:
    unpacked = [str(path) for path in (ROOT / ".deps").glob("*/usr/*bin")]
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *unpacked])
    found = shutil.which(name, path=search)
    return Path(found) if found else None


@pytest.fixture(scope="session")
def missing() -> Callable[[str], None]:
    """Ends the test because something of the machine is missing: ``missing("postfix")``."""

    def say(what: str) -> None:
        if os.environ.get("MTAFRAME_REQUIRE") == "all":
            pytest.fail(f"{_MISSING}{what} (make deps)", pytrace=False)
        pytest.skip(f"{_MISSING}{what}")

    return say


@pytest.fixture(scope="session")
def program(missing: Callable[[str], None]) -> Program:
    """Where a program is: ``program("postfix")``. What it names stands in ``contrib/deps/packages.txt``."""

    def find(name: str) -> Path:
        found = _find(name)
        if found is None:
            missing(name)
        assert found is not None
        return found

    return find


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = (str(report.longrepr) for report in terminalreporter.stats.get("skipped", []))
    lacking = sorted({r.partition(_MISSING)[2].strip("')") for r in reasons if _MISSING in r})
    if lacking:
        terminalreporter.write_line("")
        terminalreporter.write_line(f"NOT RUN for want of a program (make deps): {', '.join(lacking)}", yellow=True)
