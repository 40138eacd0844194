"""What each parser does with much input, and the shapes of it that could make it slow."""

import marshal
from collections.abc import Callable
from contextlib import suppress

from mtaframe import Field, Message, parts, with_texts
from mtaframe.address import Address
from mtaframe.author import domains
from mtaframe.encoded_word import decoded_value, encoded_phrase, encoded_value, folded_value
from mtaframe.link import Link
from mtaframe.logs import pairs
from mtaframe.message import has_bare_line_end
from mtaframe.mime import seven_bit
from mtaframe.parameter import parameters, with_parameter
from mtaframe.reply import Reply, Stage, for_client
from mtaframe.smtp_client.transaction import _octets
from mtaframe.smtp_client.wire import Wire
from mtaframe.smtp_server.commands import Command, parse_line, parse_mail, parse_rcpt
from mtaframe.smtp_server.forwarding import XCLIENT, attributes
from mtaframe.smtp_server.framing import Framing
from mtaframe.toml_position import positions
from mtaframe.xtext import decoded
from mtaframe_plugins.dkim.author import author_domain
from mtaframe_plugins.dkim.signature import Layouts, relaxed_body, signed_octets
from mtaframe_plugins.merge_tags.dialects import BRACES, TAGS, Literal
from mtaframe_plugins.merge_tags.header_places import runs
from mtaframe_plugins.merge_tags.html_places import html_places
from mtaframe_plugins.merge_tags.language import LANGUAGE
from mtaframe_plugins.merge_tags.plain_places import csv_places, json_places, plain_places
from mtaframe_plugins.merge_tags.text import TemplateError, Text
from mtaframe_plugins.merge_tags.variables import read as variables
from mtaframe_plugins.spam_filter.attachments import holds_program
from mtaframe_plugins.spam_filter.checks import failures
from mtaframe_plugins.spam_filter.rspamd import UnusableError
from mtaframe_plugins.spam_filter.rspamd import read as opinion
from mtaframe_plugins.spam_filter.settings import CheckSettings
from tests.fuzz.parsers import authentication, inside
from tests.fuzz.still import LOOP, Transport, running

Work = Callable[[bytes], object]


def framed_lines(octets: bytes) -> None:
    framing = Framing(512)
    for at in range(0, len(octets), 1400):
        framing.input += octets[at : at + 1400]
        while framing.is_there():
            framing.take_line()


def framed_message(octets: bytes) -> None:
    framing = Framing(512)
    framing.expect_message(10_000_000)
    for at in range(0, len(octets), 1400):
        framing.input += octets[at : at + 1400]
        framing.is_there()
    framing.input += b"\r\n.\r\n"
    assert framing.is_there()
    framing.take_message()


def framed_message_too_big(octets: bytes) -> None:
    framing = Framing(512)
    framing.expect_message(1000)
    for at in range(0, len(octets), 100):
        framing.input += octets[at : at + 100]
        framing.is_there()


def commands(octets: bytes) -> None:
    """Lines are short, so many of the longest are taken."""
    for at in range(0, len(octets), 480):
        for verb in (b"MAIL FROM:<", b"RCPT TO:<"):
            command = parse_line(verb + octets[at : at + 480])
            if isinstance(command, Command):
                parse_mail(command.argument, (), 1000)
                parse_rcpt(command.argument, (), smtputf8=True)


def forwarded(octets: bytes) -> None:
    attributes(octets.decode("latin-1"), XCLIENT)


def address(octets: bytes) -> None:
    Address.parse(octets.decode("latin-1"))


def escaped(octets: bytes) -> None:
    decoded(octets.decode("latin-1"))


def replies(octets: bytes) -> None:
    with running():
        wire = Wire(LOOP)  # type: ignore[arg-type]
        wire.connection_made(Transport())  # type: ignore[arg-type]
        wire.expect(1 << 30)
        for at in range(0, len(octets), 100):
            wire.data_received(octets[at : at + 100])


def reply(octets: bytes) -> None:
    for_client(Reply.parse(550, octets.decode("latin-1")), Stage.RCPT).octets  # noqa: B018


def message(octets: bytes) -> None:
    found = Message.parse(octets)
    assert found.fields is not None
    found.without("x-a", "subject").prepend("A", "b").first("received")
    has_bare_line_end(octets)
    _octets(found)


