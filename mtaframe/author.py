"""Who a message says that it is from: the domains of its From fields (RFC 5322 §3.4, §3.6.2).

The rule: read in linear time whatever they hold, and without a guess. Where programs could read different domains out
of a message it has all of them, for whoever vouches for one would vouch for what some reader shows and its owner
never wrote.
"""

import re
import unicodedata
from collections.abc import Iterator

from mtaframe.message import Message

_ADDRESS = r"[A-Za-z0-9_+=.-]++@([A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)*)"
_PLAIN = re.compile(rf"""(?:"[\w .,'&!()-]*+"|[\w .=?!*/'-]*+) *+<{_ADDRESS}>|{_ADDRESS}""", re.ASCII)
"""Nearly every From field: one mailbox, and nothing in it that could be read otherwise."""
_QUOTED = re.compile(r'"(?:[^"\\]|\\.?)*+(?:"|\Z)', re.DOTALL)
_IN_COMMENT = re.compile(r"\\.?|[()]|[^\\()]++", re.DOTALL)
_LONGEST = 255
"""Octets of a domain name (RFC 1035 §2.3.4): what is longer is none, and must not cost time."""
_MOST = 8
"""Ways to write one domain; more are several domains."""
_PIECE = re.compile(r'\[[^\[\]]*+\]|[^"(),:;<>\[]++|.', re.DOTALL)


def author_domains(message: Message) -> frozenset[str]:
    """The domains of all addresses in all From fields, as A-labels; empty if there are none, or nobody could tell."""
    fields = message.all("From")
    if len(fields) == 1 and (plain := _PLAIN.fullmatch(fields[0].value)) is not None:
        domain = (plain[1] or plain[2]).lower()
        return frozenset({domain}) if len(domain) <= _LONGEST else frozenset()
    found = {domain for field in fields for domain in domains(field.value)}
    if len(found) > _MOST or any(len(domain) > _LONGEST for domain in found):
        return frozenset()
    return frozenset(map(a_labels, found))


def domains(value: str) -> set[str]:
    """The domains of all mailboxes in an address list, in lower case; display names, comments and groups aside."""
    found = {domain for mailbox in _mailboxes(value) for domain in mailbox.split("@")[1:]}
    if not found and "<" in value:  # an unclosed quote or comment has swallowed all: what do most readers show?
        inner = value[value.rfind("<") + 1 :].partition(">")[0]
        found = set(inner.split("@")[1:])
    return {"".join(domain.split()).rstrip(".").lower() for domain in found} - {""}


def a_labels(domain: str) -> str:
    """A domain with each label that is not ASCII in its xn-- form. It takes quadratic time."""
    if domain.isascii():
        return domain
    labels = unicodedata.normalize("NFC", domain).split(".")
    return ".".join(x if x.isascii() else "xn--" + x.encode("punycode").decode("ascii") for x in labels)


def _mailboxes(value: str) -> Iterator[str]:
    """Each mailbox of a list: what stands in angle brackets, or else the bare text."""
    bare: list[str] = []
    angle: list[str] = []
    inside = has_angle = False
    for piece in _pieces(value):
        if inside:
            if piece in (">", ","):  # a comma stands in a source route or in a list whose bracket is missing
                yield "".join(angle)
                angle = []
                inside = piece != ">"
            elif piece == ":":
                angle = []  # it ends a source route
            else:
                angle.append(piece)
        elif piece == "<":
            inside = has_angle = True
        elif piece in (",", ";", ":"):
            if piece != ":" and not has_angle:
                yield "".join(bare)
            bare, has_angle = [], has_angle and piece == ":"
        else:
            bare.append(piece)
    yield "".join(angle if inside else [] if has_angle else bare)


def _pieces(value: str) -> Iterator[str]:
    """Special characters and the text between them; a quoted string or comment leaves a blank."""
    at = 0
    while at < len(value):
        if value[at] == "(":
            at = _comment_end(value, at)
            yield " "
        elif value[at] == '"':
            at = _end(_QUOTED, value, at)
            yield " "
        else:
            end = _end(_PIECE, value, at)
            yield value[at:end]
            at = end


def _comment_end(value: str, start: int) -> int:
    depth = 0
    for piece in _IN_COMMENT.finditer(value, start):
        depth += {"(": 1, ")": -1}.get(piece[0], 0)
        if depth == 0:
            return piece.end()
    return len(value)


def _end(pattern: re.Pattern[str], value: str, at: int) -> int:
    found = pattern.match(value, at)
    assert found is not None
    return found.end()
