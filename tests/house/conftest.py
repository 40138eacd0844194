"""What the house rules look at: wheels as a release has them, and an environment that holds nothing else."""

import os
import site
import subprocess
import sys
import venv
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import ROOT


def pip(*arguments: str | Path, python: str | Path = sys.executable) -> None:
    """Run pip for an environment, with no index: all that it needs is here."""
    command = [sys.executable, "-m", "pip", f"--python={python}", "--quiet", "--no-input", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PIP_NO_INDEX": "1"})
    assert ran.returncode == 0, ran.stderr


@pytest.fixture(scope="session")
def wheels(missing: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of mtaframe and of the example plugin, by project name."""
    if int(version("setuptools").partition(".")[0]) < 77:
        missing("setuptools 77 (pip install -e '.[dev]')")
    built = tmp_path_factory.mktemp("wheels")
    for project in (ROOT, ROOT / "contrib" / "example-plugin"):
        pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", built, copied(project, built / project.name))
    return {path.name.partition("-")[0].replace("_", "-"): path for path in built.glob("*.whl")}


def copied(project: Path, target: Path) -> Path:
    """A project's files as git has them, so that a build leaves nothing in the tree."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=project,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, names):
        if (project / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((project / name).read_bytes())
    return target


@pytest.fixture(scope="session")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a new environment with the two wheels; what they depend on is lent by the running one."""
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    own = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
    )
    (own / "lent.pth").write_text("\n".join(site.getsitepackages()))
    pip("install", "--no-deps", "--ignore-installed", *wheels.values(), python=python)
    return python
