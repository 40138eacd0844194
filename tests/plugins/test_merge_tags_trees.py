"""Generated messages in every dialect: what has no tag keeps its octets, what has one can be read, nothing leaks."""

import base64
import binascii
import email
import email.policy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtaframe import Delivery, Message, Part, Reject, parts
from mtaframe.testing import RecordingMta, deliveries, delivery, envelope, message, recipient
from mtaframe_plugins.merge_tags import MergeTags

TAGS = {"tags": "[A]", "braces": "{{A}}", "literal": "%A%", "templates": "{{ A }}"}
NAMES = {"tags": "A", "braces": "A", "literal": "%A%", "templates": "A"}
CHARSETS = {
    "utf-8": "Jörg € 日本 ж",
    "us-ascii": "plain",
    "iso-8859-1": "Jörg café",
    "iso-8859-15": "Jörg €",
    "koi8-r": "привет",
    "windows-1252": "Jörg – €",
    "shift_jis": "日本語 ﾃｽﾄ",
    "iso-2022-jp": "日本語",
    "euc-kr": "한국어",
    "gb2312": "中文",
    "utf-16": "Jörg 日本 ж",
    "utf-16-le": "Jörg",
}
ENCODINGS = ("7bit", "8bit", "binary", "quoted-printable", "base64", "")
OPAQUE = frozenset({"utf-16", "utf-16-le"})
"""Charsets that can't stand in a message without base64."""

