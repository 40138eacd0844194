"""A message as octets: unchanged octets stay unchanged."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtaframe.message import Message, field_octets, has_bare_line_end

LINES = st.lists(st.text("aB:- \t\x7fé", max_size=12).map(str.encode), max_size=8).map(b"\r\n".join)


def parse(*lines: str) -> Message:
    return Message.parse("\r\n".join(lines).encode())


def test_header_section_and_body_are_apart():
    mail = parse("From: a", "Subject: one", " two", "", "body", "")
    assert [(f.name, f.value) for f in mail.fields] == [("From", "a"), ("Subject", "one two")]
    assert mail.body == b"body\r\n"


@given(LINES)
def test_nothing_is_lost(raw):
    mail = Message.parse(raw)
    assert mail.raw in (raw, mail.header + b"\r\n" + raw[len(mail.header) :])
    assert mail.is_sound_header
    assert mail.size == len(mail.raw)
    assert Message.parse(mail.raw) == mail or not mail.header


def test_a_missing_empty_line_is_put_in_before_the_first_line_that_is_no_field():
    mail = parse("From: a", "no field here", "To: b", "")
    assert mail.header == b"From: a\r\n"
    assert mail.raw == b"From: a\r\n\r\nno field here\r\nTo: b\r\n"


@pytest.mark.parametrize("line", ["From someone Mon Jan  1 00:00:00 2026", ">From someone"])
def test_an_mbox_line_on_top_is_dropped(line):
    assert parse(line, "To: b", "", "x").header == b"To: b\r\n"


@pytest.mark.parametrize("line", ["From : a@example.com", "From \t: a@example.com"])
def test_a_from_field_with_a_blank_before_its_colon_is_no_mbox_line(line):
    assert parse(line, "To: b", "", "x").first("From") == "a@example.com"


def test_a_body_alone_is_no_header():
    assert parse("", "body") == Message(b"", b"body")


def test_fields_are_found_without_case_and_in_order():
    mail = parse("X-a: 1", "x-A: 2", "", "")
    assert mail.first("X-A") == "1"
    assert [f.value for f in mail.all("x-a")] == ["1", "2"]
    assert mail.first("X-B") is None


def test_fields_go_on_top_at_the_end_and_away():
    mail = parse("B: 2", "Bcc: secret", " more", "bcc: again", "", "x")
    assert mail.prepend("A", "1").append("C", "3").without("Bcc").raw == b"A: 1\r\nB: 2\r\nC: 3\r\n\r\nx"
    assert mail.without("D") is mail
    assert mail.prepend("A", "1").body is mail.body


@pytest.mark.parametrize("value", ["a\r\nBcc: b", "a\nb", "a\rb", "a\0", "a\r\n"])
def test_a_value_cannot_become_another_field(value):
    with pytest.raises(ValueError, match="Subject"):
        field_octets("Subject", value)


def test_a_value_may_be_folded():
    assert field_octets("A", "b\r\n c\r\n\td") == b"A: b\r\n c\r\n\td\r\n"


@pytest.mark.parametrize("name", ["", "A B", "A:", "Ä", "A\r\nB"])
def test_a_name_must_be_one(name):
    with pytest.raises(ValueError, match="name"):
        field_octets(name, "x")


@pytest.mark.parametrize(
    ("octets", "bare"),
    [
        (b"a\r\nb\r\n", False),
        (b"a\nb", True),
        (b"a\rb", True),
        (b"\r\r\n", True),
        (b"\n\r", True),
        (b"", False),
        (b"a\rb\nc", True),
        (b"\r\na\rb\n\r\n", True),
    ],
)
def test_bare_line_ends_are_found(octets, bare):
    assert has_bare_line_end(octets) is bare


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\xff\0"])).map(b"".join), st.integers(1, 4))
def test_bare_line_ends_are_found_wherever_a_piece_ends(octets, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mtaframe.message._PIECE", piece)
        expected = re.search(rb"(?<!\r)\n|\r(?!\n)", octets) is not None
        assert has_bare_line_end(octets) is has_bare_line_end(bytearray(octets)) is expected


def test_octets_beyond_ascii_survive_a_field():
    raw = b"Subject: caf\xe9\r\n"
    field = Message(raw, b"").fields[0]
    assert field_octets("Subject", field.value) == raw


NAMES = st.sampled_from(["A", "a", "B", "C-d"])
CHANGES = st.lists(st.tuples(st.sampled_from(["prepend", "append", "without", "body", "values"]), NAMES), max_size=6)


@given(st.lists(st.tuples(NAMES, st.sampled_from(["x", "y\r\n z"])), max_size=5), CHANGES, st.booleans())
def test_what_is_known_of_a_header_section_is_what_it_holds_after_any_changes(lines, changes, is_read):
    """Fields are taken apart once: what is carried along must be what would be found."""
    message = Message("".join(f"{name}: {value}\r\n" for name, value in lines).encode(), b"body\r\n")
    for what, name in changes:
        if is_read:
            message.first(name)
        if what in ("prepend", "append"):
            message = getattr(message, what)(name, "new")
        elif what == "without":
            message = message.without(name)
        elif what == "body":
            message = message.with_body(b"other\r\n")
        else:
            message = message.with_values(dict.fromkeys(message.all(name), "changed"))
        anew = Message(message.header, message.body)
        assert message.fields == anew.fields
        for each in ("A", "B", "C-d", "none"):
            assert (message.all(each), message.first(each)) == (anew.all(each), anew.first(each))


def test_a_field_at_the_end_is_known_without_another_look():
    mail = parse("From: a", "to: b", "", "x")
    assert mail.first("To") == "b"
    longer = mail.append("To", "c").append("X", "1")
    assert [field.value for field in longer.all("To")] == ["b", "c"]
    assert longer == Message.parse(longer.raw)
    assert longer.fields == Message.parse(longer.raw).fields


@pytest.mark.parametrize("taken_apart", [False, True])
@pytest.mark.parametrize(
    ("header", "has"),
    [
        (b"Date: x\r\n", True),
        (b"From: a@example.com\r\ndAtE:\r\n", True),
        (b"From: a@example.com\r\nDate \t: x\r\n", True),
        (b"From: a@example.com\r\n Date: x\r\n", False),
        (b"X-Date: x\r\nSubject: Date: x\r\n", False),
        (b"Dates: x\r\n", False),
        (b"", False),
    ],
)
def test_whether_a_field_is_there_is_told_without_taking_the_header_apart(header, has, taken_apart):
    message = Message(header, b"")
    assert (message.first("Date") is not None) is has
    fresh = Message(header, b"")
    if taken_apart:
        assert fresh.fields is not None
    assert fresh.has("Date") is has


def test_to_tell_that_a_field_is_there_takes_nothing_apart():
    message = Message(b"From: a@example.com\r\nDate: x\r\n", b"")
    assert message.has("From")
    assert message.has("Date")
    assert message._fields is None
