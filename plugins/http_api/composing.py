"""Writes the message that outgoing mail describes (RFC 5322, RFC 2045): everything but what a copy has of its own.

The rule: equal mail gives equal octets but for its date, and nothing in it can become a header field or a part.
"""

import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import quote

from mtaframe import Address, Message, dns_name, encoded_phrase, encoded_value, folded_value
from mtaframe_plugins.http_api.outgoing import Attachment, Mailbox, Outgoing

OURS = frozenset(
    {
        "authentication-results",
        "bcc",
        "cc",
        "content-transfer-encoding",
        "content-type",
        "date",
        "dkim-signature",
        "from",
        "message-id",
        "mime-version",
        "received",
        "reply-to",
        "return-path",
        "subject",
        "to",
        "x-vars",
    }
)
"""Header fields that have a place of their own in a request, or that no caller may write."""

_FIELD_NAME = re.compile(r"[!-9;-~]{1,76}")
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_MOST_DATA = 4096
"""What the webhooks take as custom data."""
_LONGEST_WORD = 900
_TOKEN = re.compile(r"[A-Za-z0-9_.+-]+")

Part = tuple[bytes, bytes]
"""A header section and a body."""


class Shared:
    """What messages of one call have in common: written once, and in memory once."""

    def __init__(self) -> None:
        self._last: tuple[Outgoing, Part] | None = None
        self._fields: dict[tuple[str, str], bytes] = {}

    def content(self, mail: Outgoing) -> Part:
        """The texts and attachments, if they are those of the mail before."""
        if self._last is not None:
            last, part = self._last
            if last.text is mail.text and last.html is mail.html and last.attachments is mail.attachments:
                return part
        part = _content(mail)
        self._last = mail, part
        return part

    def field(self, name: str, value: str) -> bytes:
        """A further header field."""
        if (name, value) not in self._fields:
            self._fields[name, value] = _field(name, encoded_value(value))
        return self._fields[name, value]


def composed(mail: Outgoing, at: datetime, shared: Shared | None = None) -> Message:
    """The message, without To, Cc and Message-ID, which are each copy's own."""
    shared = shared or Shared()
    header, body = shared.content(mail)
    fields = [
        _field("From", _mailbox(mail.sender, mail.sender.address.mailbox)),
        _field("Subject", encoded_value(mail.subject)),
        _field("Date", format_datetime(at)),
        b"MIME-Version: 1.0\r\n",
    ]
    if mail.reply_to:
        fields.append(_field("Reply-To", mailbox_list(mail.reply_to)))
    fields += [shared.field(name, value) for name, value in mail.fields]
    if mail.custom_data:
        fields.append(_field("X-Vars", _json(mail.custom_data)))
    return Message(b"".join(fields) + header, body)


def mailbox_list(mailboxes: Iterable[Mailbox]) -> str:
    """As To, Cc and Reply-To hold it (RFC 5322 §3.4), not yet folded; in ASCII where that can be.

    So only an address whose local part is not ASCII needs a next hop with SMTPUTF8 (RFC 6531 §3.2).
    """
    return ", ".join(_mailbox(each, _in_ascii(each.address)) for each in mailboxes)


def _mailbox(each: Mailbox, address: str) -> str:
    return f"{encoded_phrase(each.name)} <{address}>" if each.name.strip() else address


def _in_ascii(address: Address) -> str:
    if address.local_part.isascii() and not address.domain.isascii():
        try:
            return f"{address.local_part}@{dns_name(address.domain)}"
        except UnicodeError:
            pass  # no name that the DNS can hold: the next hop will say so
    return address.mailbox


def field_fault(name: str, value: str) -> str | None:
    """Why a caller may not add this header field; None if it may."""
    if not _FIELD_NAME.fullmatch(name):
        return "is not the name of a header field"
    if name.lower() in OURS or name.lower().startswith(("arc-", "resent-", "content-")):
        return "is a header field that this server writes itself"
    if len(value) > 10_000:
        return "is too long"
    return "holds control characters" if _CONTROL.search(value.replace("\t", " ")) else None


def custom_data_fault(data: Mapping[str, str]) -> str | None:
    """Why this can't travel in X-Vars; None if it can, and comes back in events."""
    if len(data) > 100 or sum(map(len, data.values())) > _MOST_DATA or len(text := _json(data)) > _MOST_DATA:
        return f"100 values and {_MOST_DATA:,} characters of JSON are enough"
    if any(len(word) > _LONGEST_WORD for word in text.split(" ")):
        return f"more than {_LONGEST_WORD} characters of JSON without a blank don't fit into a line"
    return None


