"""Header field values as people read them, and back: no text leaves its line or its field."""

import re

from mtaframe.charset import without_surrogates
from mtaframe.encoded_word import decoded_value, encoded_phrase, encoded_value, folded_value
from tests.fuzz.parser import Parser


def reading(octets: bytes) -> None:
    value = octets.decode("utf-8", "surrogateescape").replace("\r", "").replace("\n", "")
    text = decoded_value(value)
    assert len(text) <= len(value)
    if "=?" not in value:
        assert text == value


def writing(octets: bytes) -> None:
    text = octets.decode("utf-8", "surrogateescape")
    for encode in (encoded_value, encoded_phrase):
        value = encode(text)
        assert value.isascii()
        assert value.replace("\t", " ").isprintable()
        folded = folded_value("Subject", value)
        assert folded.replace("\r\n", "") == value
        lines = folded.split("\r\n")
        assert all(line[:1] in (" ", "\t") for line in lines[1:])
        assert all(len(line) <= 998 and line.strip() for line in lines if value)
    if not any(ord(c) < 32 or c in "\x7f\x85\u2028\u2029" or "\ud800" <= c <= "\udfff" for c in text):
        assert decoded_value(encoded_value(text)) == text.strip(" \t")
        phrase = encoded_phrase(text)
        if phrase.startswith("=?"):
            assert decoded_value(phrase) == text.strip(" \t")
        elif phrase.startswith('"'):
            assert re.sub(r"\\(.)", r"\1", phrase[1:-1]) == text.strip(" \t")
        else:
            assert phrase == text.strip(" \t")
    plain = without_surrogates(text)
    assert plain.encode() is not None
    assert len(plain) == len(text)


PARSERS = [
    Parser(
        "encoded_word",
        reading,
        (
            b"=?utf-8?q?",
            b"=?utf-8?b?",
            b"?=",
            b"=?",
            b"=C3=A9",
            b"w6k=",
            b"=?iso-2022-jp?b?",
            b"=?utf-7?q?",
            b"*de?q?",
            b" ",
        ),
        longest=256,
    ),
    Parser(
        "encoded_word_writing",
        writing,
        (b"=?utf-8?q?x?=", b"\xc3\xa9", b"\xe9", b" ", b'"', b"\\", b"\r\n", b"\xe2\x80\xa8"),
        longest=96,
    ),
]
