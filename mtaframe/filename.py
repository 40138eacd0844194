"""The name that a part suggests for itself as a file, written into its header section (RFC 2183, RFC 2231)."""

import re
from urllib.parse import quote

from mtaframe.encoded_word import decoded_value, folded_value
from mtaframe.message import Message
from mtaframe.parameter import parameters, without_parameter

_QUOTABLE = re.compile(r"[ -~]{0,200}+")
_SPECIAL = re.compile(r'(["\\])')
_PIECE = 50


def renamed(section: Message, name: str, other: str) -> Message:
    """The section with ``other`` wherever the file is called ``name``: in Content-Disposition and in Content-Type."""
    for field_name, parameter in (("Content-Disposition", "filename"), ("Content-Type", "name")):
        fields = section.all(field_name)
        value = fields[0].value if fields else ""
        found = parameters(value).get(parameter)
        if found is not None and decoded_value(found) == name:
            value = f"{without_parameter(value, parameter)}; {_written(parameter, other)}"
            section = section.with_values({fields[0]: folded_value(field_name, value)})
    return section


def _written(parameter: str, text: str) -> str:
    """As a quoted-string if it is ASCII and short; else percent-encoded UTF-8, in pieces (RFC 2231 §3, §4)."""
    if _QUOTABLE.fullmatch(text) and "=?" not in text:
        escaped = _SPECIAL.sub(r"\\\1", text)
        return f'{parameter}="{escaped}"'
    pieces = [""]
    for character in text.encode("utf-8", "replace").decode():
        octets = quote(character, safe="")
        if len(pieces[-1]) + len(octets) > _PIECE:
            pieces.append("")
        pieces[-1] += octets
    if len(pieces) == 1:
        return f"{parameter}*=utf-8''{pieces[0]}"
    pieces[0] = f"utf-8''{pieces[0]}"
    return "; ".join(f"{parameter}*{number}*={piece}" for number, piece in enumerate(pieces))
