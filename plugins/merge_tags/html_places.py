"""Where tags stand in HTML, and so how a value must be written there.

The rule: one scan in linear time; every construct ends at its closer or at the end of the text, as in the HTML
standard's tokeniser, so that an unclosed one swallows the rest once.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator

from mtaframe_plugins.merge_tags import writing
from mtaframe_plugins.merge_tags.writing import Written

# Conditional comments are looked into, for Outlook reads what they hold.
_OPENING = re.compile(r"<!--(?!\[if)|<([A-Za-z][^\s/>]*+)")
_ATTRIBUTE = re.compile(
    r"""[\s/]*+([^\s/>][^\s/>=]*+)(?:\s*+=\s*+(?:"([^"]*+)(?:"|\Z)|'([^']*+)(?:'|\Z)|([^\s>]*+)))?"""
)
_RAW_ENDS = {"script": re.compile("</script", re.IGNORECASE), "style": re.compile("</style", re.IGNORECASE)}
_ELEMENT_NAME = re.compile(r"<[/!?]?\Z")
_URL_ATTRIBUTES = frozenset(
    {
        "action",
        "background",
        "cite",
        "data",
        "formaction",
        "href",
        "longdesc",
        "ping",
        "poster",
        "src",
        "srcset",
        "xlink:href",
    }
)

Place = tuple[int, int, Written | None]
"""A stretch from, to, and how values are written in it; None: tags stay as they are."""


def html_places(text: str, in_script: Written | None = None) -> Callable[[int], Written | None]:
    """How a value is written at a position of the text; None where a tag must stay as it is.

    It stays in scripts (unless ``in_script`` says how it is written there), in attributes that hold scripts or
    documents, and behind ``<``, where it would name an element.
    """
    places = list(_places(text, in_script))
    starts = [place[0] for place in places]

    def written_at(at: int) -> Written | None:
        index = bisect_right(starts, at) - 1
        written = places[index][2] if index >= 0 and at < places[index][1] else writing.in_html
        is_text = written is writing.in_html or written is writing.in_css
        return None if is_text and _ELEMENT_NAME.search(text, max(0, at - 2), at) else written

    return written_at


def _places(text: str, in_script: Written | None) -> Iterator[Place]:
    """The places where a value is not simply HTML text, in order."""
    position = 0
    while opening := _OPENING.search(text, position):
        position = opening.end()
        if opening[1] is None:
            end = text.find("-->", position)
            position = end if end >= 0 else len(text)
            continue
        yield opening.start(1), position, None
        while attribute := _ATTRIBUTE.match(text, position):
            yield from _attribute_places(text, attribute)
            position = attribute.end()
        name = opening[1].lower()
        if name in _RAW_ENDS:
            end_of_raw = _RAW_ENDS[name].search(text, position)
            start, position = position, end_of_raw.start() if end_of_raw else len(text)
            yield start, position, writing.in_css if name == "style" else in_script


def _attribute_places(text: str, attribute: re.Match[str]) -> Iterator[Place]:
    name = attribute[1].lower()
    yield attribute.start(1), attribute.end(1), None
    group = next((group for group in (2, 3, 4) if attribute[group] is not None), 0)
    if not group:
        return
    start, end = attribute.span(group)
    is_bare = group == 4
    if name.startswith("on") or name == "srcdoc":
        yield start, end, None
    elif name in _URL_ATTRIBUTES:
        first = end - len(attribute[group].lstrip())
        yield start, first + 1, writing.whole_url_unquoted if is_bare else writing.whole_url_in_html
        is_mailto = text[first : first + 7].lower() == "mailto:"
        yield first + 1, end, writing.in_mailto if is_mailto else writing.in_url
    elif name == "style":
        yield start, end, writing.unquoted_style if is_bare else writing.in_style_attribute
    elif is_bare:
        yield start, end, writing.unquoted
