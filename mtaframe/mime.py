"""The parts of a message by octet span (RFC 2045, RFC 2046): what is not changed keeps every octet.

The law: one pass over the body, in time linear in its size whatever it holds; only a changed part is encoded
again, and what is signed or encrypted is never touched.
"""

import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mtaframe.charset import codec, encoded_text, is_like_ascii, is_utf8
from mtaframe.encoded_word import decoded_value, folded_value
from mtaframe.filename import renamed
from mtaframe.header_section import HeaderSection
from mtaframe.message import Message, has_bare_line_end
from mtaframe.parameter import parameters, with_parameter
from mtaframe.redaction import Private, Redacted

LINE_LIMIT = 998
"""Octets in a line without its CR LF (RFC 5322 §2.1.1)."""
MAX_DEPTH = 32
MAX_PARTS = 5000

_SEALED = frozenset({"multipart/signed", "multipart/encrypted"})
_PLAIN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})
# A delimiter line may look like a field ("--a:b"), so no field begins with two hyphens here.
_PART_HEADER = HeaderSection(rb"(?!--)[!-9;-~]++")
_TYPE = re.compile(r"\s*+([^\s;/]++/[^\s;/]++)")
_TOKEN = re.compile(r"\s*+([^\s;]++)")
_HIGH = bytes(range(128, 256))


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Part(Redacted):
    """One body part of a message, found by ``parts``; it compares by identity.

    ``start`` and ``end`` bound its content in ``body``, the body of the whole message. ``section`` is its own
    header section, which begins at ``header_at`` in ``body``; None: it is the message's. ``enclosing`` are the
    boundaries of the multiparts around it. ``is_sealed``: signed or encrypted, it must not be changed.
    """

    _shown = ("start", "end")

    body: bytes
    section: Message
    header_at: int | None
    start: int
    end: int
    content_type: str
    parameters: Private[str]
    enclosing: tuple[bytes, ...]
    is_sealed: bool

    @property
    def content(self) -> bytes:
        """The octets as they stand in the message."""
        return self.body[self.start : max(self.start, self.end)]

    @property
    def is_multipart(self) -> bool:
        return self.content_type.startswith("multipart/")

    @property
    def charset(self) -> str:
        """As declared, in lower case; us-ascii where nothing is (RFC 2045 §5.2)."""
        return self.parameters.get("charset", "").strip().lower() or "us-ascii"

    @property
    def encoding(self) -> str:
        """The content transfer encoding in lower case, or empty."""
        found = _TOKEN.match(self.section.first("Content-Transfer-Encoding") or "")
        return found[1].lower() if found else ""

    @property
    def disposition(self) -> str:
        """``inline``, ``attachment`` (RFC 2183), something else, or empty."""
        found = _TOKEN.match(self.section.first("Content-Disposition") or "")
        return found[1].lower() if found else ""

    @property
    def filename(self) -> str | None:
        """The name that the sender suggests for the part as a file. It may hold path separators."""
        disposition = parameters(self.section.first("Content-Disposition") or "")
        name = disposition.get("filename", self.parameters.get("name"))
        return None if name is None else decoded_value(name)

    @property
    def octets(self) -> bytes | None:
        """The content without its transfer encoding; None if that is unknown or broken."""
        return _decoded(self.encoding, self.content)

    def head(self, size: int) -> bytes | None:
        """The same of the first so many octets as they stand in the message."""
        return _decoded(self.encoding, self.body[self.start : max(self.start, min(self.end, self.start + size))])

    @property
    def text(self) -> str | None:
        """A ``text/*`` part as text; None for all else, and where charset or transfer encoding are unknown.

        Octets that the charset doesn't know are kept as surrogates. Undeclared UTF-8 is recognised.
        """
        name = codec(self.charset)
        octets = self.octets if name and self.content_type.startswith("text/") else None
        if octets is None or name is None:
            return None
        try:
            if name == "ascii" and not octets.isascii() and is_utf8(octets):
                return octets.decode("utf-8")
            return octets.decode(name, "surrogateescape")
        except (ValueError, LookupError):
            return None