def content_type_fault(text: str) -> str | None:
    """Why this is no media type for an attachment; None if it is."""
    if not _CONTENT_TYPE.fullmatch(text):
        return 'is no media type, such as "application/pdf"'
    return "can't be attached" if text.lower().startswith(("multipart/", "message/")) else None


def _content(mail: Outgoing) -> Part:
    texts = []
    if mail.text is not None:
        texts.append(_text("plain", mail.text))
    if mail.html is not None:
        texts.append(_text("html", mail.html))
    part = _multipart("alternative", texts or [_text("plain", "")])
    inline = [_attachment(each) for each in mail.attachments if each.content_id is not None]
    attached = [_attachment(each) for each in mail.attachments if each.content_id is None]
    return _multipart("mixed", [_multipart("related", [part, *inline]), *attached])


def _multipart(subtype: str, parts: Sequence[Part]) -> Part:
    """The parts in one, whose boundary follows from them; one alone needs none."""
    if len(parts) == 1:
        return parts[0]
    digest = hashlib.blake2b(digest_size=15)
    for header, body in parts:
        digest.update(hashlib.blake2b(header).digest() + hashlib.blake2b(body).digest())
    boundary = f"=_{digest.hexdigest()}"
    kind = '; type="text/html"' if subtype == "related" and b"text/html" in parts[0][0] else ""
    if subtype == "related" and parts[0][0].startswith(b"Content-Type: multipart/alternative"):
        kind = '; type="multipart/alternative"'
    pieces = [b"--%b\r\n%b\r\n%b\r\n" % (boundary.encode(), header, body) for header, body in parts]
    return (
        _field("Content-Type", f'multipart/{subtype}{kind}; boundary="{boundary}"'),
        b"".join((*pieces, b"--%b--\r\n" % boundary.encode())),
    )


def _text(subtype: str, text: str) -> Part:
    octets = _LINE_END.sub("\r\n", text).encode("utf-8", "replace")
    if not octets.endswith(b"\r\n"):
        octets += b"\r\n"
    is_plain = octets.isascii() and max(map(len, octets.split(b"\r\n"))) <= 900 and b"\0" not in octets
    encoding, body = ("7bit", octets) if is_plain else _quoted(octets)
    charset = "us-ascii" if octets.isascii() else "utf-8"
    return (
        _field("Content-Type", f"text/{subtype}; charset={charset}")
        + _field("Content-Transfer-Encoding", encoding),
        body,
    )  # fmt: skip


def _quoted(octets: bytes) -> tuple[str, bytes]:
    high = len(octets) - len(octets.translate(None, bytes(range(128, 256))))
    if high * 5 > len(octets) or b"\0" in octets:
        return "base64", _base64(octets)
    return "quoted-printable", binascii.b2a_qp(octets)


def _attachment(each: Attachment) -> Part:
    place = "attachment" if each.content_id is None else "inline"
    header = _field("Content-Type", f"{each.content_type}{_named('name', each.name)}")
    header += _field("Content-Transfer-Encoding", "base64")
    header += _field("Content-Disposition", f"{place}{_named('filename', each.name)}")
    if each.content_id is not None:
        header += _field("Content-ID", f"<{each.content_id}>")
    return header, _base64(each.content)


def _named(parameter: str, name: str) -> str:
    """A parameter of a MIME field: a token, a quoted-string, or RFC 2231's form for everything else."""
    name = _CONTROL.sub("", name)
    if not name:
        return ""
    if _TOKEN.fullmatch(name):
        return f"; {parameter}={name}"
    if name.isascii() and len(name) < 60:
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'; {parameter}="{escaped}"'
    pieces = [""]
    for character in name:  # none is cut: many programs decode piece by piece
        encoded = quote(character, safe="", errors="replace")
        if len(pieces[-1]) + len(encoded) > 60:
            pieces.append("")
        pieces[-1] += encoded
    pieces[0] = "utf-8''" + pieces[0]
    if len(pieces) == 1:
        return f"; {parameter}*={pieces[0]}"
    return "".join(f"; {parameter}*{number}*={piece}" for number, piece in enumerate(pieces))


def _base64(octets: bytes) -> bytes:
    lines = [binascii.b2a_base64(octets[at : at + 57], newline=False) for at in range(0, len(octets), 57)]
    return b"\r\n".join((*lines, b""))


def _json(data: Mapping[str, str]) -> str:
    return json.dumps(dict(data))


def _field(name: str, value: str) -> bytes:
    return f"{name}: {folded_value(name, value)}\r\n".encode("utf-8", "replace")
