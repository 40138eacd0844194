"""A message as a template: where its tags stand, worked out once, and the copies made of it.

The rule: a copy is from the domains that its sender wrote. Who may write them was asked when the message came.
"""

from collections.abc import Mapping

from mtaframe import Field, Message, Part, Private, Variable, author_domains, folded_value, parts, with_texts
from mtaframe_plugins.merge_tags.dialects import Dialect, Places
from mtaframe_plugins.merge_tags.header_places import Run, runs
from mtaframe_plugins.merge_tags.html_places import html_places
from mtaframe_plugins.merge_tags.plain_places import csv_places, filename_places, plain_places
from mtaframe_plugins.merge_tags.settings import Style
from mtaframe_plugins.merge_tags.text import Fillable, MissingError, TemplateError, Values

_PLACES: Mapping[str, Places] = {
    "text/html": html_places,
    "text/x-amp-html": html_places,
    "text/plain": plain_places,
    "text/markdown": plain_places,
    "text/csv": csv_places,
    "text/tab-separated-values": csv_places,
}
"""The kinds of text that are filled in, inline or attached. Others have grammars of their own."""


class Template:
    """One message in one dialect."""

    def __init__(self, message: Message, dialect: Dialect) -> None:
        self._dialect = dialect
        self._fields = {field: found for field in message.fields if (found := runs(field, dialect))}
        self._texts: dict[Part, Fillable] = {}
        self._filenames: dict[Part, Fillable] = {}
        for part in parts(message):
            if part.is_sealed:
                continue  # what is signed or encrypted is left alone
            name = part.filename
            if (text := _text(part, name, dialect)) is not None:
                self._texts[part] = text
            if name and (filename := dialect.cut(name, filename_places, "the name of an attachment")) is not None:
                self._filenames[part] = filename
        self._names = frozenset(name for text in self._fillables() for name in text.names)
        self._last: tuple[Private[Variable], Style, Message] | None = None

    def merged(
        self, message: Message, variables: Private[Variable], style: Style, expected: frozenset[str] | None = None
    ) -> Message:
        """The copy with these variables; the message itself, if nothing in it changes.

        ``expected``: the names that must have a value, where the style asks for one (None: all that stand in tags).
        TooLargeError if the filled texts hold more characters than there is room for; MissingError; TemplateError.
        """
        if self._last is not None and self._last[:2] == (variables, style) and _are_alike(self._last[0], variables):
            return self._last[2]  # thousands of equal copies of a newsletter share their octets
        values = self._values(variables, style, expected)
        texts = {part: filled for part, text in self._texts.items() if (filled := text.filled(values)) is not None}
        names = {part: filled for part, text in self._filenames.items() if (filled := text.filled(values)) is not None}
        merged = with_texts(message, texts, names)
        fields = {field: _filled(field, runs, values) for field, runs in self._fields.items()}
        changed = {field: value for field, value in fields.items() if value is not None}
        merged = merged.with_values(changed) if changed else merged
        if any(field.name.lower() == "from" for field in changed) and author_domains(merged) != author_domains(message):
            raise TemplateError("a merge tag may not change the domain in the From field")
        self._last = (variables, style, merged)
        return merged

    def _values(self, variables: Private[Variable], style: Style, expected: frozenset[str] | None) -> Values:
        texts = self._dialect.texts(variables, self._names)
        if style.on_missing != "keep":
            missing = (self._names if expected is None else self._names & expected) - texts.keys()
            if missing and style.on_missing == "reject":
                raise MissingError
            texts = {**dict.fromkeys(missing, ""), **texts}
        return Values(texts, style.room, variables=variables, steps=style.steps, is_strict=style.on_missing == "reject")

    def _fillables(self) -> list[Fillable]:
        in_fields = [run.text for found in self._fields.values() for run in found if run.text is not None]
        return [*in_fields, *self._texts.values(), *self._filenames.values()]


class Templates:
    """The templates that a message is, by dialect; ``Message.derived`` keeps them as long as the message lives."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self._by_dialect: dict[Dialect, Template | TemplateError] = {}

    def in_dialect(self, dialect: Dialect) -> Template:
        """Raises what it raised the first time: a template with a fault is looked at once."""
        found = self._by_dialect.get(dialect)
        if found is None:
            try:
                found = Template(self._message, dialect)
            except TemplateError as error:
                found = error
            self._by_dialect[dialect] = found
        if isinstance(found, TemplateError):
            raise found
        return found


def _filled(field: Field, runs: list[Run], values: Values) -> str | None:
    done = [(run, None if run.text is None else run.text.filled(values)) for run in runs]
    if all(text is None for _, text in done):
        return None
    return folded_value(field.name, "".join(run.raw if text is None else run.encoded(text) for run, text in done))


def _text(part: Part, filename: str | None, dialect: Dialect) -> Fillable | None:
    """The text of a part that people read, or open."""
    places = _PLACES.get(part.content_type)
    text = part.text if places is not None else None
    if text is None or places is None:
        return None
    attached = filename is not None or part.disposition == "attachment"
    return dialect.cut(text, places, "an attachment" if attached else f"the {part.content_type} part")


def _are_alike(one: Variable, other: Variable) -> bool:
    """Whether values that are equal are written alike: 1, 1.0 and true are equal, too."""
    if one is other or type(one) is not type(other):
        return one is other
    if isinstance(one, tuple) and isinstance(other, tuple):
        return all(map(_are_alike, one, other))
    if isinstance(one, Private) and isinstance(other, Private):
        return all(_are_alike(value, other[name]) for name, value in one.items())
    return True