def _decoded(encoding: str, content: bytes) -> bytes | None:
    if encoding in _PLAIN_ENCODINGS:
        return content
    try:
        if encoding == "quoted-printable":
            return binascii.a2b_qp(content)
        if encoding == "base64":
            return binascii.a2b_base64(content + b"==")
    except ValueError:
        pass
    return None


def parts(message: Message) -> tuple[Part, ...]:
    """All parts in the order of the message, multiparts before what they hold. The first is the message itself.

    ``message/rfc822`` is not looked into. At most ``MAX_PARTS`` are found, in at most ``MAX_DEPTH`` multiparts;
    what lies beyond belongs to no part and stays as it is.
    """
    return message.derived(_found)


def with_texts(message: Message, texts: Mapping[Part, str], filenames: Mapping[Part, str] | None = None) -> Message:
    """The message with these texts in its ``text/*`` parts and these ``filename``s of parts; all other octets stay.

    A part keeps its charset if the text fits (else it becomes UTF-8), and its transfer encoding if the octets
    fit (else it becomes quoted-printable, or base64 if one of its lines could be taken for a boundary).
    ValueError for a part that is sealed, no text or not of this message.
    """
    names = filenames or {}
    changes: dict[Part, tuple[bytes, bytes | None]] = {part: (_named(part, names[part]).header, None) for part in names}
    for part, text in texts.items():
        if part.is_sealed or not part.content_type.startswith("text/"):
            raise ValueError("only text that is neither signed nor encrypted can be changed")
        charset, octets = encoded_text(text, codec(part.charset))
        encoding, content = _encoded(part, octets, _fitting(part, octets))
        section = _named(part, names[part]) if part in names else part.section
        section = section if charset is None else _with_charset(section, charset)
        changes[part] = (_labelled(section, part, encoding), content)
    return _rebuilt(message, changes) if changes else message


def seven_bit(message: Message) -> Message:
    """The message as every next hop can take it: no 8-bit octets, no line above 998 octets (RFC 6376 §5.3, RFC 6152).

    Leaf parts become quoted-printable or base64, over-long header fields are folded. Mail that carries a
    signature, or is signed or encrypted in itself, stays as it is; so do ``message/rfc822`` parts, which must not
    be encoded (RFC 2046 §5.2.1), and base64 that goes on behind its end. The same object comes back, if all fits.
    """
    body_fits = message.body.isascii() and not has_long_line(message.body)
    if (body_fits and not has_long_line(message.header)) or _is_signed(message):
        return message
    found = parts(message)
    if found[0].is_sealed:
        return message
    changes: dict[Part, tuple[bytes, bytes | None]] = {}
    for part in () if body_fits else found:
        if part.is_sealed:
            continue
        header, content = _seven_bit(part)
        if content is not None or header is not part.section.header:
            changes[part] = (header, content)
    changed = _rebuilt(message, changes)
    if not body_fits and changed.body.isascii() and not has_long_line(changed.body):
        for part in (p for p in found if p.is_multipart and not p.is_sealed and p.encoding in ("8bit", "binary")):
            header = changes[part][0] if part in changes else part.section.header
            changes[part] = (_labelled(Message(header, b""), part, "7bit"), None)
        changed = _rebuilt(message, changes)
    return _folded(changed)


def has_long_line(octets: bytes) -> bool:
    """Whether a line is longer than 998 octets; looks at one place in 998."""
    position, size = 0, len(octets)
    while size - position > LINE_LIMIT:
        end = octets.rfind(b"\r\n", position, position + LINE_LIMIT + 2)
        if end < 0:
            return len(octets.rstrip(b"\r\n")) - position > LINE_LIMIT
        position = end + 2
    return False


# Finding


