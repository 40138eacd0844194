"""xtext (RFC 3461 §4): how a parameter of ESMTP carries blanks, "+" and "=", which can't stand there as they are."""

import re

_ENCODED = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_ESCAPE = re.compile(r"\+([0-9A-F]{2})")
_NO_XCHAR = re.compile(r"[^!-*,-<>-~]")


def decoded(text: str) -> str:
    """The text that stands behind it, each escape one character below 256. ValueError if it is not xtext."""
    if not _ENCODED.fullmatch(text):
        raise ValueError("not xtext")
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def encoded(text: str) -> str:
    """What a parameter can carry of ASCII text; ``decoded`` gives the text back."""
    return _NO_XCHAR.sub(lambda found: f"+{ord(found[0]):02X}", text)
