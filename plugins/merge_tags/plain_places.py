"""Where tags stand in text with a simple grammar (CSV, JSON), and so how a value must be written there."""

import re
from bisect import bisect_right

from mtaframe_plugins.merge_tags import writing
from mtaframe_plugins.merge_tags.text import WrittenAt
from mtaframe_plugins.merge_tags.writing import Written

_QUOTE = re.compile('"')
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_CELL_ENDS = frozenset(",;\t\r\n")


def plain_places(text: str) -> WrittenAt:
    return lambda at: writing.plain


def filename_places(text: str) -> WrittenAt:
    return lambda at: writing.in_filename


def json_places(text: str) -> WrittenAt:
    """Only inside strings: elsewhere a value could bring members of its own."""
    strings = [found.span() for found in _JSON_STRING.finditer(text)]
    starts = [start for start, _ in strings]

    def written_at(at: int) -> Written | None:
        index = bisect_right(starts, at - 1) - 1
        return writing.in_json if index >= 0 and at < strings[index][1] else None

    return written_at


def csv_places(text: str) -> WrittenAt:
    """No value ends its cell or its line (RFC 4180), whether the file separates by comma, semicolon or tab."""
    quotes = [found.start() for found in _QUOTE.finditer(text)]

    def written_at(at: int) -> Written:
        if bisect_right(quotes, at) % 2:
            return writing.quoted_in_cell
        is_first = at == 0 or text[at - 1] in _CELL_ENDS
        return writing.whole_cell if is_first and _ends_cell(text, at) else writing.in_cell

    return written_at


def _ends_cell(text: str, at: int) -> bool:
    """Whether the tag that begins here is the whole cell; only one that is as simple as ``[NAME]`` is known to be."""
    tag = _SIMPLE_TAG.match(text, at)
    return tag is not None and (tag.end() == len(text) or text[tag.end()] in _CELL_ENDS)


_SIMPLE_TAG = re.compile(r"\[\w++\]|\{\{[ \t]*+[\w.-]++[ \t]*+\}\}")
