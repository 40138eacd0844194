"""Where the programs are that take part, and their versions."""

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from contrib.bench.process import ROOT

HARAKA = ROOT / ".deps" / "haraka" / "node_modules" / "Haraka" / "bin" / "haraka"


def found(name: str) -> Path | None:
    """A program of this machine, or one that ``make deps`` has unpacked."""
    if name == "haraka":
        return HARAKA if HARAKA.exists() and shutil.which("node") else None
    unpacked = [str(path) for path in (ROOT / ".deps").glob("*/usr/*bin")]
    where = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *unpacked]))
    return Path(where) if where else None


def needed(name: str) -> Path:
    """The same, for what was asked for before. LookupError if it has gone."""
    where = found(name)
    if where is None:
        raise LookupError(f"{name} is missing")
    return where


def lack(names: tuple[str, ...]) -> str:
    """Why these can't run here, and what to do; empty if they can."""
    for name in names:
        if name == "root":
            if os.geteuid():
                return "needs root: sudo make bench"
        elif name == "haraka":
            if not (shutil.which("npm") and shutil.which("node")):
                return "npm is missing: apt-get install npm, then contrib/bench/install"
            if not found(name):
                return "Haraka is missing: contrib/bench/install"
        elif not found(name):
            return f"{name} is missing: sudo make deps"
    return ""


def environment(program: Path) -> dict[str, str]:
    """What an unpacked Postfix needs to find its libraries."""
    tree = program.parents[1] / "lib" / "postfix"
    return {"LD_LIBRARY_PATH": str(tree)} if ".deps" in program.parts else {}


def versions() -> dict[str, str]:
    """The version of each that is here, by its name."""
    said = {
        "mtaframe": _commit(),
        "Python": platform.python_version(),
        "uvloop": version("uvloop"),
        "Postfix": _output("postconf", "-d", "-h", "mail_version"),
        "OpenDKIM": _output("opendkim", "-V"),
        "Exim": _output("exim4", "-bV"),
        "Haraka": _output("haraka", "--version"),
        "node": _output("node", "--version"),
    }
    numbers = {name: re.search(r"\d+\.\d[\w.~+() -]*", text) for name, text in said.items()}
    return {name: number[0].strip() for name, number in numbers.items() if number}


def _commit() -> str:
    commit = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, check=False)
    text = commit.stdout.decode().strip()
    return f"{version('mtaframe')} ({text})" if text else version("mtaframe")


def _output(name: str, *arguments: str) -> str:
    """The first line that it prints; empty if it is not here."""
    program = found(name)
    if program is None:
        return ""
    environ = os.environ | environment(program)
    ran = subprocess.run([program, *arguments], capture_output=True, check=False, env=environ, timeout=20)
    return (ran.stdout or ran.stderr).decode(errors="replace").partition("\n")[0]
