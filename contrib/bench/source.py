"""Where the mail comes from: Postfix's smtp-source, which keeps its sessions open, and what it sends."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contrib.bench import programs
from contrib.bench.process import HOST, BenchError

SENDER, RECIPIENT = "news@example.com", "bob@example.net"
_LINE = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod te\r\n"


def message(size: int, number: int = 0, *, fields: str = "", greeting: str = "") -> bytes:
    """A message with so many octets of text, CRLF; ``fields`` are more header fields."""
    head = (
        f"From: Shop <{SENDER}>\r\nTo: <{RECIPIENT}>\r\nSubject: News\r\n"
        f"Date: Mon, 02 Mar 2026 08:00:00 +0000\r\nMessage-ID: <{number}.{os.getpid()}@example.com>\r\n{fields}\r\n"
    )
    text = greeting + _LINE * (size // len(_LINE) + 1)
    return (head + text[: max(size - 2, 0)].rstrip("\r\n") + "\r\n").encode()


def personalised(size: int) -> bytes:
    """The same with merge tags, and the variables of its one recipient."""
    variables = {RECIPIENT: {"NAME": "Bob", "CITY": "Ghent", "CODE": "a1b2"}, "*": {"YEAR": "2026"}}
    greeting = "Dear [NAME] from [CITY],\r\nyour code is [CODE]. (c) [YEAR]\r\n"
    return message(size, fields=f"X-Merge-Vars: {json.dumps(variables)}\r\n", greeting=greeting)


class Source:
    """Sends so many messages to a port on so many sessions, each kept open to its end."""

    def __init__(self, folder: Path, size: int, sessions: int, *, personal: bool = False) -> None:
        self._program = programs.needed("smtp-source")
        self._log = folder / "source.log"
        self._options = ["-d", "-s", str(sessions), "-M", "client.example.com", "-f", SENDER, "-t", RECIPIENT]
        if personal:
            (folder / "mail").write_bytes(personalised(size).replace(b"\r\n", b"\n"))
            self._options += ["-F", str(folder / "mail")]
        else:
            self._options += ["-l", str(size)]

    @contextmanager
    def sending(self, count: int, port: int) -> Iterator[subprocess.Popen[bytes]]:
        """It runs; it is ended at the end of the block."""
        command = [str(self._program), *self._options, "-m", str(count), f"{HOST}:{port}"]
        environment = os.environ | programs.environment(self._program)
        with self._log.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process:
            try:
                yield process
            finally:
                process.terminate()

    def check(self, process: subprocess.Popen[bytes]) -> None:
        """BenchError if it has ended with a complaint: a reply that was no 250, or a lost connection."""
        if process.poll():
            said = self._log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise BenchError(f"not all mail was taken: {said[-1][:300]}")