class _Draft:
    """A part whose end is not known yet."""

    boundary: bytes
    content_type: str
    enclosing: tuple[bytes, ...]
    is_sealed: bool

    def __init__(self, section: Message, header_at: int | None, start: int, around: "_Draft | None") -> None:
        value = section.first("Content-Type") or ""
        declared = _TYPE.match(value)
        default = "message/rfc822" if around and around.content_type == "multipart/digest" else "text/plain"
        self.section = section
        self.header_at = header_at
        self.start = start
        self.end = -1
        self.content_type = declared[1].lower() if declared else default
        self.parameters = parameters(value)
        self.enclosing = (*around.enclosing, around.boundary) if around else ()
        self.is_sealed = self.content_type in _SEALED or (around is not None and around.is_sealed)
        self.boundary = b""
        if self.content_type.startswith("multipart/") and len(self.enclosing) < MAX_DEPTH:
            self.boundary = self.parameters.get("boundary", "").rstrip().encode("utf-8", "surrogateescape")


def _found(message: Message) -> tuple[Part, ...]:
    body = message.body
    root = _Draft(Message(message.header, b""), None, 0, None)
    drafts, chain = [root], [root]
    levels = {root.boundary: 0} if root.boundary else {}
    at = -1
    if levels:
        at = -2 if body.startswith(b"--") else body.find(b"\r\n--")
    while at != -1 and levels:
        line_end = body.find(b"\r\n", at + 2)
        line = body[at + 4 : line_end if line_end >= 0 else len(body)].rstrip(b" \t")
        is_closing = line not in levels and line.endswith(b"--")
        level = levels.get(line[:-2] if is_closing else line)
        if level is None:
            at = body.find(b"\r\n--", at + 4)
            continue
        for draft in chain[level + 1 :]:
            draft.end = at
            levels.pop(draft.boundary, None)
        del chain[level + 1 :]
        start = line_end + 2 if line_end >= 0 else len(body)
        if is_closing:
            del levels[chain[level].boundary]
        elif len(drafts) >= MAX_PARTS:
            break
        else:
            draft = _draft(body, start, chain[level])
            start = draft.start
            drafts.append(draft)
            chain.append(draft)
            if draft.boundary and levels.setdefault(draft.boundary, level + 1) != level + 1:
                draft.boundary = b""
        at = body.find(b"\r\n--", start - 2)
    return tuple(_part(draft, body) for draft in drafts)


def _draft(body: bytes, header_at: int, around: _Draft) -> _Draft:
    start = _PART_HEADER.end(body, header_at)
    header = body[header_at:start]
    if body.startswith(b"\r\n", start):
        start += 2
    return _Draft(Message(header, b""), header_at, start, around)


def _part(draft: _Draft, body: bytes) -> Part:
    return Part(
        body=body,
        section=draft.section,
        header_at=draft.header_at,
        start=draft.start,
        end=draft.end if draft.end >= 0 else len(body),
        content_type=draft.content_type,
        parameters=Private(draft.parameters),
        enclosing=draft.enclosing,
        is_sealed=draft.is_sealed,
    )


# Changing


def _fitting(part: Part, octets: bytes) -> str:
    """The part's own transfer encoding, if these octets may stand in it; else the one that it needs."""
    own = part.encoding
    if own == "base64" or b"\0" in octets or (not is_like_ascii(codec(part.charset)) and has_bare_line_end(octets)):
        return "base64"
    is_allowed = own in ("8bit", "binary") or (own in _PLAIN_ENCODINGS and octets.isascii())
    return own if is_allowed and not has_long_line(octets) else "quoted-printable"


def _encoded(part: Part, octets: bytes, encoding: str) -> tuple[str, bytes]:
    content = octets
    if encoding == "quoted-printable":
        content = binascii.b2a_qp(octets)
        if b"\n" not in octets:  # then it does not know which line end to use
            content = content.replace(b"\n", b"\r\n")
    if encoding != "base64" and not _holds_boundary(content, part.enclosing):
        return encoding, content
    lines = [binascii.b2a_base64(octets[at : at + 57], newline=False) for at in range(0, len(octets), 57)]
    if part.header_at is None:
        lines.append(b"")
    return "base64", b"\r\n".join(lines)


def _holds_boundary(content: bytes, enclosing: Iterable[bytes]) -> bool:
    """Whether a line could be taken for a delimiter (RFC 2046 §5.1.1): else a text could bring parts of its own."""
    delimiters = tuple(b"--" + boundary for boundary in enclosing)
    if not delimiters or (not content.startswith(b"--") and b"\r\n--" not in content):
        return False
    return any(line.startswith(delimiters) for line in content.split(b"\r\n"))


