"""A message as a template: where its tags stand, worked out once, and the copies made of it."""

from collections.abc import Mapping

from mtaframe import Field, Message, Part, folded_value, parts, with_texts
from mtaframe_plugins.merge_tags import writing
from mtaframe_plugins.merge_tags.header_places import Run, runs
from mtaframe_plugins.merge_tags.html_places import html_places
from mtaframe_plugins.merge_tags.text import Text, Values

_HTML = ("text/html", "text/x-amp-html")


class Template:
    def __init__(self, fields: Mapping[Field, list[Run]], texts: Mapping[Part, Text]) -> None:
        self._fields = fields
        self._texts = texts
        self._last: tuple[Mapping[str, str], Message] | None = None

    def merged(self, message: Message, variables: Mapping[str, str], room: int) -> Message:
        """The copy with these variables; the message itself, if it asks for none of them.

        TooLargeError if the filled texts hold more than ``room`` characters.
        """
        if self._last is not None and self._last[0] == variables:
            return self._last[1]  # thousands of equal copies of a newsletter share their octets
        values = Values(variables, room)
        filled = {part: text.filled(values) for part, text in self._texts.items()}
        merged = with_texts(message, {part: text for part, text in filled.items() if text is not None})
        fields = {field: _filled(field, runs, values) for field, runs in self._fields.items()}
        changed = {field: value for field, value in fields.items() if value is not None}
        merged = merged.with_values(changed) if changed else merged
        self._last = (variables, merged)
        return merged


def template(message: Message) -> Template:
    fields = {field: found for field in message.fields if (found := runs(field))}
    texts = {part: text for part in parts(message) if (text := _text(part)) is not None}
    return Template(fields, texts)


def _filled(field: Field, runs: list[Run], values: Values) -> str | None:
    done = [(run, run.text.filled(values)) for run in runs]
    if all(text is None for _, text in done):
        return None
    return folded_value(field.name, "".join(run.raw if text is None else run.encoded(text) for run, text in done))


def _text(part: Part) -> Text | None:
    """The text of a part that people read. What is attached, and text with a grammar of its own, is left alone."""
    is_html = part.content_type in _HTML
    is_read = is_html or part.content_type == "text/plain"
    is_kept = part.is_sealed or part.disposition == "attachment" or part.filename is not None
    text = part.text if is_read and not is_kept else None
    if text is None or "[" not in text:
        return None
    return Text(text, html_places(text) if is_html else lambda at: writing.plain)
