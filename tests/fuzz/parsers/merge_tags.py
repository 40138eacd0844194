"""Merge tags: what is not a tag stays as it is, and what is filled in stays a value."""

from mtaframe import Field, Message, Private, Variable, parts
from mtaframe_plugins.merge_tags.dialects import BRACES, TAGS, Literal, Places
from mtaframe_plugins.merge_tags.header_places import Run, runs
from mtaframe_plugins.merge_tags.html_places import html_places
from mtaframe_plugins.merge_tags.language import LANGUAGE
from mtaframe_plugins.merge_tags.plain_places import plain_places
from mtaframe_plugins.merge_tags.settings import Style
from mtaframe_plugins.merge_tags.template import Template
from mtaframe_plugins.merge_tags.text import OverspentError, TemplateError, Text, TooLargeError, Values
from mtaframe_plugins.merge_tags.variables import read
from tests.fuzz.parser import Parser

STYLE = Style("tags", "keep", 100_000, 1000)


def html(octets: bytes) -> None:
    text = octets.decode("utf-8", "surrogateescape")
    found = Text(text, TAGS.tags(text), html_places(text))
    assert len(found.literals) == len(found.tags) + 1
    pieces = [f"{literal}{tag}" for literal, (_, _, tag) in zip(found.literals, found.tags, strict=False)]
    assert "".join(pieces) + found.literals[-1] == text
    assert found.filled(Values({}, 1000)) is None


def tags(octets: bytes) -> None:
    """Each dialect finds its tags where they stand, one behind the other."""
    text = octets.decode("utf-8", "surrogateescape")
    names = [name for name in text.split("\n", 1)[0].split(" ") if name][:20]
    for dialect in (TAGS, BRACES, LANGUAGE, Literal(names)):
        position = 0
        for start, end, name in dialect.tags(text):
            assert position <= start < end <= len(text)
            assert name in text[start:end]
            position = end


def template(octets: bytes) -> None:
    """Ends in a text or in a refusal that quotes nothing; and a value stays text, unless its author calls it safe."""
    text = octets.decode("utf-8", "replace")
    for places in (html_places, plain_places):
        values = Values({}, 100_000, variables={"a": "<b>canary'\"", "x": (1, Private({"b": None}))}, steps=5_000)
        filled, refusal = _carried_out(text, places, values)
        assert "canary" not in refusal
        assert len(filled) <= 100_000
        if places is html_places and b"safe" not in octets and b"<b>" not in octets:
            assert "<b>canary" not in filled


def _carried_out(text: str, places: Places, values: Values) -> tuple[str, str]:
    try:
        found = LANGUAGE.cut(text, places, "a part")
        return "" if found is None else found.filled(values), ""
    except (OverspentError, TooLargeError, TemplateError) as error:
        return "", str(error)


def header(octets: bytes) -> None:
    """In each dialect; the names of the literal one hold what would else end a token."""
    name, _, value = octets.partition(b":")
    line = name + b":" + value.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n"
    field = Field(name.decode("ascii", "replace"), line)
    for dialect in (TAGS, BRACES, Literal([":NAME", "<%NAME%>"])):
        found = runs(field, dialect)
        if found:
            assert "".join(run.raw for run in found) == field.value
        assert "\n" not in _filled(found, 'a", <b@evil.example>, c@evil.example\r\n(x')


def _filled(found: list[Run], value: str) -> str:
    values = Values(dict.fromkeys(("NAME", ":NAME", "<%NAME%>"), value), 100_000)
    texts = [(run, None if run.text is None else run.text.filled(values)) for run in found]
    return "".join(run.raw if text is None else run.encoded(text) for run, text in texts)


def merged(octets: bytes) -> None:
    """Values can't bring a field, a part or another address. A NUL can't come so far: reception refuses it."""
    if b"\0" in octets:
        return
    message = Message.parse(octets)
    hostile = '"x" <evil@evil.example>,\r\nBcc: y\r\n\r\n--B\r\nContent-Type: text/html\r\n'
    values: Private[Variable] = Private({"NAME": hostile, "A": "\n.\n", "B": "é"})
    try:
        filled = Template(message, TAGS).merged(message, values, STYLE)
    except (TooLargeError, TemplateError):  # the latter where the domain in From would be another one
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

_LANGUAGE = (
    b"{{ a }}",
    b"{{",
    b"}}",
    b"{%",
    b"%}",
    b"{#",
    b"#}",
    b"{% raw %}",
    b"{% endraw %}",
    b"{% for i in x %}",
    b"{% endfor %}",
    b"{% if a %}",
    b"{% endif %}",
    b"{% set b = a %}",
    b"|replace(",
    b"|join(",
    b"|tojson",
    b"range(9)",
    b" ~ ",
    b" * 9",
    b"[a, a]",
    b"-",
    b"\\",
)

PARSERS = [
    Parser("merge_tags", tags, (*_LANGUAGE, b"[NAME]", b"{{{a}}}", b"%a% -a-\n"), longest=256),
    Parser("merge_template", template, (*_LANGUAGE, *_HTML), longest=256),
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
            b"{{NAME}}",
            b":NAME",
            b"<%NAME%>",
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
