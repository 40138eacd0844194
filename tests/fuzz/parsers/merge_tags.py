"""Merge tags: what is not a tag stays as it is, and what is filled in stays a value."""

from mtaframe import Field, Message, parts
from mtaframe_plugins.merge_tags.header_places import Run, runs
from mtaframe_plugins.merge_tags.html_places import html_places
from mtaframe_plugins.merge_tags.template import template
from mtaframe_plugins.merge_tags.text import Text, TooLargeError, Values
from mtaframe_plugins.merge_tags.variables import read
from tests.fuzz.parser import Parser


def html(octets: bytes) -> None:
    text = octets.decode("utf-8", "surrogateescape")
    written_at = html_places(text)
    found = Text(text, written_at)
    assert len(found.literals) == len(found.tags) + 1
    assert (
        "".join(f"{literal}[{name}]" for literal, (name, _) in zip(found.literals, found.tags, strict=False))
        + (found.literals[-1])
        == text
    )
    assert found.filled(Values({}, 1000)) is None


def header(octets: bytes) -> None:
    name, _, value = octets.partition(b":")
    field = Field(
        name.decode("ascii", "replace"), name + b":" + value.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n"
    )
    found = runs(field)
    if found:
        assert "".join(run.raw for run in found) == field.value
    assert "\n" not in _filled(found, 'a", <b@evil.example>, c@evil.example\r\n(x')


def _filled(found: list[Run], value: str) -> str:
    values = Values({"NAME": value}, 100_000)
    texts = [(run, run.text.filled(values)) for run in found]
    return "".join(run.raw if text is None else run.encoded(text) for run, text in texts)


def merged(octets: bytes) -> None:
    """Values can't bring a field, a part or another address. A NUL can't come so far: reception refuses it."""
    if b"\0" in octets:
        return
    message = Message.parse(octets)
    hostile = '"x" <evil@evil.example>,\r\nBcc: y\r\n\r\n--B\r\nContent-Type: text/html\r\n'
    try:
        filled = template(message).merged(message, {"NAME": hostile, "A": "\n.\n", "B": "é"}, 100_000)
    except TooLargeError:
        return
    assert Message.parse(filled.raw) == filled
    names = [field.name for field in message.fields]
    added = [field.name.lower() for field in filled.fields if field.name not in names]
    assert set(added) <= {"mime-version", "content-transfer-encoding", "content-type"}
    assert [field.name for field in filled.fields][: len(names)] == names
    assert [part.content_type for part in parts(filled)] == [part.content_type for part in parts(message)]


def variables(octets: bytes) -> None:
    value = octets.replace(b"\r", b"").replace(b"\n", b"")
    try:
        found = read((Field("X-Merge-Vars", b"X-Merge-Vars: " + value + b"\r\n"),))
    except ValueError:
        return
    for values in (found.everybody, *found.own.values()):
        for name, filling in values.items():
            assert name.isascii()
            assert name.isidentifier()
            assert isinstance(filling, str)
            filling.encode()


_HTML = (
    b"[NAME]",
    b'<a href="',
    b"<a href=",
    b"<script>",
    b"</script>",
    b"<style>",
    b"</style>",
    b"<!--",
    b"-->",
    b"<!--[if",
    b"onclick=",
    b' style="',
    b"'",
    b'"',
    b">",
    b"<",
)

PARSERS = [
    Parser("merge_html", html, _HTML, longest=256),
    Parser(
        "merge_header",
        header,
        (
            b"[NAME]",
            b"Subject:",
            b"To:",
            b"From:",
            b"List-Unsubscribe:",
            b"<a@b.c>",
            b'"',
            b"(",
            b")",
            b",",
            b"=?utf-8?q?=5BNAME=5D?=",
        ),
        longest=256,
    ),
    Parser(
        "merge_message",
        merged,
        (
            *_HTML,
            b"Subject: [NAME]\r\n",
            b'To: "[NAME]" <a@b.c>\r\n',
            b"Content-Type: text/html\r\n",
            b"Content-Type: multipart/mixed; boundary=B\r\n",
            b"\r\n--B\r\n",
            b"\r\n\r\n",
            b"[A]",
            b"[B]",
        ),
        longest=512,
    ),
    Parser(
        "merge_variables",
        variables,
        (
            b'{"*": {"NAME": "Joe"}}',
            b'"a@b.c": {',
            b'"global":',
            b"1.50",
            b"true",
            b"null",
            b"\\ud800",
            b"NaN",
            b"{",
            b"}",
            b"[",
            b"=?utf-8?b?",
        ),
        longest=256,
    ),
]
