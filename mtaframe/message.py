"""A message as octets (RFC 5322): unchanged octets stay unchanged, whatever else is done to it.

The law: lines end in CR LF, and a message is never taken apart and rebuilt. A change replaces the octets of
what changed; header section and body are kept apart, so that a field on top costs no copy of the body.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import IncrementalNewlineDecoder
from typing import Any, TypeVar, cast

from mtaframe.header_section import HEADER_LINES, HEADER_SIZE, HeaderSection
from mtaframe.redaction import Redacted

_SECTION = HeaderSection()
_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\r\n]*+\r\n(?:[ \t][^\r\n]*+\r\n)*)")
_MBOX_LINE = re.compile(rb">?From (?![ \t]*+:)[^\r\n]*+\r\n")
_NAME = re.compile(r"[!-9;-~]+")
_PIECE = 65_536
"""Octets that are looked through at once, so that a large message is not there twice."""

T = TypeVar("T")


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
    def parse(cls, raw: bytes | bytearray, *, is_bounded: bool = False) -> "Message":
        """A message from its octets. The header section ends at the first line that is no field.

        Two repairs are made, for next hops would make them later and break signatures: a missing empty line
        is put in, and an mbox line ("From …") before the first field is dropped. ``is_bounded``: a section that is
        excessive may be cut off where that is sure, for nobody will take the message.
        """
        start = mbox.end() if (mbox := _MBOX_LINE.match(raw)) else 0
        end = _SECTION.end(raw, start, is_bounded=is_bounded)
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
        return _SECTION.end(self.header) == len(self.header)

    @property
    def is_excessive(self) -> bool:
        """Whether the header section is too long to be taken apart while others wait."""
        return len(self.header) > HEADER_SIZE or self.header.count(b"\n") > HEADER_LINES

    @property
    def fields(self) -> tuple[Field, ...]:
        """The header fields, top to bottom; taken apart once."""
        if self._fields is None:
            found = tuple([Field(m[1].decode("ascii"), m[0]) for m in _FIELD.finditer(self.header)])
            object.__setattr__(self, "_fields", found)
            return found
        return self._fields

    def all(self, name: str) -> tuple[Field, ...]:
        """Every field of that name, top to bottom; names compare without case."""
        wanted = name.lower()
        return self.derived(_by_name).get(wanted, ()) if self._may_have(wanted) else ()

    def first(self, name: str) -> str | None:
        """The text of the topmost field of that name, or None."""
        wanted = name.lower()
        if not self._may_have(wanted):
            return None
        found = self.derived(_by_name).get(wanted)
        return found[0].value if found else None

    def has(self, name: str) -> bool:
        """Whether there is a field of that name. Nothing is taken apart to tell."""
        wanted = name.lower()
        if self._fields is not None:
            return wanted in self.derived(_by_name)
        header, start = self.header.lower(), f"{wanted}:".encode()
        # a blank before the colon is obsolete, and rare
        return header.startswith(start) or b"\n" + start in header or self.first(name) is not None

    def _may_have(self, name: str) -> bool:
        """False if no field has this name, in lower case. Most questions end here, and nothing is taken apart."""
        return self._fields is not None or name.encode() in self.header.lower()

    def prepend(self, name: str, value: str) -> "Message":
        """With one more field on top. ``value`` may be folded (CR LF and a blank); nothing else may end a line."""
        octets = field_octets(name, value)
        if self._fields is None:
            return Message(octets + self.header, self.body)
        one, named, key = Field(name, octets), self.derived(_by_name), name.lower()
        named = {**named, key: (one, *named.get(key, ()))}
        return _known(octets + self.header, self.body, (one, *self._fields), named)

    def append(self, name: str, value: str) -> "Message":
        """With one more field at the end of the header section."""
        octets = field_octets(name, value)
        if self._fields is None:
            return Message(self.header + octets, self.body)
        one, named, key = Field(name, octets), self.derived(_by_name), name.lower()
        named = {**named, key: (*named.get(key, ()), one)}
        return _known(self.header + octets, self.body, (*self._fields, one), named)

    def without(self, *names: str) -> "Message":
        """Without any field of these names; itself, if there is none."""
        unwanted = {name.lower() for name in names}
        if not any(map(self._may_have, unwanted)):
            return self
        named = self.derived(_by_name)
        if unwanted.isdisjoint(named):
            return self
        kept = tuple([f for f in self.fields if f.name.lower() not in unwanted])
        named = {key: found for key, found in named.items() if key not in unwanted}
        return _known(b"".join([f.raw for f in kept]), self.body, kept, named)

    def with_body(self, body: bytes) -> "Message":
        if self._fields is None:
            return Message(self.header, body)
        return _known(self.header, body, self._fields, self.derived(_by_name))

    def with_values(self, values: Mapping[Field, str]) -> "Message":
        """With other values in these of its fields, each at its place; they are checked as ``prepend`` does."""
        octets = [field_octets(f.name, values[f]) if f in values else f.raw for f in self.fields]
        return Message(b"".join(octets), self.body)

    def derived(self, work: "Callable[[Message], T]") -> T:
        """What ``work``, a pure function, makes of this message: done once, and kept no longer than the message."""
        if self._derived is None:
            object.__setattr__(self, "_derived", {})
        made = cast("dict[Callable[..., Any], Any]", self._derived)
        if work not in made:
            made[work] = work(self)
        return cast("T", made[work])


_Named = Mapping[str, tuple[Field, ...]]


def _by_name(message: Message) -> _Named:
    """The fields by name in lower case, each name's top to bottom."""
    found: dict[str, list[Field]] = {}
    for one in message.fields:
        found.setdefault(one.name.lower(), []).append(one)
    return {name: tuple(those) for name, those in found.items()}


def _known(header: bytes, body: bytes, fields: tuple[Field, ...], named: _Named) -> Message:
    """A message whose fields are known: so a header section is taken apart once on its whole way, whatever changes."""
    message = Message(header, body)
    object.__setattr__(message, "_fields", fields)
    object.__setattr__(message, "_derived", {_by_name: named})
    return message


def field_octets(name: str, value: str) -> bytes:
    """``Name: value`` with CR LF. ValueError if the value would begin another field or hold a bare CR or LF."""
    if not _NAME.fullmatch(name):
        raise ValueError("not a header field name (RFC 5322 §2.2)")
    unfolded = value.replace("\r\n ", " ").replace("\r\n\t", " ")
    if "\r" in unfolded or "\n" in unfolded or "\0" in unfolded:
        raise ValueError(f"the value of {name} holds a bare line end or NUL")
    return f"{name}: {value}\r\n".encode("utf-8", "surrogateescape")


def has_bare_line_end(octets: bytes | bytearray) -> bool:
    """Whether a CR stands without LF or an LF without CR: never valid, and the root of SMTP smuggling.

    The standard library's decoder of text files notes which line ends it has seen, and does so faster than any search.
    """
    seen, size = IncrementalNewlineDecoder(None, translate=False), len(octets)
    with memoryview(octets) as view:
        for start in range(0, size, _PIECE):
            seen.decode(str(view[start : start + _PIECE], "latin-1"), final=start + _PIECE >= size)
    return seen.newlines not in (None, "\r\n")
