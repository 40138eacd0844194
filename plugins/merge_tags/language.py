"""The dialect ``templates``: a text is a template in the language of Jinja, or what of it can do no harm.

Jinja's parser reads it; what it read is carried out here, and paid for step by step: docs/decisions/0029.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from jinja2 import Environment, TemplateSyntaxError, nodes

from mtaframe import Variable
from mtaframe_plugins.merge_tags import writing
from mtaframe_plugins.merge_tags.dialects import Places
from mtaframe_plugins.merge_tags.expressions import Scope, UnknownError
from mtaframe_plugins.merge_tags.html_places import html_places
from mtaframe_plugins.merge_tags.statements import LineFault, Statements, weight_of
from mtaframe_plugins.merge_tags.text import Tag, TemplateError, Values
from mtaframe_plugins.merge_tags.writing import Written

LONGEST = 100_000
MOST = 5_000
"""Characters of all tags of one text, and how many these may be: a tenth of a millisecond each, once for a message."""
_OPENING = re.compile(r"\{[{%#]")
_PIECE = re.compile(r""""(?:[^"\\]|\\.)*+("?)|'(?:[^'\\]|\\.)*+('?)|[}%]\}""", re.DOTALL)
_RAW = re.compile(r"\{%[-+]?\s*+raw\s*+[-+]?%\}")
_ENDRAW = re.compile(r"\{%[-+]?\s*+endraw\s*+[-+]?%\}")
_SYNTAX = "this is no template: something is left open or stands where it can't"
_TOO_DEEP = "its parts are nested too deeply"


class Language:
    mark = "{"

    def tags(self, text: str) -> Iterator[Tag]:
        """``{{ … }}``, ``{% … %}`` and ``{# … #}``; as name, what it begins with. Ends at one that has no end."""
        at = 0
        while (opening := _OPENING.search(text, at)) is not None:
            start, kind = opening.start(), opening[0]
            if (raw := _RAW.match(text, start)) is not None:
                yield start, raw.end(), kind
                end_of_raw = _ENDRAW.search(text, raw.end())
                if end_of_raw is None:
                    return
                start, at = end_of_raw.span()
            else:
                at = _end_of_comment(text, start) if kind == "{#" else _end_of_tag(text, start, kind)
                if not at:
                    return
            yield start, at, kind

    def cut(self, text: str, places: Places, what: str) -> "TemplateText | None":
        if _OPENING.search(text) is None:
            return None
        tags: list[Tag] = []
        length = 0
        for tag in self.tags(text):
            tags.append(tag)
            length += tag[1] - tag[0]
            if length > LONGEST or len(tags) > MOST:
                raise TemplateError(f"a template in {what}: its tags are too many or too long")
        is_html = places is html_places
        masked = _masked(text, tags)
        written_at = html_places(masked, writing.in_json) if is_html else places(masked)
        written = (written_at(start) or writing.in_name for start, _, kind in tags if kind == "{{")
        return TemplateText(text, written, is_html, what)

    def texts(self, variables: Mapping[str, Variable], names: frozenset[str]) -> Mapping[str, str]:
        return {}


LANGUAGE = Language()


class TemplateText:
    """A text that is carried out anew for each copy."""

    names: Iterable[str] = ()

    def __init__(self, text: str, written: Iterator[Written], is_html: bool, what: str) -> None:
        self._what = what
        try:
            tree = _parsed(text)
            self._weight = weight_of(tree)
            self._run = Statements(written, is_html).block(tree.body)
        except (TemplateSyntaxError, UnknownError) as error:
            line = error.lineno if isinstance(error, TemplateSyntaxError) else error.line
            raise self._error(_SYNTAX if isinstance(error, TemplateSyntaxError) else str(error), line) from None
        except RecursionError:
            raise self._error(_TOO_DEEP) from None
        except (ValueError, ArithmeticError):
            raise self._error(_SYNTAX) from None
        if next(written, None) is not None:
            raise self._error(_SYNTAX)

    def filled(self, values: Values) -> str:
        out: list[str] = []
        try:
            values.work(0, self._weight)
            self._run(Scope({}, Scope(values.variables, None, values), values), out)
        except LineFault as fault:
            raise self._error(str(fault), fault.line) from None
        except RecursionError:
            raise self._error(_TOO_DEEP) from None
        return "".join(out)

    def _error(self, why: str, line: int | None = None) -> TemplateError:
        return TemplateError(f"a template in {self._what}{f', line {line}' if line else ''}: {why}")


def _parsed(text: str) -> nodes.Template:
    """Nothing of Jinja but its parser is used: what is written into a text is escaped by ``Statements``."""
    return Environment(keep_trailing_newline=True, autoescape=False).parse(text)  # noqa: S701


def _end_of_tag(text: str, start: int, kind: str) -> int:
    """Behind the closer that stands in no string; 0 if there is none."""
    closer = "}}" if kind == "{{" else "%}"
    at = start + 2
    while (piece := _PIECE.search(text, at)) is not None:
        at = piece.end()
        if piece[0] == closer:
            return at
        if piece[1] == "" or piece[2] == "":
            return 0
    return 0


def _end_of_comment(text: str, start: int) -> int:
    end = text.find("#}", start + 2)
    return end + 2 if end >= 0 else 0


def _masked(text: str, tags: Iterable[Tag]) -> str:
    """The text as HTML has it around the tags: a value is a letter, the rest is blank."""
    pieces: list[str] = []
    position = 0
    for start, end, kind in tags:
        pieces += (text[position:start], ("x" if kind == "{{" else " ") * (end - start))
        position = end
    pieces.append(text[position:])
    return "".join(pieces)