def mime(octets: bytes) -> None:
    found = Message.parse(octets)
    for part in parts(found):
        assert (part.text, part.octets, part.filename) is not None
    seven_bit(found)


def text_parts(octets: bytes) -> None:
    found = Message.parse(octets)
    with_texts(found, {part: "é" for part in parts(found) if part.content_type == "text/plain"})


def words(octets: bytes) -> None:
    text = octets.decode("utf-8", "surrogateescape")
    decoded_value(text)
    folded_value("Subject", encoded_value(text))
    folded_value("To", encoded_phrase(text))


def parameter(octets: bytes) -> None:
    parameters(octets.decode("latin-1"))
    with_parameter(octets.decode("latin-1"), "charset", "utf-8")


def log_line(octets: bytes) -> None:
    pairs(octets.decode("latin-1"))


def dkim(octets: bytes) -> None:
    found = Message.parse(octets)
    relaxed_body(octets)
    signed_octets(found.fields, Layouts(("from", "x-a"), ("subject",)).layout(found.fields))
    author_domain(found)


def author(octets: bytes) -> None:
    domains(octets.decode("utf-8", "surrogateescape"))


def html(octets: bytes) -> None:
    text = octets.decode("utf-8", "surrogateescape")
    Text(text, TAGS.tags(text), html_places(text))


def merged_header(octets: bytes) -> None:
    for name in ("To", "Subject", "List-Unsubscribe"):
        runs(Field(name, name.encode() + b": [A]" + octets + b"\r\n"), TAGS)


def templates(octets: bytes) -> None:
    """Also what comes before the limit on the length of tags."""
    text = octets.decode("utf-8", "surrogateescape")
    for places in (html_places, plain_places, csv_places, json_places):
        with suppress(TemplateError):
            LANGUAGE.cut(text, places, "a part")
    for dialect in (TAGS, BRACES, Literal(["-a-", "-a-b", "{{"])):
        dialect.cut(text, plain_places, "a part")


_LANGUAGE = (b"{{ a }}", b"{{", b"{%", b"{#", b"{% raw %}", b"{{ '", b"{# #}")
_CHECKS = CheckSettings(**dict.fromkeys(CheckSettings.model_fields, "reject"))


def spam(octets: bytes) -> None:
    failures(Message.parse(octets), _CHECKS)
    holds_program(Message(b"Content-Type: application/zip\r\n", octets))


def json_objects(octets: bytes) -> None:
    """As rspamd, an operator and a client's header field send them."""
    for read in (opinion, lambda text: variables((Field("X", b"X: " + text + b"\r\n"),))):
        with suppress(ValueError, UnusableError):
            read(octets)
    inside.control(octets)


def linked(octets: bytes) -> None:
    frame = marshal.dumps((1, 0, "word", (octets,)))
    listener = Link({"word": lambda heard: None})
    whole = len(frame).to_bytes(4, "big") + frame
    for at in range(0, len(whole), 100):
        listener.data_received(whole[at : at + 100])


def signed_in(octets: bytes) -> None:
    authentication.exchange(b"PLAIN " + octets)
    authentication.exchange(b"LOGIN\n" + octets)


def toml(octets: bytes) -> None:
    positions(octets.decode("latin-1"))


