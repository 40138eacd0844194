"""How a value is written at each kind of place, so that it stays text there."""

import html
import json
import re
from collections.abc import Callable
from urllib.parse import quote

Written = Callable[[str], str]
"""What makes of a value the text that takes the tag's place."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+")
_BREAK = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_NO_ADDRESS = re.compile(r"[^A-Za-z0-9.!#$%&'*+/=?^_`{|}~@-]+")
_NO_CSS = re.compile(r"[^\w #%.,+:/?=&~-]+")
_NO_REFERENCE = re.compile(r"[^A-Za-z0-9]")
_NO_FILENAME = re.compile(r'[/\\:*?"<>|]+')
_NO_WORD = re.compile(r"[^A-Za-z0-9_-]+")
_SEPARATOR = re.compile(r'[,;\t"]+')
MARKUP = {ord(character): f"\\u{ord(character):04x}" for character in "<>&'"}
_ACTIVE = re.compile(r"(?:javascript|vbscript|data):", re.IGNORECASE)


def plain(value: str) -> str:
    """In plain text: without control characters."""
    return _CONTROL.sub("", value)


def in_html(value: str) -> str:
    """In HTML text and in quoted attributes."""
    return html.escape(plain(value))


def unquoted(value: str) -> str:
    """In an element, outside quotes: only letters and digits can't end the attribute there.

    Nothing at all becomes a blank; else the next attribute would become the value.
    """
    return _NO_REFERENCE.sub(lambda found: f"&#{ord(found[0])};", plain(value) or " ")


def in_url(value: str) -> str:
    """Inside a URL: percent-encoded, the reserved characters too (RFC 3986 §2.1)."""
    return quote(plain(value), safe="")


def in_mailto(value: str) -> str:
    """Inside a mailto URL, where addresses stand in clear (RFC 6068 §2)."""
    return quote(plain(value), safe="@")


def whole_url(value: str) -> str:
    """At the beginning of a URL: taken as one. A URL that would run as a program is defused."""
    url = _BREAK.sub("", value).strip()
    return quote(url, safe="" if _ACTIVE.match(url) else "%:/?#[]@!$&'()*+,;=~")


def whole_url_in_html(value: str) -> str:
    return html.escape(whole_url(value))


def whole_url_unquoted(value: str) -> str:
    return unquoted(whole_url(value))


def in_css(value: str) -> str:
    """In a style sheet: without what could end a declaration or a string."""
    return _NO_CSS.sub("", value)


def in_style_attribute(value: str) -> str:
    return html.escape(in_css(value))


def unquoted_style(value: str) -> str:
    return unquoted(in_css(value))


def on_one_line(value: str) -> str:
    """In the text of a header field."""
    return _BREAK.sub(" ", value)


def in_address(value: str) -> str:
    """In an address itself: only what may stand there without quotes (RFC 5322 §3.2.3)."""
    return _NO_ADDRESS.sub("", value)


def in_filename(value: str) -> str:
    """In the name of a file: on one line, and without what leads elsewhere or is no name somewhere."""
    return _NO_FILENAME.sub("_", _BREAK.sub(" ", value))


def in_json(value: str) -> str:
    """Inside a JSON string, in ASCII (RFC 8259 §7); nor does it end a script there."""
    return json.dumps(value)[1:-1].translate(MARKUP)


def in_name(value: str) -> str:
    """Where a value could do anything: only letters, digits, ``_`` and ``-``."""
    return _NO_WORD.sub("", value)


def quoted_in_cell(value: str) -> str:
    """In a CSV cell, inside its quotes (RFC 4180 §2)."""
    return on_one_line(value).replace('"', '""')


def whole_cell(value: str) -> str:
    """As a CSV cell of its own: quoted where it must be."""
    value = on_one_line(value)
    return f'"{quoted_in_cell(value)}"' if _SEPARATOR.search(value) else value


def in_cell(value: str) -> str:
    """In a CSV cell without quotes: nothing that ends a cell."""
    return _SEPARATOR.sub(" ", on_one_line(value))
