"""Texts and charsets: Python's codecs, as far as mail may use them (RFC 2045 §5.2, RFC 2046 §4.1.2)."""

import codecs
import re

from mtaframe.message import has_bare_line_end

# Codecs of Python that are no charsets of mail; some of them take quadratic time.
_NO_CHARSETS = frozenset({"idna", "punycode", "unicode_escape", "raw-unicode-escape", "unicode-escape", "undefined"})
_LIKE_ASCII = frozenset(
    {"ascii", "utf-8", "koi8-r", "koi8-u", "gb2312", "gbk", "euc_kr", "euc_jp"}
    | {f"iso8859-{number}" for number in range(1, 17)}
    | {f"cp{number}" for number in range(1250, 1259)}
)
"""Charsets, by Python's names, in which CR and LF are these octets, and these octets are nothing else."""
_SURROGATE = re.compile("[\ud800-\udfff]")


def codec(charset: str) -> str | None:
    """Python's name of a charset, or None if it knows none by that name that can decode mail."""
    try:
        found = codecs.lookup(charset.strip().strip("\"'"))
    except (LookupError, ValueError):
        return None
    is_text = getattr(found, "_is_text_encoding", True)
    return found.name if is_text and found.name not in _NO_CHARSETS else None


def is_like_ascii(name: str | None) -> bool:
    """Whether CR and LF are in this charset what they are in ASCII, and their octets nothing else."""
    return name in _LIKE_ASCII


def is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def encoded_text(text: str, name: str | None) -> tuple[str | None, bytes]:
    """The text in this charset, or in UTF-8 with the name to declare. Lines end in CR LF (RFC 2046 §4.1.1)."""
    if is_like_ascii(name):  # octets are looked through five times as fast as text, and most need no change
        declared, octets = _encoded(text, name)
        return declared, _with_line_ends(octets) if has_bare_line_end(octets) else octets
    return _encoded(text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n"), name)


def without_surrogates(text: str) -> str:
    """Octets that were kept as surrogates, for they were no UTF-8, read as ISO 8859-1: the likeliest guess."""
    return _SURROGATE.sub(lambda m: chr(ord(m[0]) - 0xDC00) if 0xDC80 <= ord(m[0]) <= 0xDCFF else "\ufffd", text)


def _encoded(text: str, name: str | None) -> tuple[str | None, bytes]:
    try:
        if name is not None:
            return None, text.encode(name, "surrogateescape")
    except (ValueError, LookupError):
        pass
    return "utf-8", without_surrogates(text).encode()


def _with_line_ends(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
