r"""Plays the dialogues of this folder against the real door, on a real socket.

A dialogue is a text file. Above the first empty line stand the listener's settings and the script of the reception,
below it the lines that go over the wire:

    kind = "lmtp"                                   TOML, as under [[listener]]
    !rcpt bob@example.net 550 5.1.1 nobody          what the reception says: rcpt, dot, mail, connect; HANG, FAIL
    C: NOOP                                         the client says a line; CR LF is put behind it
    C: NOOP\                                        without CR LF: the next C: goes on with this line
    S: 250 2.0.0 ok                                 the server says exactly this; * at the end: and whatever else
    C: <close>                                      the client closes; S: <close>: the server has closed
    C: <starttls>                                   the client's handshake
    R: MAIL <a@example.org> 7BIT                    what the reception was asked, all of it, in order

Escapes \r \n \0 \t \x41 and \\ stand for octets; {100*a} for a hundred times "a". C: lines that follow each other go
out in one write, as a pipelining client sends them. `#` begins a comment. Each dialogue is played a second time with
the client's octets one by one, unless it says "# together".
"""

import asyncio
import re
import ssl
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mtaframe.clock import SystemClock
from mtaframe.reply import Reply
from mtaframe.settings import ListenerSettings
from mtaframe.smtp_server import SmtpServer
from mtaframe.testing import self_signed
from tests.scripted_reception import ScriptedReception

DIALOGUES = sorted(Path(__file__).parent.glob("*.txt"))


@dataclass
class Dialogue:
    settings: dict[str, Any]
    script: list[str]
    steps: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Dialogue":
        head, _, rest = path.read_text().partition("\n\n")
        lines = [line for line in head.splitlines() if not line.startswith("#")]
        toml = "\n".join(line for line in lines if not line.startswith("!"))
        dialogue = cls(tomllib.loads(toml), [line[1:] for line in lines if line.startswith("!")])
        for line in rest.splitlines():
            if line and not line.startswith("#"):
                assert line[:3] in ("C: ", "S: ", "R: "), line
                dialogue.steps.append((line[0], line[3:]))
        return dialogue


def octets(text: str) -> bytes:
    """What a C: line sends; a final backslash leaves out the CR LF."""
    goes_on = re.search(r"(?<!\\)(?:\\\\)*\\$", text) is not None
    text = re.sub(r"\{(\d+)\*([^}]+)\}", lambda found: int(found[1]) * found[2], text.removesuffix("\\"))
    raw = text.encode().decode("latin-1").encode("latin-1").decode("unicode_escape").encode("latin-1")
    return raw if goes_on else raw + b"\r\n"


def reply(words: str) -> Reply | str:
    code, _, rest = words.partition(" ")
    return Reply.parse(int(code), rest) if code.isdigit() else words


def rehearse(reception: ScriptedReception, script: list[str]) -> None:
    for line in script:
        what, _, rest = line.partition(" ")
        if what == "rcpt":
            name, _, rest = rest.partition(" ")
            reception.rcpt_answers[name] = reply(rest)
        elif what == "dot":
            reception.dot_answers.append(reply(rest))
        else:
            assert what in ("mail", "connect", "auth"), line
            setattr(reception, f"{what}_answer", reply(rest))


@asynccontextmanager
async def listening(dialogue: Dialogue, directory: Path) -> AsyncIterator[tuple[SmtpServer, ScriptedReception]]:
    settings = {"name": "test", "kind": "mta", "addresses": ["127.0.0.1:0"], **dialogue.settings}
    if settings.get("tls", "off") != "off":
        certificate, key = self_signed("mx.example.org", directory)
        settings |= {"certificate": str(certificate), "key": str(key)}
    reception = ScriptedReception()
    rehearse(reception, dialogue.script)
    server = SmtpServer(ListenerSettings(**settings), reception, SystemClock(), "mx.example.org")  # type: ignore[arg-type]
    await server.start()
    try:
        yield server, reception
    finally:
        await server.close()


async def play(dialogue: Dialogue, directory: Path, *, piecewise: bool) -> None:
    async with listening(dialogue, directory) as (server, reception):
        host, _, port = server.addresses[0].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        pending = b""

        async def send() -> None:
            nonlocal pending
            pieces = [pending[i : i + 1] for i in range(len(pending))] if piecewise else [pending] * bool(pending)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                if piecewise and len(pending) < 3000:
                    await asyncio.sleep(0)
            pending = b""

        try:
            for who, text in dialogue.steps:
                if who == "C" and not text.startswith("<"):
                    pending += octets(text)
                    continue
                await send()
                if who == "S" and text == "<close>":
                    rest = await asyncio.wait_for(reader.read(), 5)
                    assert rest == b""
                elif who == "S":
                    line = await asyncio.wait_for(reader.readline(), 5)
                    shown = line.removesuffix(b"\r\n").decode()
                    assert line.endswith(b"\r\n"), f"closed instead of {text}"
                    assert shown == text or (text.endswith("*") and shown.startswith(text[:-1])), f"{shown} not {text}"
                elif text == "<close>":
                    writer.close()
                elif text == "<starttls>":
                    context = ssl.create_default_context()
                    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                    await writer.start_tls(context)
            await send()
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        for _ in range(200):
            if not server.connections:
                break
            await asyncio.sleep(0.01)
    assert reception.record == [text for who, text in dialogue.steps if who == "R"]


@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
async def test_dialogue(path: Path, tmp_path: Path) -> None:
    await play(Dialogue.read(path), tmp_path, piecewise=False)


NOT_TOGETHER = [path for path in DIALOGUES if "# together" not in path.read_text()]
"""Without those that are about what arrives in one packet."""


@pytest.mark.parametrize("path", NOT_TOGETHER, ids=lambda path: path.stem)
async def test_dialogue_octet_by_octet(path: Path, tmp_path: Path) -> None:
    await play(Dialogue.read(path), tmp_path, piecewise=True)
