"""A message as octets (RFC 5322): unchanged octets stay unchanged, whatever else is done to it.

The law: lines end in CR LF, and a message is never taken apart and rebuilt. A change replaces the octets of
what changed; header section and body are kept apart, so that a field on top costs no copy of the body.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from mtaframe.redaction import Redacted

_HEADER_SECTION = re.compile(rb"(?:[!-9;-~]++[ \t]*+:[^\r\n]*+\r\n(?:[ \t][^\r\n]*+\r\n)*+)*+")
_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\r\n]*+\r\n(?:[ \t][^\r\n]*+\r\n)*+)")
_MBOX_LINE = re.compile(rb">?From [^\r\n]*+\r\n")
_NAME = re.compile(r"[!-9;-~]+")
_BARE_CR = re.compile(rb"\r(?!\n)")
_NO_LINE_END = bytes(set(range(256)) - set(b"\r\n"))

T = TypeVar("T")
HEADER_SIZE = 1_000_000
"""Octets that a header section may have."""
HEADER_LINES = 10_000


@dataclass(frozen=True, slots=True, repr=False)
class Field(Redacted):
    """One header field: its ``name`` as written, and ``raw``, all its octets with the final CR LF."""

    name: str
    raw: bytes

    @property
    def value(self) -> str:
        """The unfolded text behind the colon, stripped; octets that are not UTF-8 are kept as surrogates."""
        _, _, rest = self.raw.partition(b":")
        return rest.replace(b"\r\n", b"").decode("utf-8", "surrogateescape").strip()


@dataclass(frozen=True, slots=True, repr=False)
class Message(Redacted):
    """``header``: the header section, each field with its CR LF; ``body``: all behind the empty line."""

    header: bytes
    body: bytes
    _fields: tuple[Field, ...] | None = field(default=None, init=False, compare=False)
    _derived: dict[Callable[..., Any], Any] | None = field(default=None, init=False, compare=False)

    @classmethod
    def parse(cls, raw: bytes | bytearray) -> "Message":
        """A message from its octets. The header section ends at the first line that is no field.

        Two repairs are made, for next hops would make them later and break signatures: a missing empty line
        is put in, and an mbox line ("From …") before the first field is dropped.
        """
        start = mbox.end() if (mbox := _MBOX_LINE.match(raw)) else 0
        section = _HEADER_SECTION.match(raw, start)
        end = section.end() if section else start
        view = memoryview(raw)
        return cls(bytes(view[start:end]), bytes(view[end + 2 * raw.startswith(b"\r\n", end) :]))

    @property
    def raw(self) -> bytes:
        """All octets, in one copy."""
        return b"\r\n".join((self.header, self.body))

    @property
    def size(self) -> int:
        """Octets, as SIZE counts them (RFC 1870)."""
        return len(self.header) + 2 + len(self.body)

    @property
    def is_sound_header(self) -> bool:
        """Whether the header section is nothing but fields (RFC 5322 §2.2), each ended by CR LF."""
        return _HEADER_SECTION.fullmatch(self.header) is not None

    @property
    def is_excessive(self) -> bool:
        """Whether the header section is too long to be taken apart while others wait."""
        return len(self.header) > HEADER_SIZE or self.header.count(b"\n") > HEADER_LINES

    @property
    def fields(self) -> tuple[Field, ...]:
        """The header fields, top to bottom; taken apart once."""
        if self._fields is None:
            found = tuple(Field(m[1].decode("ascii"), m[0]) for m in _FIELD.finditer(self.header))
            object.__setattr__(self, "_fields", found)
            return found
        return self._fields

    def all(self, name: str) -> tuple[Field, ...]:
        """Every field of that name, top to bottom; names compare without case."""
        wanted = name.lower()
        return tuple(f for f in self.fields if f.name.lower() == wanted) if self._may_have(wanted) else ()

    def first(self, name: str) -> str | None:
        """The text of the topmost field of that name, or None."""
        wanted = name.lower()
        if not self._may_have(wanted):
            return None
        return next((f.value for f in self.fields if f.name.lower() == wanted), None)

    def _may_have(self, name: str) -> bool:
        """False if no field has this name, in lower case. Most questions end here, and nothing is taken apart."""
        return self._fields is not None or name.encode() in self.header.lower()

    def prepend(self, name: str, value: str) -> "Message":
        """With one more field on top. ``value`` may be folded (CR LF and a blank); nothing else may end a line."""
        octets = field_octets(name, value)
        changed = Message(octets + self.header, self.body)
        if self._fields is not None:
            object.__setattr__(changed, "_fields", (Field(name, octets), *self._fields))
        return changed

    def append(self, name: str, value: str) -> "Message":
        """With one more field at the end of the header section."""
        return Message(self.header + field_octets(name, value), self.body)

    def without(self, *names: str) -> "Message":
        """Without any field of these names; itself, if there is none."""
        unwanted = {name.lower() for name in names}
        if not any(map(self._may_have, unwanted)):
            return self
        kept = [f.raw for f in self.fields if f.name.lower() not in unwanted]
        return self if len(kept) == len(self.fields) else Message(b"".join(kept), self.body)

    def with_body(self, body: bytes) -> "Message":
        return Message(self.header, body)

    def with_values(self, values: Mapping[Field, str]) -> "Message":
        """With other values in these of its fields, each at its place; they are checked as ``prepend`` does."""
        octets = (field_octets(f.name, values[f]) if f in values else f.raw for f in self.fields)
        return Message(b"".join(octets), self.body)

    def derived(self, work: "Callable[[Message], T]") -> T:
        """What ``work``, a pure function, makes of this message: done once, and kept no longer than the message."""
        if self._derived is None:
            object.__setattr__(self, "_derived", {})
        made = cast("dict[Callable[..., Any], Any]", self._derived)
        if work not in made:
            made[work] = work(self)
        return cast("T", made[work])


def field_octets(name: str, value: str) -> bytes:
    """``Name: value`` with CR LF. ValueError if the value would begin another field or hold a bare CR or LF."""
    if not _NAME.fullmatch(name):
        raise ValueError("not a header field name (RFC 5322 §2.2)")
    unfolded = value.replace("\r\n ", " ").replace("\r\n\t", " ")
    if "\r" in unfolded or "\n" in unfolded or "\0" in unfolded:
        raise ValueError(f"the value of {name} holds a bare line end or NUL")
    return f"{name}: {value}\r\n".encode("utf-8", "surrogateescape")


def has_bare_line_end(octets: bytes | bytearray) -> bool:
    """Whether a CR stands without LF or an LF without CR: never valid, and the root of SMTP smuggling."""
    ends = octets.translate(None, _NO_LINE_END)
    return ends != b"\r\n" * (len(ends) // 2) or _BARE_CR.search(octets) is not None
