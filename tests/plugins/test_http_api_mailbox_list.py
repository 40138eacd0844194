"""http_api: lists of mailboxes are taken apart in linear time, and without a guess."""

import time
from contextlib import suppress

import pytest

from mtaframe_plugins.http_api.mailbox_list import taken_apart


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" , ,", []),
        ("joe@example.com", [("", "joe@example.com")]),
        (" Joe Doe  <joe@example.com> ", [("Joe Doe", "joe@example.com")]),
        ("<joe@example.com>,b@example.com", [("", "joe@example.com"), ("", "b@example.com")]),
        ('"Doe, Joe \\"J\\" <x@y>" <joe@example.com>', [('Doe, Joe "J" <x@y>', "joe@example.com")]),
        ("Zoë Ñ <zoë@example.com>", [("Zoë Ñ", "zoë@example.com")]),
        ("Joe (at (home), really) <joe@example.com> (x)", [("Joe", "joe@example.com")]),
        ('Joe (or "Joey" to some) <joe@example.com>', [("Joe", "joe@example.com")]),
        ('"a b"@example.com', [("", '"a b"@example.com')]),
        ("Joe <joe@[IPv6:::1]>", [("Joe", "joe@[IPv6:::1]")]),
        ("Joe, joe@example.com", [("", "Joe"), ("", "joe@example.com")]),
        ("Dr. O'Neil <o@example.com>", [("Dr. O'Neil", "o@example.com")]),
    ],
)
def test_names_and_addresses(text: str, expected: list[tuple[str, str]]) -> None:
    assert list(taken_apart(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "<", ">", "(", ")", '"', ";", "team: a@example.com;", "<a@example.com", "a@example.com>", "<a> <b>", "<a> b",
        "<a,b>", "(<a@example.com>", 'Joe "x <a@example.com>', "<a<b>>", "a:b@example.com",
        '("a) b@example.com, (b") c@example.com',
    ],
)  # fmt: skip
def test_what_could_be_read_otherwise_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="Name <address>"):
        taken_apart(text)


@pytest.mark.parametrize(
    "piece", ["(", "((", "()", "<", "<>", '"', '"\\"', "\\", "a:", ":", ",", "a@b,", "(a", "<a@b> ", "a ", "é", '""']
)
def test_no_text_takes_more_than_linear_time(piece: str) -> None:
    began = time.perf_counter()
    with suppress(ValueError):
        taken_apart(piece * 100_000)
    assert time.perf_counter() - began < 3
