"""What the processes of one server say to each other, and the files that its owner writes.

The other end of a link is ours and speaks ``marshal``, which must not be given octets of strangers: only its framing is
tried here. The control socket is open to its owner alone.
"""

import json
import marshal
import tomllib
from pathlib import Path
from typing import Any

from mtaframe.control import ControlServer
from mtaframe.link import Link
from mtaframe.toml_position import positions
from tests.fuzz.cut import HEAD, pieces
from tests.fuzz.parser import Parser
from tests.fuzz.still import Transport, finished


def link(octets: bytes) -> None:
    """Words, each told by one end, are heard by the other one in order, wherever they are cut."""
    told = octets[HEAD:].split(b"\n")
    sent = Transport()
    heard: list[bytes] = []
    speaker, listener = Link({}), Link({"word": heard.append})
    speaker.connection_made(sent)  # type: ignore[arg-type]
    listener.connection_made(Transport())  # type: ignore[arg-type]
    for word in told:
        speaker.tell("word", word)
    for piece in pieces(octets[:HEAD], bytes(sent.written)):
        listener.data_received(piece)
    assert heard == told
    assert not listener._input


def cut_off(octets: bytes) -> None:
    """Lengths that promise more than comes are waited for; nothing is heard before it is whole."""
    heard: list[Any] = []
    listener = Link({"word": heard.append})
    listener.connection_made(Transport())  # type: ignore[arg-type]
    frame = marshal.dumps((1, 0, "word", (octets,)))
    whole = len(frame).to_bytes(4, "big") + frame
    for piece in pieces(octets[:HEAD], whole[:-1]):
        listener.data_received(piece)
    assert heard == []
    listener.data_received(whole[-1:])
    assert heard == [octets]


async def _echo(name: str, arguments: dict[str, Any]) -> Any:
    return arguments.get("value", name)


_SERVER = ControlServer(Path("unused"), _echo)


def control(octets: bytes) -> None:
    """A line, one JSON object back."""
    answer = finished(_SERVER._answer(octets))
    assert isinstance(answer, bytes)
    assert b"\n" not in answer
    told = json.loads(answer)
    assert told.keys() in ({"value"}, {"error"})


def _places(value: object, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    found: set[tuple[str | int, ...]] = {path} if path else set()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found |= _places(inner, (*path, key))
    return found


def toml(octets: bytes) -> None:
    """Every key and element of what tomllib reads has its line."""
    try:
        text = octets.decode()
        content = tomllib.loads(text)
    except (ValueError, RecursionError):
        return
    found = positions(text)
    assert _places(content) <= found.keys()
    lines = text.count("\n") + 1
    assert all(1 <= line <= lines for line in found.values())


PARSERS = [
    Parser("link", link, (b"\n", b"\xff\xff\xff\xff"), longest=128),
    Parser("link_cut", cut_off, longest=128),
    Parser(
        "control",
        control,
        (b'{"call": "x"', b', "arguments": {', b'"value": ', b"}", b"[", b"null", b"\\ud800", b"1e999", b"NaN"),
        longest=128,
    ),
    Parser(
        "toml_position",
        toml,
        (
            b"[a]\n",
            b"[[a]]\n",
            b"a.b = ",
            b'"""',
            b"'''",
            b"[1, 2]",
            b"{a = 1, b = [2]}",
            b"#",
            b'\\"',
            b"\r\n",
            b" = 1\n",
        ),
        longest=256,
    ),
]
