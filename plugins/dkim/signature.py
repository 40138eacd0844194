"""The DKIM-Signature field (RFC 6376), relaxed/relaxed, on octets and in time linear in the message's size.

The law: what is hashed here is what a verifier will hash after any next hop that keeps to RFC 5321. A body that
does not end in CR LF counts as if it did, for the final dot adds one.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mtaframe import Field, Message
from mtaframe_plugins.dkim.keys import SigningKey

LINE = 77
"""Octets in a folded line, without its CR LF; only a long domain name or selector makes a longer one."""

REMEMBERED = 256
"""Header sections, by the names of their fields, whose layout is remembered: a sender's mail has the same again."""
MOST = 4_000
"""Octets in the names of a header section that is remembered: hundreds of the largest ones would fill the memory."""

_MANY_LINES = b"\r\n" * 512
_PER_LINE = LINE - 2


def relaxed_body(body: bytes) -> bytes:
    """RFC 6376 §3.4.4: no blanks at line ends, one blank for many, no empty lines at the end."""
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"
    body = _single_blanks(body).replace(b" \r\n", b"\r\n")
    end = len(body)
    while body.endswith(_MANY_LINES, 0, end):
        end -= len(_MANY_LINES)
    while body.endswith(b"\r\n", 0, end):
        end -= 2
    return body[:end] + b"\r\n" if end else b""


def relaxed_field(raw: bytes) -> bytes:
    """RFC 6376 §3.4.2: name in lower case, unfolded, one blank for many, none around the value; with CR LF."""
    name, _, value = raw.partition(b":")
    value = _single_blanks(value.replace(b"\r\n", b"")).strip(b" ")
    return b"%b:%b\r\n" % (name.rstrip(b" \t").lower(), value)


def _single_blanks(octets: bytes) -> bytes:
    octets = octets.replace(b"\t", b" ")
    while b"  " in octets:  # each turn halves the longest run
        octets = octets.replace(b"  ", b" ")
    return octets


def body_hash(message: Message) -> str:
    """The ``bh=`` tag: the SHA-256 of the relaxed body, in base64."""
    return base64.b64encode(hashlib.sha256(relaxed_body(message.body)).digest()).decode("ascii")


@dataclass(frozen=True, slots=True)
class Layout:
    """Which fields of a header section are signed: ``order`` are their places, ``names`` and ``tag`` the ``h=`` tag."""

    order: tuple[int, ...]
    names: tuple[str, ...]
    tag: str


class Layouts:
    """The layouts for one configuration. They follow from the names of the fields alone, and are remembered by them.

    Each field named in ``oversign`` is signed as often as it occurs and once more, so that nobody can add another
    (RFC 6376 §5.4.2, §8.15); each named in ``present`` only as often as it occurs. Of several fields with one
    name the bottom one comes first.
    """

    def __init__(self, oversign: Iterable[str], present: Iterable[str]) -> None:
        self._named = [(name.lower(), 1) for name in oversign] + [(name.lower(), 0) for name in present]
        self._known: dict[tuple[str, ...], Layout] = {}

    def layout(self, fields: Iterable[Field]) -> Layout:
        names = tuple([field.name.lower() for field in fields])
        found = self._known.get(names)
        if found is None:
            found = self._made(names)
            if sum(map(len, names)) + len(names) <= MOST:
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[names] = found
        return found

    def _made(self, names: Sequence[str]) -> Layout:
        places: dict[str, list[int]] = {}
        for place, name in enumerate(names):
            places.setdefault(name, []).append(place)
        order: list[int] = []
        signed: list[str] = []
        for name, once_more in self._named:
            found = places.get(name, ())
            order += reversed(found)
            signed += [name] * (len(found) + once_more)
        return Layout(tuple(order), tuple(signed), _folded_names(signed))


def signed_octets(fields: Sequence[Field], layout: Layout) -> bytes:
    """What of the header section is hashed, the same for all signatures of one message."""
    return b"".join([relaxed_field(fields[place].raw) for place in layout.order])


def signatures(
    message: Message, keys: Iterable[SigningKey], layout: Layout, signed_at: int, expires_at: int | None
) -> list[str]:
    """The values of the DKIM-Signature fields, one for each key, folded."""
    common = f"{layout.tag}\r\n bh={message.derived(body_hash)};\r\n b="
    header = signed_octets(message.fields, layout)
    values = []
    for key in keys:
        tags = _folded_tags(key.domain, key.selector, signed_at, expires_at)
        unsigned = f"v=1; a={key.algorithm}; c=relaxed/relaxed;\r\n {tags}\r\n {common}"
        own = f"dkim-signature:{unsigned}".replace("\r\n", "")  # relaxed: no blank of ours has a second one beside it
        signature = key.sign(header + own.encode("ascii"))
        lines = [signature[i : i + _PER_LINE] for i in range(0, len(signature), _PER_LINE)]
        values.append(unsigned + "\r\n " + "\r\n ".join(lines))
    return values


@lru_cache(maxsize=REMEMBERED)
def _folded_tags(domain: str, selector: str, signed_at: int, expires_at: int | None) -> str:
    """What is the same in all messages of a second."""
    tags = [f"d={domain};", f"s={selector};", f"t={signed_at};"]
    if expires_at is not None:
        tags.append(f"x={expires_at};")
    lines: list[str] = []
    for tag in tags:
        if lines and len(lines[-1]) + len(tag) + 2 <= LINE:
            lines[-1] += f" {tag}"
        else:
            lines.append(tag)
    return "\r\n ".join(lines)


def _folded_names(names: Iterable[str]) -> str:
    """The ``h=`` tag. It may be folded before each colon (RFC 6376 §3.5)."""
    lines = [""]
    for name in names:
        if len(lines[-1]) + len(name) + 4 > LINE and lines[-1]:
            lines.append("")
        lines[-1] += f":{name}"
    return f"h={lines[0][1:]}" + "".join(f"\r\n {line}" for line in lines[1:]) + ";"
