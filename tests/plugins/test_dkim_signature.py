"""Canonicalisation and the signature field: equal to dkimpy's on random input, and in time linear in its size."""

import re
import time
import tracemalloc
from collections.abc import Callable

import pytest
from dkim.canonicalization import Relaxed
from hypothesis import given, settings
from hypothesis import strategies as st

from mtaframe import Field, Message
from mtaframe_plugins.dkim.keys import SigningKey, private_key
from mtaframe_plugins.dkim.signature import LINE, Layouts, relaxed_body, relaxed_field, signatures, signed_octets
from tests.plugins.dkim_oracle import KeyFile, ed25519_key

PIECES = st.sampled_from([b" ", b"\t", b"  ", b" \t", b"a", b".", b"\x0b", b"\x0c", b"\x00", b"\xff", b"\r\n"])
LINES = st.lists(PIECES, max_size=40).map(b"".join)
VALUES = st.lists(st.sampled_from([b" ", b"\t", b"a", b":", b"\xe9", b"\r\n ", b"\r\n\t"]), max_size=30).map(b"".join)


@given(LINES)
@settings(max_examples=500, deadline=None)
def test_bodies_are_canonical_as_dkimpy_has_them(body: bytes) -> None:
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"
    assert relaxed_body(body) == Relaxed.canonicalize_body(body)


@given(st.lists(st.sampled_from([b"\r", b"\n", b" ", b"a", b"\r\n"]), max_size=30).map(b"".join))
@settings(max_examples=300, deadline=None)
def test_bare_line_ends_are_hashed_as_they_are(body: bytes) -> None:
    ended = body + b"\r\n" if body and not body.endswith(b"\r\n") else body
    assert relaxed_body(body) == Relaxed.canonicalize_body(ended)


@given(LINES)
@settings(max_examples=300, deadline=None)
def test_a_body_counts_as_ended_by_crlf(body: bytes) -> None:
    if body and not body.endswith(b"\r\n"):
        assert relaxed_body(body) == relaxed_body(body + b"\r\n")


@given(st.sampled_from([b"Subject", b"X-A", b"to"]), VALUES)
@settings(max_examples=500, deadline=None)
def test_fields_are_canonical_as_dkimpy_has_them(name: bytes, value: bytes) -> None:
    ((theirs_name, theirs_value),) = Relaxed.canonicalize_headers([(name, value + b"\r\n")])
    assert relaxed_field(name + b":" + value + b"\r\n") == theirs_name + b":" + theirs_value


def test_the_examples_of_the_rfc() -> None:
    """RFC 6376 §3.4.5."""
    assert relaxed_field(b"A: X\r\n") == b"a:X\r\n"
    assert relaxed_field(b"B : Y\t\r\n\tZ  \r\n") == b"b:Y Z\r\n"
    assert relaxed_body(b" C \r\nD \t E\r\n\r\n\r\n") == b" C\r\nD E\r\n"


def test_vertical_tabs_and_form_feeds_are_no_blanks() -> None:
    assert relaxed_field(b"A: \x0bx\x0c \r\n") == b"a:\x0bx\x0c\r\n"


@pytest.mark.parametrize("many", [1, 511, 512, 513, 1024, 5000])
def test_empty_lines_at_the_end_do_not_count(many: int) -> None:
    assert relaxed_body(b"x\r\n" + b"\r\n" * many) == b"x\r\n"
    assert relaxed_body(b"\r\n" * many) == b""


def fastest(work: Callable[[bytes], object], octets: bytes) -> float:
    times = []
    for _ in range(5):
        began = time.process_time()
        work(octets)
        times.append(time.process_time() - began)
    return min(times)


