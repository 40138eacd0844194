"""The parameters behind a header field value such as that of Content-Type (RFC 2045 §5.1, RFC 2231)."""

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from mtaframe.charset import codec

_PARAMETER = re.compile(r';\s*+([^\s=;"*]++)(\*[0-9*]*+)?\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"?|([^;"]*+))', re.DOTALL)
_WITH_RUBBISH = re.compile(_PARAMETER.pattern + "[^;]*+", re.DOTALL)
"""A parameter, and what stands between its value and the next one."""
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


def parameters(value: str) -> dict[str, str]:
    """Values by name in lower case; continuations are joined and charsets decoded. The first of a name counts."""
    plain: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[str, bool]]] = {}
    for found in _PARAMETER.finditer(value):
        name = found[1].lower()
        text = found[4].strip() if found[3] is None else _QUOTED_PAIR.sub(r"\1", found[3])
        if found[2] is None:
            plain.setdefault(name, text)
            continue
        number = found[2].strip("*") or "0"
        if number.isdigit() and len(number) <= 4:
            pieces.setdefault(name, {}).setdefault(int(number), (text, found[2].endswith("*")))
    return plain | {name: _joined(numbered) for name, numbered in pieces.items()}


def with_parameter(value: str, name: str, text: str) -> str:
    """The value with one parameter changed or added; ``text`` must be a token."""
    return f"{without_parameter(value, name)}; {name}={text}"


def without_parameter(value: str, name: str) -> str:
    """The value without one parameter, in whatever pieces it stands; another can be put behind it.

    Rubbish behind it goes along: it would become a part of what stands before.
    """
    return _WITH_RUBBISH.sub(lambda found: "" if found[1].lower() == name else _closed(found), value).rstrip("; ")


def _closed(found: re.Match[str]) -> str:
    """A parameter whose quote ends: what stands behind it would become its value."""
    if found[3] is None:
        return found[0]
    text, rest = found[0][: found.end(3) - found.start()], found[0][found.end(3) - found.start() :]
    return found[0] if rest.startswith('"') else f'{text}"'


def _joined(numbered: Mapping[int, tuple[str, bool]]) -> str:
    in_order = [numbered[number] for number in sorted(numbered)]
    charset = ""
    first, is_encoded = in_order[0]
    if is_encoded and first.count("'") >= 2:
        charset, _, first = first.split("'", 2)
        in_order[0] = (first, True)
    octets = b"".join(
        unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
        if encoded
        else text.encode("utf-8", "surrogateescape")
        for text, encoded in in_order
    )
    return octets.decode(codec(charset) or "utf-8", "replace")