_MULTIPART = b"Content-Type: multipart/mixed; boundary=B\r\n\r\n"
_LINE_ENDS = (b"\r", b"\n", b"\r\n", b".\r\n", b"..\r\n", b"\r\n.", b"\r\n.\n", b"x", b"\n.", b"\r\n.\r")
_HEADERS = (b"X-A: b\r\n", b"X-A:\r\n ", b"A :\t", b"From ", b"x" * 70 + b"\r\n", b" \t", b"Received: x\r\n", b":")
_SPECIALS = tuple(bytes([octet]) for octet in b'"\\()<>,;:-[@')
_ADDRESSES = (*_SPECIALS, b"<>", b"a@", b'\\"', b"a.", b"@a,", b"\xc3\xa9", b"a-", b"a.a-")
_DELIMITERS = (b"\r\n--B", b"\r\n--B\r\n", b"\r\n--B--", b"--", b"\r\n--Bx\r\n" + _MULTIPART, _MULTIPART)
_PARTS = (b"\r\n--B\r\n\r\nx", b"\r\n--B\r\n" + _MULTIPART, b"\r\n--B\r\nContent-Type: text/plain\r\n\r\n")
_WORDS = (b"=?utf-8?q?=FF?= ", b"=?", b"=?a?q?", b"?=", b" ", b"\xc3\xa9", b"\xe9", b"=?utf-8?b?A", b"x", b'"', b"\t")
_PARAMETERS = (b";", b'"', b'; a="', b";a*0*=", b"; a*=b", b"\\", b" ", b"=", b"a=", b"*", b";a*1=%", b"; a=b")
_TAGS = (
    b"<",
    b"<a ",
    b"<a href=",
    b"<a b='",
    b"<!--",
    b"<script>",
    b"[A]",
    b"<a [A]",
    b"</",
    b"<style>[",
    b" a=b",
    b"<a/",
)

SHAPES: dict[Work, tuple[int, tuple[bytes, ...]]] = {
    framed_lines: (60_000, _LINE_ENDS),
    framed_message: (300_000, _LINE_ENDS),
    framed_message_too_big: (60_000, _LINE_ENDS),
    commands: (10_000, (*_ADDRESSES, b" ", b"\t", b" A=", b"+2B")),
    forwarded: (30_000, (b" NAME=a", b" ", b"NAME=", b"+41", b" ADDR=IPv6:::1", b":")),
    address: (30_000, (*_ADDRESSES, b"a")),
    escaped: (60_000, (b"+2B", b"+", b"a", b"+2b")),
    replies: (30_000, (b"250-\r\n", b"250 ok\r\n", b"\r", b"2", b"250 \r\r\n", b"250-x\n")),
    reply: (60_000, (b"5.1.1 ", b"\n5.1.1 x", b" ", b"\n", b"\x1b", b"5.", b"5.1.1", b"\xa0")),
    message: (100_000, (*_HEADERS, *_LINE_ENDS)),
    mime: (40_000, (*_DELIMITERS, b"\xe9", b"=", b"=\r\n", b" \t", b"Content-Type: text/plain; a=", *_HEADERS)),
    text_parts: (40_000, _PARTS),
    words: (15_000, _WORDS),
    parameter: (20_000, _PARAMETERS),
    log_line: (30_000, (b" a=b", b" a", b"=", b" ", b" a=", b"\n a=b", b"\n")),
    dkim: (60_000, (*_HEADERS, b" ", b" \r\n", b"\t ", b"\r\n", b"From: <a@b.c>,\r\n")),
    author: (20_000, (*_ADDRESSES, b"<a@b.c>,", b"((", b"a@b,", b"@\xc3\xa9.")),
    html: (20_000, _TAGS),
    templates: (
        20_000,
        (b"{{ a }}", b"{{", b"{%", b"{#", b"{% raw %}", b"{{ '", b"-a-", b"-a", b'"', b"[A]", b"{{{", b"{# #}", b"a,"),
    ),
    merged_header: (10_000, (*_ADDRESSES, b"[A]", b"=?utf-8?q?x?=", b"=?", b"[")),
    spam: (40_000, (*_HEADERS, b"PK\x03\x04", b"PK", b"Date: 1 ", b"Message-ID: <", b"@", b".exe", b"MZ")),
    json_objects: (
        20_000,
        (b"[", b'{"a":', b'"', b"\\ud800", b"1", b" ", b'{"a@b.c": {"A": "b"}, ', b"1e", b"=?utf-8?b?e30?= "),
    ),
    linked: (100_000, (b"x", b"\0\0\0\1")),
    signed_in: (12_000, (b"=", b"AAAA", b"A", b" ", b"\n", b"*")),
    toml: (
        10_000,
        (b"a = 1\n", b"[a]\n", b"[[a]]\n", b"# x\n", b"a = [1, 2]\n", b'a = """x"""\n', b"\n", b"a = {b = 1}\n"),
    ),
}
"""The octets of the smaller input, and what it is made of."""
PREFIXED: dict[Work, bytes] = {mime: _MULTIPART, text_parts: _MULTIPART}
"""What stands before the shape."""