def _named(part: Part, name: str) -> Message:
    if part.is_sealed:
        raise ValueError("what is signed or encrypted can't be renamed")
    return part.section if part.filename is None else renamed(part.section, part.filename, name)


def _labelled(section: Message, part: Part, encoding: str) -> bytes:
    """The header section with this transfer encoding, and MIME-Version if it was lacking where it belongs."""
    if encoding != part.encoding:
        section = _with_field(section, "Content-Transfer-Encoding", encoding)
    is_changed = section.header != part.section.header
    if is_changed and part.header_at is None and not section.has("MIME-Version"):
        section = section.append("MIME-Version", "1.0")
    return section.header


def _with_charset(section: Message, charset: str) -> Message:
    """With another charset in Content-Type, whose other parameters stay."""
    value = section.first("Content-Type") or ""
    if not _TYPE.match(value):
        return _with_field(section, "Content-Type", f"text/plain; charset={charset}")
    return _with_field(section, "Content-Type", with_parameter(value, "charset", charset))


def _with_field(section: Message, name: str, value: str) -> Message:
    """With this field in place of the topmost of that name, or at the end."""
    fields = section.all(name)
    value = folded_value(name, value)
    return section.with_values({fields[0]: value}) if fields else section.append(name, value)


def _rebuilt(message: Message, changes: Mapping[Part, tuple[bytes, bytes | None]]) -> Message:
    """The message with other header sections and, where there is one, other content in these parts."""
    header, body, position = message.header, message.body, 0
    pieces: list[bytes] = []
    for part in sorted(changes, key=lambda part: part.start):
        if part.body is not body or (part.header_at is None and part.section.header is not header):
            raise ValueError("the part is not of this message")
        section, content = changes[part]
        if part.header_at is None:
            header = section
        else:
            if not body.endswith(b"\r\n", 0, part.header_at):  # the body ends in the delimiter
                section = b"\r\n" + section
            pieces += (body[position : part.header_at], section)
            position = part.header_at + len(part.section.header)
        if content is not None:
            pieces += (content,) if part.header_at is None else (b"\r\n", content)
            position = part.end
    if pieces:
        body = b"".join((*pieces, body[position:]))
    return message.with_body(body) if header is message.header else Message(header, body)


def _is_signed(message: Message) -> bool:
    names = (field.name.lower() for field in message.fields)
    return any(name.startswith("arc-") or name in ("dkim-signature", "domainkey-signature") for name in names)


def _seven_bit(part: Part) -> tuple[bytes, bytes | None]:
    """The header section and, if it must be encoded, the content of one part; of a multipart only the former."""
    section = part.section if part.header_at is None else _folded(part.section)
    is_composite = part.content_type.startswith(("multipart/", "message/"))
    fits = part.content.isascii() and not has_long_line(part.content)
    octets = None if is_composite or fits else part.octets
    goes_on = part.encoding == "base64" and part.content.partition(b"=")[2].translate(None, b"= \t\r\n")
    if octets is None or goes_on:  # behind the end of base64, where no decoder looks
        return section.header, None
    if not section.has("Content-Type"):
        charset = "us-ascii" if octets.isascii() else "utf-8" if is_utf8(octets) else "unknown-8bit"
        section = _with_charset(section, charset)
    is_text = part.content_type.startswith("text/") or part.encoding == "quoted-printable"
    is_mostly_ascii = (len(octets) - len(octets.translate(None, _HIGH))) * 5 <= len(octets)
    is_quotable = is_text and is_mostly_ascii and _fitting(part, octets) != "base64" and not has_bare_line_end(octets)
    encoding, content = _encoded(part, octets, "quoted-printable" if is_quotable else "base64")
    return _labelled(section, part, encoding), content


def _folded(section: Message) -> Message:
    """With fields folded whose lines are too long; itself, if there are none."""
    if not has_long_line(section.header):
        return section
    return section.with_values({f: folded_value(f.name, f.value) for f in section.fields if has_long_line(f.raw)})