LINES = st.sampled_from(["a line", "", "--B1", "--B1--", "From x", ".", "x" * 70, "=3D=", "two  blanks ", "a\tb"])
VALUES = st.one_of(
    st.text("aZ0 é€ж日<>&\"'\r\n-=.,;:()[]{}%\\\t", max_size=40),
    st.sampled_from(
        ["\r\n--B1\r\nContent-Type: text/html\r\n\r\n<b>evil</b>\r\n--B1--\r\n", "\r\nBcc: e@example.org\r\n\r\nx",
         "\n.\n", "[A]{{A}}%A%{{ A }}", "=?utf-8?q?=0D=0ABcc:_e?=", "x" * 2000, "日" * 400, "--B2", ""]
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Leaf:
    """A part as it is written; ``text`` is None where it is not filled in."""

    kind: str
    raw: bytes
    text: str | None


@dataclass(frozen=True)
class Tree:
    raw: bytes
    leaves: tuple[Leaf, ...]


def encoded(octets: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        return base64.encodebytes(octets).replace(b"\n", b"\r\n")
    if encoding == "quoted-printable":
        return binascii.b2a_qp(octets.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    return octets


@st.composite
def texts(draw: st.DrawFn, tag: str) -> Leaf:
    charset = draw(st.sampled_from(sorted(CHARSETS)))
    kind = draw(st.sampled_from(["text/plain", "text/html", "text/markdown", "text/calendar"]))
    has_tag = draw(st.booleans())
    lines = draw(st.lists(LINES, max_size=4))
    if kind == "text/html":
        lines = [escape(line) for line in lines]
    text = "\r\n".join([*lines, f"{CHARSETS[charset]} {tag if has_tag else ''}!", *lines])
    encoding = draw(st.sampled_from(ENCODINGS))
    if charset in OPAQUE:
        encoding = "base64"
    attached = draw(st.sampled_from(["", "Content-Disposition: attachment; filename=a.txt\r\n", "X-Odd:   y\r\n"]))
    head = f"Content-Type: {kind}; charset={charset}\r\n" + attached
    head += f"Content-Transfer-Encoding: {encoding}\r\n" if encoding else ""
    content = encoded(text.encode(charset), encoding)
    changes = has_tag and kind != "text/calendar"
    return Leaf(kind, head.encode() + b"\r\n" + content, text if changes else None)


@st.composite
def others(draw: st.DrawFn, tag: str) -> Leaf:
    kind = draw(st.sampled_from(["application/pdf", "image/png", "message/rfc822", "application/pgp-signature"]))
    inner = f"Subject: {tag}\r\n\r\n{tag}" if kind == "message/rfc822" else f"{tag}\r\n\x01"
    return Leaf(kind, f"Content-Type: {kind}\r\n\r\n{inner}".encode(), None)


def leaves(tag: str) -> st.SearchStrategy[Leaf]:
    return st.one_of(texts(tag), texts(tag), others(tag))


@st.composite
def trees(draw: st.DrawFn, tag: str, depth: int = 0) -> Tree:
    if depth and (depth > 2 or draw(st.booleans())):
        leaf = draw(leaves(tag))
        return Tree(leaf.raw, (leaf,))
    kind = draw(st.sampled_from(["mixed", "alternative", "related", "signed"]))
    # A boundary of 20 letters is in no content, though the lines of the contents look like other delimiters.
    boundary = f"{depth}{draw(st.integers(0, 10**6))}boundary-of-the-tree"
    inner = draw(st.lists(trees(tag, depth + 1), min_size=1, max_size=3))
    octets = b"".join(b"--" + boundary.encode() + b"\r\n" + one.raw + b"\r\n" for one in inner)
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'.encode()
    found = tuple(leaf for one in inner for leaf in one.leaves)
    if kind == "signed":
        found = tuple(Leaf(leaf.kind, leaf.raw, None) for leaf in found)
    return Tree(head + octets + b"--" + boundary.encode() + b"--\r\nepilogue " + tag.encode(), found)


def plugin(dialect: str) -> MergeTags:
    return MergeTags(MergeTags.Config.model_validate({"dialect": dialect}), RecordingMta())


def shape(original: Message) -> list[str]:
    return [
        one.get_content_type() for one in email.message_from_bytes(original.raw, policy=email.policy.default).walk()
    ]


def read_by_python(part: Part) -> str:
    found = email.message_from_bytes(part.section.header + b"\r\n" + part.content, policy=email.policy.default)
    octets = found.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return lines_of(octets.decode(found.get_content_charset("us-ascii")))


def lines_of(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def simple(found: tuple[Part, ...]) -> Iterator[Part]:
    return (part for part in found if not part.is_multipart)


@pytest.mark.parametrize("dialect", TAGS)
@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data(), VALUES)
def test_a_tree_keeps_all_but_what_is_filled_in(dialect: str, data: st.DataObject, value: str) -> None:
    tag = TAGS[dialect]
    tree = data.draw(trees(tag))
    fields = f"From: a@example.com\r\nTo: {tag} <joe@example.net>\r\nSubject: x {tag}\r\nMIME-Version: 1.0\r\n"
    original = Message.parse(fields.encode() + tree.raw)
    copy = delivery(recipient("joe@example.net", merge_vars={NAMES[dialect]: value}), message=original)
    answer = plugin(dialect).before_sign(copy)
    assert isinstance(answer, Delivery)
    changed = Message.parse(answer.message.raw)
    assert [f.name for f in changed.fields] == [f.name for f in original.fields]
    assert changed.header.isascii()
    assert shape(changed) == shape(original)
    before, after = list(simple(parts(original))), list(simple(parts(changed)))
    assert len(before) == len(after) == len(tree.leaves)
    for leaf, old, new in zip(tree.leaves, before, after, strict=True):
        if leaf.text is None:
            assert new.section.header + b"\r\n" + new.content == leaf.raw
            continue
        added = {"Content-Transfer-Encoding"}
        assert {f.name for f in new.section.fields} - {f.name for f in old.section.fields} <= added
        assert read_by_python(new) == expected(leaf, tag, value)
    assert changed.body.endswith(original.body[original.body.rindex(b"--\r\nepilogue") :])


def expected(leaf: Leaf, tag: str, value: str) -> str:
    text = "".join(character for character in value if character in "\t\r\n" or character >= " ")
    written = escape(text) if leaf.kind == "text/html" else text
    return lines_of((leaf.text or "").replace(tag, written))


# Nothing of one recipient in the copy of another

CANARIES = 300


def canary(number: int, where: str) -> str:
    return f"cny{number:04d}{where}q"


@pytest.mark.parametrize("on_missing", ["keep", "empty"])
@pytest.mark.parametrize("dialect", TAGS)
def test_no_copy_holds_anything_of_anothers(dialect: str, on_missing: str) -> None:
    tag, name = TAGS[dialect], NAMES[dialect]
    every = "{% for i in L %}{{ i }}{% endfor %}{{ O.x|default('-') }}" if dialect == "templates" else ""
    html = f'<p title="{tag}">{tag}</p><a href="https://x.example/?q={tag}">{tag}</a>{every}'
    body = (
        f"--B\nContent-Type: text/plain\n\n{tag} {every}\n--B\nContent-Type: text/html\n\n{html}\n"
        f'--B\nContent-Type: text/csv\nContent-Disposition: attachment; filename="{tag}.csv"\n\na,{tag}\n--B--\n'
    )
    fields: dict[str, str | None] = {
        "To": f"{tag} <list@example.com>",
        "Subject": f"for {tag}",
        "X-Vars": f'{{"who": "{tag}"}}',
        "MIME-Version": "1.0",
        "Content-Type": "multipart/mixed; boundary=B",
    }
    rows = []
    for number in range(CANARIES):
        values: dict[str, object] = {} if number % 7 == 0 else {name: canary(number, "v")}
        if dialect == "templates" and number % 3:
            values |= {"L": [canary(number, "l")], "O": {"x": canary(number, "o")}}
        rows.append((f"{canary(number, 'a')}@example.net", values))
    field = ", ".join(f'"{who}": {json.dumps(values)}' for who, values in rows)
    subject = MergeTags(MergeTags.Config.model_validate({"dialect": dialect, "on_missing": on_missing}), RecordingMta())
    original = message(fields={"X-Merge-Vars": "{" + field + "}", **fields}, body=body)
    taken = subject.on_data(envelope([who for who, _ in rows]), original)
    assert isinstance(taken, tuple)
    mail, waiting = taken
    assert b"cny" not in waiting.raw
    for number, copy in enumerate(deliveries(*mail.recipients, envelope=mail, message=waiting)):
        answer = subject.before_sign(copy)
        assert not isinstance(answer, Reject)
        octets = (answer.message if answer else waiting).raw
        assert octets.count(b"cny") == octets.count(b"cny%04d" % number)
        own = 0 if number % 7 == 0 else 10
        assert octets.count(b"cny") == own + (4 if dialect == "templates" and number % 3 else 0)


@pytest.mark.parametrize("dialect", TAGS)
@settings(deadline=None, max_examples=150)
@given(VALUES)
def test_no_value_brings_a_field_an_address_or_a_parameter_in_any_dialect(dialect: str, value: str) -> None:
    tag = TAGS[dialect]
    fields: dict[str, str | None] = {
        "Subject": f"a {tag} b",
        "From": f'"Shop {tag}" <shop@example.com>',
        "To": f"{tag} <joe@example.net>, {tag} <eve@example.org>",
        "List-Unsubscribe": f"<https://x.example/{tag}>, <{tag}>",
        "X-Other": tag,
        "X-Vars": f'{{"a": "{tag}"}}',
        "MIME-Version": "1.0",
        "Content-Type": "application/pdf",
        "Content-Disposition": f'attachment; filename="{tag}.pdf"',
    }
    original = message(fields=fields, body="x\n")
    copy = delivery(recipient("joe@example.net", merge_vars={NAMES[dialect]: value}), message=original)
    answer = plugin(dialect).before_sign(copy)
    assert isinstance(answer, Delivery)
    again = Message.parse(answer.message.raw)
    assert [f.name for f in again.fields] == [f.name for f in original.fields]
    assert again.header.isascii()
    assert again.body == original.body
    parsed = email.message_from_bytes(again.raw, policy=email.policy.default)
    assert [one.addr_spec for one in parsed["From"].addresses] == ["shop@example.com"]
    assert [one.addr_spec for one in parsed["To"].addresses] == ["joe@example.net", "eve@example.org"]
    assert (parsed.get_content_type(), parsed.get_content_disposition()) == ("application/pdf", "attachment")
