"""Text with tags in it, and filling them in: ``[NAME]``, only names that are defined, and each place once."""

import re
from collections.abc import Callable, Mapping

from mtaframe_plugins.merge_tags.writing import Written

_TAG = re.compile(r"\[([A-Za-z][A-Za-z0-9_]*+)\]")


class TooLargeError(Exception):
    """A copy would hold more text than is allowed."""


class Values:
    """The variables of one copy, each written only once for each kind of place, and the room left for text."""

    def __init__(self, variables: Mapping[str, str], room: int) -> None:
        self.variables = dict(variables)
        self.room = room
        self._written: dict[tuple[str, Written], str] = {}

    def written(self, name: str, written: Written) -> str:
        if (name, written) not in self._written:
            self._written[name, written] = written(self.variables[name])
        return self._written[name, written]


class Text:
    """Text cut at its tags: ``literals`` and ``tags`` take turns, and a literal is the first and the last."""

    __slots__ = ("literals", "tags")

    def __init__(self, text: str, written_at: Callable[[int], Written | None]) -> None:
        self.literals: list[str] = []
        self.tags: list[tuple[str, Written]] = []
        position, at = 0, text.find("[")
        while at >= 0:  # three times as fast as to let the expression search
            tag = _TAG.match(text, at)
            written = written_at(at) if tag is not None else None
            if tag is not None and written is not None:
                self.literals.append(text[position:at])
                self.tags.append((tag[1], written))
                position = tag.end()
            at = text.find("[", at + 1)
        self.literals.append(text[position:])

    def filled(self, values: Values) -> str | None:
        """With what is defined filled in; None if nothing is. What was filled in is not looked at again."""
        variables = values.variables
        if not any(name in variables for name, _ in self.tags):
            return None
        pieces: list[str] = []
        for literal, (name, written) in zip(self.literals, self.tags, strict=False):
            pieces.append(literal)
            pieces.append(values.written(name, written) if name in variables else f"[{name}]")
        pieces.append(self.literals[-1])
        values.room -= sum(map(len, pieces))
        if values.room < 0:
            raise TooLargeError
        return "".join(pieces)
