"""MIME parts by span: bounded, in order, and what is encoded anew decodes to what it was.

A NUL can't come so far: reception refuses it. Lines are too long beyond 120 octets here, for inputs are short.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from mtaframe import mime
from mtaframe.charset import without_surrogates
from mtaframe.message import Message, has_bare_line_end
from mtaframe.mime import MAX_DEPTH, MAX_PARTS, Part, has_long_line, parts, seven_bit, with_texts
from tests.fuzz.parser import Parser

_LIMIT = 120


@contextmanager
def _short_lines() -> Iterator[None]:
    before, mime.LINE_LIMIT = mime.LINE_LIMIT, _LIMIT
    try:
        yield
    finally:
        mime.LINE_LIMIT = before


def spans(octets: bytes) -> None:
    message = Message.parse(octets)
    found = parts(message)
    assert 0 < len(found) <= MAX_PARTS
    assert (found[0].start, found[0].end) == (0, len(message.body))
    before = 0
    for part in found:
        assert part.start >= before
        assert part.end <= len(message.body)
        assert len(part.enclosing) <= MAX_DEPTH
        assert part.section.is_sound_header
        assert len(part.content) <= len(message.body)
        if part.header_at is not None:
            assert message.body.startswith(part.section.header, part.header_at)
            assert part.header_at >= before
        before = part.start
        text, decoded = part.text, part.octets
        assert text is None or part.content_type.startswith("text/")
        assert decoded is None or len(decoded) <= len(part.content)
        assert part.charset
        assert part.encoding == part.encoding.lower()
        assert (part.disposition, part.filename) is not None


def seven_bits(octets: bytes) -> None:
    if b"\0" in octets:
        return
    message = Message.parse(octets)
    with _short_lines():
        result = seven_bit(message)
        if result is not message:
            _is_the_same(message, result)


def _is_the_same(message: Message, result: Message) -> None:
    for old, new in zip(parts(message), parts(result), strict=True):
        assert old.content_type == new.content_type
        assert old.is_sealed == new.is_sealed
        if old.is_multipart:
            continue
        assert old.octets == new.octets
        if old.encoding != new.encoding:
            assert new.content.isascii()
            assert not has_long_line(new.content)
            assert not has_bare_line_end(new.content)


def seven_bits_again(octets: bytes) -> None:
    """What was made fit for every next hop stays as it is."""
    if b"\0" in octets:
        return
    with _short_lines():
        result = seven_bit(Message.parse(octets))
        assert seven_bit(result).raw == result.raw


def texts(octets: bytes) -> None:
    """What is put into the text parts is read out of them again."""
    if b"\0" in octets:
        return
    message = Message.parse(octets)
    found = parts(message)
    wanted: dict[Part, str] = {}
    for number, part in enumerate(found):
        text = part.text
        if text is not None and not part.is_sealed:
            wanted[part] = f"{text}\n--{number}é€\n"
    changed = with_texts(message, wanted)
    if not wanted:
        assert changed is message
        return
    again = parts(changed)
    assert [part.content_type for part in again] == [part.content_type for part in found]
    for old, new in zip(found, again, strict=True):
        if old in wanted:
            meant = wanted[old].replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
            assert new.text == (meant if new.charset == old.charset else without_surrogates(meant))
        elif not old.is_multipart:
            assert (old.section.header, old.content) == (new.section.header, new.content)


_WORDS = (
    b"Content-Type: multipart/mixed; boundary=B\r\n",
    b'Content-Type: multipart/digest; boundary="C"\r\n',
    b"Content-Type: multipart/signed; boundary=S\r\n",
    b"Content-Type: text/plain; charset=iso-8859-1\r\n",
    b"Content-Type: text/html; charset=utf-8\r\n",
    b"Content-Type: message/rfc822\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"Content-Transfer-Encoding: 8bit\r\n",
    b"Content-Disposition: attachment; filename=a\r\n",
    b"DKIM-Signature: x\r\n",
    b"\r\n--B\r\n",
    b"\r\n--B--\r\n",
    b"\r\n--C\r\n",
    b"\r\n--C--\r\n",
    b"\r\n\r\n",
    b"--",
    b"\xc3\xa9",
    b"\xe9",
    b"=C3=A9",
    b"=\r\n",
    b"x" * 121,
)

PARSERS = [
    Parser("mime_parts", spans, _WORDS, longest=512),
    Parser("mime_seven_bit", seven_bits, _WORDS, longest=640, slow=seven_bits_again),
    Parser("mime_texts", texts, _WORDS, longest=512),
]
