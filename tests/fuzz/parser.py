"""What a parser is to a fuzzer: a check that holds for all octets, the words it knows, and examples to begin with."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
SEEDS = FOLDER / "seeds"
FINDINGS = FOLDER / "findings"
EVERY = 64
"""Of so many inputs a fuzzer puts one through the slow checks, too."""


@dataclass(frozen=True)
class Parser:
    """``check`` fails by an exception: the parser has broken its promise. ``slow`` does what costs too much each time.

    ``tokens`` is the fuzzer's dictionary; ``longest`` are the octets of its longest input.
    """

    name: str
    check: Callable[[bytes], None]
    tokens: tuple[bytes, ...] = ()
    longest: int = 512
    slow: Callable[[bytes], None] | None = None

    def replay(self, octets: bytes) -> None:
        """All checks."""
        self.check(octets)
        if self.slow is not None:
            self.slow(octets)

    def examples(self) -> Iterator[Path]:
        """Seeds, and what once broke a promise."""
        for folder in (SEEDS, FINDINGS):
            yield from sorted((folder / self.name).glob("*"))


def parsers() -> Mapping[str, Parser]:
    """All of them by name: each module in ``parsers/`` has a list ``PARSERS``."""
    found: dict[str, Parser] = {}
    for module in pkgutil.iter_modules([str(FOLDER / "parsers")]):
        for parser in importlib.import_module(f"tests.fuzz.parsers.{module.name}").PARSERS:
            assert parser.name not in found, parser.name
            found[parser.name] = parser
    return found
