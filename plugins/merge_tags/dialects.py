"""How a tag is written: one small object for each dialect, which finds tags in a text.

The rule: one pass, in time linear in the text, whatever it holds.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from mtaframe import Private, Variable
from mtaframe_plugins.merge_tags.text import Fillable, Tag, Text, WrittenAt

Places = Callable[[str], WrittenAt]
"""What looks through a text and then knows the kind of each place in it."""

_TAG = re.compile(r"\[([A-Za-z][A-Za-z0-9_]*+)\]")
_BRACES = re.compile(r"\{\{(\{)?[ \t]*+([A-Za-z_][A-Za-z0-9_.-]*+)[ \t]*+(?(1)\}\}\}|\}\})")


class Dialect(Protocol):
    @property
    def mark(self) -> str:
        """What a text without tags may lack."""
        ...

    def tags(self, text: str) -> Iterable[Tag]: ...

    def cut(self, text: str, places: Places, what: str) -> Fillable | None:
        """The text ready to be filled in, or None if it has no tag. ``what`` names it in a refusal."""
        ...

    def texts(self, variables: Mapping[str, Variable], names: frozenset[str]) -> Mapping[str, str]:
        """The values that tags of these names have."""
        ...


class _Simple(ABC):
    """Tags that become one value each."""

    mark = ""

    @abstractmethod
    def tags(self, text: str) -> Iterable[Tag]: ...

    def cut(self, text: str, places: Places, what: str) -> Fillable | None:
        found = Text(text, self.tags(text), places(text)) if self.mark in text else None
        return found if found is not None and found.tags else None

    def texts(self, variables: Mapping[str, Variable], names: frozenset[str]) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for name in names:
            value = variables.get(name)
            if type(value) is str or (value := text_of(value)) is not None:
                found[name] = value
        return found


class Tags(_Simple):
    """``[NAME]``."""

    mark = "["

    def tags(self, text: str) -> Iterator[Tag]:
        at = text.find("[")
        while at >= 0:  # three times as fast as to let the expression search
            if (tag := _TAG.match(text, at)) is not None:
                yield at, tag.end(), tag[1]
            at = text.find("[", at + 1)


class Braces(_Simple):
    """``{{name}}`` and, just the same, ``{{{name}}}``; ``{{a.b}}`` is the b of the object a."""

    mark = "{{"

    def tags(self, text: str) -> Iterator[Tag]:
        return ((tag.start(), tag.end(), tag[2]) for tag in _BRACES.finditer(text))

    def texts(self, variables: Mapping[str, Variable], names: frozenset[str]) -> Mapping[str, str]:
        found = {name: text_of(_reached(variables, name)) for name in names}
        return {name: text for name, text in found.items() if text is not None}


class Literal(_Simple):
    """Any text: these names, wherever they stand, the longest first."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = _tree(names)

    def tags(self, text: str) -> Iterator[Tag]:
        if self._names is None:
            return iter(())
        return ((tag.start(), tag.end(), tag[0]) for tag in self._names.finditer(text))


TAGS = Tags()
BRACES = Braces()


def text_of(value: Variable) -> str | None:
    """What a tag becomes; None if the value is no text, number or truth value."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else None


def _reached(variables: Mapping[str, Variable], name: str) -> Variable:
    """The value by its whole name, or else step by step through objects."""
    if name in variables or "." not in name:
        return variables.get(name)
    value: Variable = variables.get(name.partition(".")[0])
    for step in name.split(".")[1:]:
        value = value.get(step) if isinstance(value, Private) else None
    return value


class _Node(dict[str, "_Node"]):
    """The names that go on from here, by their next character; the empty one: a name ends here."""


def _tree(names: Iterable[str]) -> "re.Pattern[str] | None":
    """An expression that takes one look at each character, and as many more as the longest name is long."""
    tree = _Node()
    for name in filter(None, names):
        node = tree
        for character in name:
            node = node.setdefault(character, _Node())
        node[""] = _Node()
    return re.compile(_branches(tree)) if tree else None


def _branches(node: _Node) -> str:
    alike = [re.escape(character) + _branches(below) for character, below in node.items() if character]
    inner = alike[0] if len(alike) == 1 else f"(?:{'|'.join(alike)})" if alike else ""
    return f"(?:{inner})?" if inner and "" in node else inner
