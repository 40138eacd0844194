"""DKIM: canonical forms as dkimpy makes them, and the author's domain."""

from dkim.canonicalization import Relaxed, compress_whitespace, unfold_header_value

from mtaframe import Message
from mtaframe.author import a_labels, domains
from mtaframe_plugins.dkim.author import author_domain
from mtaframe_plugins.dkim.signature import Layouts, relaxed_body, relaxed_field, signed_octets
from tests.fuzz.parser import Parser


def body(octets: bytes) -> None:
    whole = octets if not octets or octets.endswith(b"\r\n") else octets + b"\r\n"
    assert relaxed_body(octets) == Relaxed.canonicalize_body(whole)
    assert relaxed_body(relaxed_body(octets)) == relaxed_body(octets)


_LAYOUTS = Layouts(("from", "subject"), ("to", "x"))


def header(octets: bytes) -> None:
    """Octets that dkimpy, and nobody else, takes for white space are none (RFC 6376 §2.8)."""
    fields = Message.parse(octets).fields
    for field in fields:
        name, _, value = field.raw.partition(b":")
        canonical = compress_whitespace(unfold_header_value(value)).strip(b" ")
        assert relaxed_field(field.raw) == name.rstrip(b" \t").lower() + b":" + canonical + b"\r\n"
        if not set(field.raw) & set(b"\v\f"):
            assert [relaxed_field(field.raw).partition(b":")[::2]] == Relaxed.canonicalize_headers([(name, value)])
    layout = _LAYOUTS.layout(fields)
    assert layout == Layouts(("from", "subject"), ("to", "x")).layout(fields)
    names = [fields[place].name.lower() for place in layout.order]
    assert sorted((*names, "from", "subject")) == sorted(layout.names)
    assert layout.tag.replace("\r\n ", "") == f"h={':'.join(layout.names)};"
    assert signed_octets(fields, layout).count(b"\r\n") == len(layout.order)


def author(octets: bytes) -> None:
    message = Message(b"From: " + octets.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n", b"")
    found = domains(message.fields[0].value)
    for domain in found:
        assert domain
        assert not domain.endswith(".")
        assert not domain[:1].isspace()
    author = author_domain(message)
    if author is not None:
        assert author.isascii()
        assert author == a_labels(author) == author.lower()
    if len(found) < 2:
        assert author == next(map(a_labels, found), None)


PARSERS = [
    Parser("dkim_body", body, (b"\r\n", b" \r\n", b"\t", b"  ", b"\r\n\r\n", b"\r", b"\n", b" \n"), longest=256),
    Parser(
        "dkim_header",
        header,
        (b"From: ", b"Subject: ", b"To :", b"x:", b"\r\n ", b"\r\n\t", b"\r\n", b"  ", b"\x0b"),
        longest=256,
    ),
    Parser(
        "dkim_author",
        author,
        (b"<a@example.com>", b'"', b"(", b")", b"<", b">", b"@", b",", b";", b":", b"\\", b"\xc3\xa9", b"[", b"]"),
        longest=128,
    ),
]
