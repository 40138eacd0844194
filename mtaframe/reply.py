"""SMTP replies, ours and theirs alike, and what of a remote one may reach our client.

The law: a client is told "failed" only when trying again would not help. What our own side caused is never
blamed on the message, and a remote text is never passed on unbounded or unclean.
"""

import re
from dataclasses import dataclass, field
from enum import Enum

from mtaframe.redaction import Redacted

TEXT_LIMIT = 400
"""Characters of text in one reply line; the whole line stays below 512 octets (RFC 5321 §4.5.3.1.5)."""

_STATUS = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})(?=\s|$)")
_OUR_FAULT = frozenset({500, 501, 502, 503, 504, 530, 534, 535, 538, 555})
_UNPRINTABLE = re.compile(r"[^ -~]+")


class Stage(Enum):
    """Where in the conversation a remote server said something."""

    CONNECT = "connect"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"


@dataclass(frozen=True, slots=True, repr=False)
class Reply(Redacted):
    """``code`` (RFC 5321 §4.2), ``status`` (RFC 3463; empty if the server gave none) and ``text``."""

    _shown = ("code", "status")

    code: int
    status: str
    text: str
    _octets: bytes | None = field(default=None, init=False, compare=False)

    @classmethod
    def parse(cls, code: int, text: str) -> "Reply":
        """A reply off the wire: the enhanced status is taken from the head of the text (RFC 2034)."""
        found = _STATUS.match(text)
        if found is None:
            return cls(code, "", text)
        if "\n" not in text:
            return cls(code, found[0], text[found.end() :].strip())
        lines = text.splitlines()
        rest = [line[found.end() :] if line.startswith(found[0]) else line for line in lines]
        return cls(code, found[0], "\n".join(line.strip() for line in rest))

    @property
    def is_positive(self) -> bool:
        return 200 <= self.code < 300

    @property
    def is_permanent(self) -> bool:
        return 500 <= self.code < 600

    @property
    def line(self) -> str:
        """The reply as one line, without CR LF: printable ASCII, bounded."""
        text = _one_line(self.text)
        return f"{self.code} {self.status} {text}" if self.status else f"{self.code} {text}"

    @property
    def octets(self) -> bytes:
        """The line as it is sent; made once, for most of what we say is said again and again."""
        octets = self._octets
        if octets is None:
            octets = f"{self.line}\r\n".encode("ascii")
            object.__setattr__(self, "_octets", octets)
        return octets


def for_client(remote: Reply, stage: Stage) -> Reply:
    """What our client is told of a remote reply: the table in docs/replies.md.

    - What our side caused (500 to 504, 530, 534, 535, 538, 555) is 451 4.3.5: see ``is_our_fault``.
    - 421 becomes 451; so does anything that is not a reply SMTP knows.
    - A 5xx in answer to the connection, EHLO, STARTTLS or AUTH says nothing of the message: 451.
    - An enhanced status whose class contradicts the code is corrected; a missing one is made.
    - Text is printable ASCII, one line, bounded.
    """
    if is_our_fault(remote):
        return Reply(451, "4.3.5", "the next hop and this server do not agree; the operator has been told")
    code = remote.code
    early = stage in (Stage.CONNECT, Stage.EHLO, Stage.STARTTLS, Stage.AUTH)
    if code == 421 or not (200 <= code < 300 or 400 <= code < 600) or (early and code >= 500):
        code = 451
    status = remote.status or f"{code // 100}.0.0"
    if status[0] != str(code // 100):
        status = f"{code // 100}{status[1:]}"
    return Reply(code, status, _one_line(remote.text))


def is_our_fault(remote: Reply) -> bool:
    """Whether the remote complains of our commands or credentials: an alarm for the operator."""
    return remote.code in _OUR_FAULT


def with_id(reply: Reply, envelope_id: str) -> Reply:
    """The same reply, its text followed by our id, by which the log finds the message."""
    return Reply(reply.code, reply.status, f"{_one_line(reply.text)[: TEXT_LIMIT - 32]} [{envelope_id}]")


def for_log(reply: Reply) -> str:
    """Code and status; remote text may name a recipient and so never reaches a log."""
    return f"{reply.code} {reply.status}" if reply.status else str(reply.code)


def _one_line(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text.strip(" ")[:TEXT_LIMIT].rstrip(" ")
    return _UNPRINTABLE.sub(" ", text).strip()[:TEXT_LIMIT].rstrip(" ")