@pytest.mark.parametrize("unit", [b" ", b"\t", b"\r\n", b" \r\n", b" \t" * 494 + b"\r\n", b"a  b \r\n", b"\r", b"\n"])
def test_bodies_take_linear_time(unit: bytes) -> None:
    """dkimpy's own takes seconds for 40 KB of blanks."""
    small, large = unit * (100_000 // len(unit)), unit * (1_600_000 // len(unit))
    assert fastest(relaxed_body, large) < 80 * max(fastest(relaxed_body, small), 0.0002)


@pytest.mark.parametrize("unit", [b" ", b"\t", b"\r\n ", b" \r\n\t", b":"])
def test_fields_take_linear_time(unit: bytes) -> None:
    small, large = (b"A:" + unit * (size // len(unit)) + b"\r\n" for size in (50_000, 800_000))
    assert fastest(relaxed_field, large) < 80 * max(fastest(relaxed_field, small), 0.0002)


def fields(*names: str) -> list[Field]:
    return [Field(name, f"{name}: {number}\r\n".encode()) for number, name in enumerate(names)]


def test_fields_are_signed_once_more_than_they_occur() -> None:
    found = fields("To", "From", "X-Other", "Subject")
    layout = Layouts(["From", "To", "Cc"], ["Subject", "Sender"]).layout(found)
    assert layout.names == ("from", "from", "to", "to", "cc", "subject")
    assert signed_octets(found, layout) == b"from:1\r\nto:0\r\nsubject:3\r\n"


def test_of_several_fields_the_bottom_one_comes_first() -> None:
    """RFC 6376 §5.4.2."""
    found = fields("FROM", "List-Post", "from", "list-post")
    layout = Layouts(["from"], ["list-post"]).layout(found)
    assert layout.names == ("from",) * 3 + ("list-post",) * 2
    assert signed_octets(found, layout) == b"from:2\r\nfrom:0\r\nlist-post:3\r\nlist-post:1\r\n"


def test_a_layout_is_that_of_these_fields_however_many_were_seen_before() -> None:
    layouts = Layouts(["from"], ["subject"])
    for number in range(600):
        layouts.layout(fields("From", f"X-{number}"))
    assert layouts.layout(fields("From", "Subject")).order == (0, 1)
    assert layouts.layout(fields("Subject", "From")).order == (1, 0)


@pytest.mark.parametrize(("count", "length"), [(9_000, 5), (1, 900_000)])
def test_no_sender_fills_the_memory_with_header_sections(count: int, length: int) -> None:
    """256 with ten thousand fields each, never the same, were 160 MB in every worker until as many others had come."""
    layouts = Layouts(["from"], ["subject"])
    tracemalloc.start()
    try:
        for number in range(20):
            names = [f"{number}-{place}".ljust(length, "x") for place in range(count)]
            assert layouts.layout(fields("From", *names)).order == (0,)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2_000_000


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    return ed25519_key(tmp_path_factory.mktemp("keys") / "k.pem")


def signing_key(file: KeyFile, domain: str, selector: str) -> SigningKey:
    return SigningKey(domain, selector, "ed25519-sha256", True, frozenset(), private_key(str(file.path)))


@given(st.lists(st.text("abcdefghij-", min_size=1, max_size=40), min_size=1, max_size=60), st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_lines_stay_below_78_columns(key_file: KeyFile, names: list[str], length: int) -> None:
    key = signing_key(key_file, "d" * length + ".example", "s" * length)
    message = Message(b"From: a@example.com\r\n", b"x\r\n")
    layout = Layouts(names, []).layout(message.fields)
    (value,) = signatures(message, [key], layout, 1_772_366_400, 1_774_958_400)
    lines = f"DKIM-Signature: {value}".split("\r\n")
    assert all(len(line) <= LINE for line in lines)
    assert all(line.startswith(" ") and line.strip() for line in lines[1:])
    tags = dict(tag.strip().split("=", 1) for tag in re.sub(r"\s+", "", value).split(";"))
    assert tags["h"].split(":") == list(layout.names)
    assert (tags["t"], tags["x"]) == ("1772366400", "1774958400")


def test_the_body_is_hashed_once_for_all_signatures(key_file: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtaframe_plugins.dkim import signature

    calls = []

    def counted(body: bytes) -> bytes:
        calls.append(len(body))
        return relaxed_body(body)

    monkeypatch.setattr(signature, "relaxed_body", counted)
    message = Message(b"From: a@example.com\r\n", b"x\r\n")
    keys = [signing_key(key_file, "example.com", f"s{n}") for n in range(3)]
    assert len(signatures(message, keys, Layouts(["from"], []).layout(message.fields), 0, None)) == 3
    assert len(calls) == 1
