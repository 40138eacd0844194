"""How a value shows itself: only the fields that its class names, so nothing private is printed by accident.

The rule: no address, subject, body, variable or remote free text may stand in a ``repr`` or ``str``, for
they end up in logs, tracebacks and errors. A house test puts a canary into every field of every word.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar

V = TypeVar("V")

Note = str | bytes | int | float | bool | None | tuple["Note", ...] | frozenset["Note"]


class Redacted:
    """A mixin for words: prints the class and the fields in ``_shown``, never the others."""

    __slots__ = ()
    _shown: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)}" for name in self._shown)
        return f"{type(self).__name__}({shown})"

    __str__ = __repr__


class Private(Mapping[str, V], Generic[V]):
    """A read-only mapping whose contents never print: notes and merge variables are such."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, V] | None = None) -> None:
        self._values: dict[str, V] = dict(values or {})

    def __getitem__(self, key: str) -> V:
        try:
            return self._values[key]
        except KeyError:
            raise KeyError("no such name") from None

    def get(self, key: str, default: Any = None) -> Any:
        """As ``Mapping`` has it, without an exception on the way: notes are asked for at every hook."""
        return self._values.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Private) and self._values == other._values

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return f"Private({len(self)} names)"

    def but(self, key: str, value: V) -> "Private[V]":
        """The same mapping and one more entry, or one changed."""
        return Private({**self._values, key: value})


Notes = Private[Note]
NO_NOTES: Notes = Private()
"""Notes are plain data that plugins leave for each other: text, octets, numbers, truth values, tuples of them."""
