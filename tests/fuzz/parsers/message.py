"""A message as octets: whatever is done to it, what was not changed keeps every octet."""

import re

from mtaframe.message import Message, field_octets, has_bare_line_end
from mtaframe.smtp_server.line_ends import normalized
from tests.fuzz.parser import Parser

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_MBOX = re.compile(rb">?From (?![ \t]*:)[^\r\n]*\r\n")


def message(octets: bytes) -> None:
    found = Message.parse(octets)
    header, body = found.header, found.body
    mbox = _MBOX.match(octets)
    rest = octets[mbox.end() :] if mbox else octets
    assert rest in (header + b"\r\n" + body, header + body)
    assert found.raw == header + b"\r\n" + body
    assert found.size == len(found.raw)
    assert found.is_sound_header
    assert Message.parse(found.raw) == found
    assert Message.parse(bytearray(octets)) == found == Message.parse(octets, is_bounded=True)
    fields = found.fields
    assert b"".join(field.raw for field in fields) == header
    assert not has_bare_line_end(header)
    for field in fields:
        assert field.name.isascii()
        assert "\r" not in field.value
        assert field.value == field.value.strip()
    on_top = found.prepend("X-Fuzz", "1")
    assert on_top.raw == b"X-Fuzz: 1\r\n" + found.raw
    assert Message.parse(on_top.raw).fields == on_top.fields == (on_top.fields[0], *fields)
    assert found.append("X-Fuzz", "1").body is body
    assert on_top.without("x-fuzz") == found.without("X-Fuzz")
    if fields:
        name = fields[-1].name
        kept = found.without(name)
        assert kept.fields == tuple(field for field in fields if field.name.lower() != name.lower())
        assert kept.body is body
        assert found.all(name.upper())[-1] == fields[-1]
        changed = found.with_values({fields[-1]: "changed"})
        meant = [f"{f.name}: changed\r\n".encode() if f == fields[-1] else f.raw for f in fields]
        assert [f.raw for f in changed.fields] == meant


def line_ends(octets: bytes) -> None:
    """Found and mended as one does who looks at every octet. A NUL is refused, so it can stand for CR LF here."""
    assert has_bare_line_end(octets) == (_BARE.search(octets) is not None)
    if b"\0" in octets:
        return
    lines = octets.replace(b"\r\n", b"\0").replace(b"\r", b"\n")
    for is_stuffed in (False, True):
        meant = (lines.replace(b"\n.", b"\n") if is_stuffed else lines).replace(b"\n", b"\r\n").replace(b"\0", b"\r\n")
        assert normalized(bytearray(octets), is_stuffed=is_stuffed) == meant
        assert not has_bare_line_end(meant)


def field(octets: bytes) -> None:
    """A name and a value make exactly one field, or ValueError."""
    name, _, value = octets.decode("utf-8", "surrogateescape").partition("\0")
    try:
        made = field_octets(name, value)
    except ValueError:
        return
    found = Message.parse(made + b"To: x\r\n\r\nbody")
    assert [f.name for f in found.fields] == [name, "To"]
    assert found.fields[0].raw == made
    assert found.body == b"body"
    assert b"\0" not in made


_WORDS = (
    b"\r\n",
    b"\r\n ",
    b"\r\n\t",
    b"\r\n\r\n",
    b"From: ",
    b"From a\r\n",
    b">From a\r\n",
    b"From : ",
    b"Subject:",
    b" :",
    b"X-Fuzz: ",
    b"\n",
    b"\r",
)

PARSERS = [
    Parser("message", message, _WORDS),
    Parser("message_field", field, (*_WORDS, b"Subject\0", b"\0"), longest=128),
    Parser("line_ends", line_ends, (b"\r\n", b"\r", b"\n", b"\r\r\n", b"\r\n\n"), longest=128),
]
