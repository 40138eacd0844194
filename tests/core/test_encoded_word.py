from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtaframe.encoded_word import decoded_value, encoded_phrase, encoded_value, folded_value
from mtaframe.message import Message

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=200)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=?iso-8859-1?Q?J=F6rg_M=FCller?=", "Jörg Müller"),
        ("=?UTF-8?B?w6k=?= =?UTF-8?B?w6k=?=", "éé"),
        ("=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é"),
        ("Re: =?utf-8*de?q?Gr=C3=BC=C3=9Fe?= an alle", "Re: Grüße an alle"),
        ("=?x-nowhere?q?abc?=", "=?x-nowhere?q?abc?="),
        ("=?rot13?q?abc?= =?utf-8?q?d?=", "=?rot13?q?abc?= d"),
        ("=?utf-8?b?A?=", "=?utf-8?b?A?="),
        ("=?utf-8?q?a?= \t=?utf-8?q?=FF?=", "=?utf-8?q?a?= \t=?utf-8?q?=FF?="),
        ("=?utf-8?q?a=FF?= =?us-ascii?q?b?=  =?us-ascii?q?c?=", "=?utf-8?q?a=FF?= bc"),
        ("=?us-ascii?q?b?= =?utf-8?q?=FF?==?utf-8?q?=FF?=", "b =?utf-8?q?=FF?==?utf-8?q?=FF?="),
        ("no =? words", "no =? words"),
        ('"=?utf-8?q?=5BNAME=5D?="', '"[NAME]"'),
    ],
)
def test_values_are_read_as_people_read_them(value: str, text: str) -> None:
    assert decoded_value(value) == text


@given(WORDS)
def test_any_text_comes_back(text: str) -> None:
    encoded = encoded_value(text)
    assert encoded.isascii()
    assert decoded_value(encoded) == text.strip(" \t")
    assert " ".join(str(make_header(decode_header(encoded))).split()) == " ".join(text.split()) or "=?" not in encoded


@given(st.text(max_size=400), st.sampled_from([encoded_value, encoded_phrase]))
def test_no_text_leaves_its_field(text: str, encode: object) -> None:
    value = folded_value("Subject", encode(text))  # type: ignore[operator]
    message = Message.parse(b"From: a@example.com\r\n\r\n").append("Subject", value)
    again = Message.parse(message.raw)
    assert [f.name for f in again.fields] == ["From", "Subject"]
    assert message.header.isascii()
    assert all(len(line) <= 998 for line in message.header.split(b"\r\n"))
    assert all(line.strip() for line in message.header.split(b"\r\n")[:-1])


@given(WORDS)
def test_folding_changes_nothing_but_line_ends(text: str) -> None:
    encoded = encoded_value(text)
    folded = folded_value("Subject", encoded)
    assert folded.replace("\r\n", "") == encoded
    assert all(len(line) <= 78 for line in folded.split("\r\n") if " " in line.strip())


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Joe Smith", "Joe Smith"),
        ("Smith, Joe", '"Smith, Joe"'),
        ('a "b" \\', r'"a \"b\" \\"'),
        ("Joe <x@example.com>,", '"Joe <x@example.com>,"'),
        ("Jörg", "=?utf-8?b?SsO2cmc=?="),
    ],
)
def test_a_display_name_stays_a_display_name(text: str, phrase: str) -> None:
    assert encoded_phrase(text) == phrase
