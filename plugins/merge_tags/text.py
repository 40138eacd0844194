"""Text with tags in it, and filling them in: only names that have a value, and each place once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from mtaframe_plugins.merge_tags.writing import Written

WrittenAt = Callable[[int], Written | None]
"""How a value is written at a position of a text; None where a tag must stay as it is."""

Tag = tuple[int, int, str]
"""Where it begins and ends, and the name in it."""


WORK = 32
"""Characters that are looked through in one step of a template."""


class TooLargeError(Exception):
    """A copy would hold more text than is allowed."""


class MissingError(Exception):
    """A tag has no value for this recipient, and the message is not to go out so."""


class OverspentError(Exception):
    """The templates of a copy do more than they may."""


class TemplateError(ValueError):
    """A template can't be filled in. The text says why, and quotes nothing of it."""


class Values:
    """The variables of one copy, each written only once for each kind of place, and what filling in may still cost.

    ``texts`` are the values by tag; ``variables`` is what templates read; ``is_strict``: none may be missing there.
    """

    def __init__(
        self,
        texts: Mapping[str, str],
        room: int,
        *,
        variables: Mapping[str, object] | None = None,
        steps: int = 0,
        is_strict: bool = False,
    ) -> None:
        self.texts = texts
        self.room = room
        self.variables: dict[str, object] = dict(variables or {})
        self.steps = steps
        self.is_strict = is_strict
        self._written: dict[tuple[str, Written], str] = {}

    def written(self, name: str, written: Written) -> str:
        if (name, written) not in self._written:
            self._written[name, written] = written(self.texts[name])
        return self._written[name, written]

    def take(self, characters: int) -> None:
        self.room -= characters
        if self.room < 0:
            raise TooLargeError

    def work(self, characters: int, steps: int = 1) -> None:
        self.steps -= steps + characters // WORK
        if self.steps < 0:
            raise OverspentError


class Fillable(Protocol):
    """A text that is filled in anew for each copy."""

    @property
    def names(self) -> Iterable[str]:
        """The names of its tags; none for what looks for values by itself."""
        ...

    def filled(self, values: Values) -> str | None:
        """With what has a value filled in; None if nothing has."""
        ...


class Text:
    """Text cut at its tags: ``literals`` and ``tags`` take turns, and a literal is the first and the last.

    A tag is its name, how a value is written there, and the tag itself.
    """

    __slots__ = ("literals", "tags")

    def __init__(self, text: str, tags: Iterable[Tag], written_at: WrittenAt) -> None:
        self.literals: list[str] = []
        self.tags: list[tuple[str, Written, str]] = []
        position = 0
        for start, end, name in tags:
            written = written_at(start)
            if written is not None:
                self.literals.append(text[position:start])
                self.tags.append((name, written, text[start:end]))
                position = end
        self.literals.append(text[position:])

    @property
    def names(self) -> Sequence[str]:
        return [name for name, _, _ in self.tags]

    def filled(self, values: Values) -> str | None:
        """What was filled in is not looked at again."""
        texts = values.texts
        if not any(name in texts for name, _, _ in self.tags):
            return None
        pieces: list[str] = []
        for literal, (name, written, tag) in zip(self.literals, self.tags, strict=False):
            pieces.append(literal)
            pieces.append(values.written(name, written) if name in texts else tag)
        pieces.append(self.literals[-1])
        values.take(sum(map(len, pieces)))
        return "".join(pieces)
