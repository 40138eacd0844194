"""Fuzzes one parser with atheris; ``tests.fuzz`` starts it. What it finds is minimised, kept, and does not end it."""

import hashlib
import sys
import time
import zlib
from pathlib import Path

import atheris

from tests.fuzz.minimise import minimised, promise

# A regular expression is one step to a fuzzer; where they do all the work, what the checks see in the result guides it.
_GUIDES = ("encoded_word", "forwarding", "merge_tags", "message", "words")
_INCLUDED = ["mtaframe", "mtaframe_plugins", *(f"tests.fuzz.parsers.{name}" for name in _GUIDES)]

with atheris.instrument_imports(include=_INCLUDED):
    from tests.fuzz.parser import EVERY, FINDINGS, SEEDS, Parser, parsers

    PARSERS = parsers()

_MOST = 20
"""Findings after which a run only counts."""
_TELL = 10.0
"""Seconds between two lines of progress."""


class Target:
    """What atheris calls. A promise that is broken often is told once."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._known: set[str] = set()
        self._count = 0
        self._began = time.process_time()
        self._told = time.monotonic()

    def __call__(self, octets: bytes) -> None:
        try:
            self._parser.check(octets)
            if self._parser.slow is not None and zlib.crc32(octets) % EVERY == 0:
                self._parser.slow(octets)
        except Exception as error:
            self._found(octets, promise(error))
        self._count += 1
        if not self._count & 1023:
            self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told >= _TELL:
            self._told = now
            say(f"PROGRESS {self._count} {time.process_time() - self._began:.2f}")

    def _found(self, octets: bytes, promise: str) -> None:
        if promise in self._known or len(self._known) == _MOST:
            return
        self._known.add(promise)
        octets = minimised(self._parser.replay, octets)
        kept = FINDINGS / self._parser.name / hashlib.sha256(octets).hexdigest()[:12]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(octets)
        say(f"FINDING {kept.parent.name}/{kept.name}: {promise}")


def say(line: str) -> None:
    """To whoever started us, between the lines of libFuzzer."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """``python -m tests.fuzz.one PARSER CACHE`` and what libFuzzer is told."""
    name, cache, *arguments = sys.argv[1:]
    parser = PARSERS[name]
    folder = Path(cache) / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    words = ("".join(f"\\x{octet:02x}" for octet in token) for token in parser.tokens or (b"\r\n",))
    (folder / "dictionary").write_text("".join(f'"{word}"\n' for word in words))
    seeds = [str(f / name) for f in (SEEDS, FINDINGS) if (f / name).is_dir()]
    told = [f"-dict={folder / 'dictionary'}", f"-max_len={parser.longest}", f"-artifact_prefix={folder}/"]
    atheris.Setup([sys.argv[0], *told, *arguments, str(folder / "corpus"), *seeds], Target(parser))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
