"""Where tags stand in header fields, and how what is filled in is encoded again (RFC 5322, RFC 2047).

The rule: a value in a display name stays a display name, and none brings a second address.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mtaframe import Field, decoded_value, encoded_phrase, encoded_value
from mtaframe_plugins.merge_tags import writing
from mtaframe_plugins.merge_tags.dialects import Dialect
from mtaframe_plugins.merge_tags.plain_places import json_places
from mtaframe_plugins.merge_tags.text import Fillable, WrittenAt
from mtaframe_plugins.merge_tags.writing import Written

# Fields that mail systems read, not people: message structure, identity, trace and signatures.
_LEFT_ALONE = frozenset(
    {
        "authentication-results",
        "autocrypt",
        "bcc",
        "date",
        "delivered-to",
        "dkim-signature",
        "domainkey-signature",
        "in-reply-to",
        "message-id",
        "mime-version",
        "received",
        "received-spf",
        "references",
        "return-path",
    }
)
_LEFT_ALONE_PREFIXES = ("arc-", "content-", "resent-")
_ADDRESS_FIELDS = frozenset(
    {
        "cc",
        "disposition-notification-to",
        "errors-to",
        "from",
        "list-id",
        "mail-followup-to",
        "mail-reply-to",
        "reply-to",
        "return-receipt-to",
        "sender",
        "to",
    }
)
_URL_FIELDS = frozenset({"list-archive", "list-help", "list-owner", "list-post", "list-subscribe", "list-unsubscribe"})

# Encoded-words come first: some senders leave commas inside.
_ADDRESS_TOKEN = re.compile(
    r'(?P<quoted>"(?:[^"\\]|\\.)*+"?)|(?P<angle><[^<>]*+>?)|(?P<comment>\([^()]*+\)?)|(?P<end>[,;:])'
    r'|(?P<words>(?:=\?[^?\s]++\?[BbQq]\?[^?]*+\?=|[^"<(,;:])++)',
    re.DOTALL,
)
_URL_TOKEN = re.compile(r"<[^<>]*+>?|[^<]++")
_CUSTOM_DATA = "x-vars"
"""Custom data, as JSON: docs/plugins/webhooks.md."""
_FIRST_STAND_IN, _STAND_INS = 0xF0000, 10_000
_STAND_IN = re.compile("[\U000f0000-\U000fffff]")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


class Run:
    """A stretch of a field value: ``raw`` as it stands and, if it has tags, its text and how that is encoded."""

    __slots__ = ("encoded", "raw", "text")

    def __init__(self, raw: str, text: Fillable | None = None, encoded: Callable[[str], str] = str) -> None:
        self.raw = raw
        self.text = text
        self.encoded = encoded


def runs(field: Field, dialect: Dialect) -> list[Run]:
    """The value of a field in runs; empty if it has no tags or must stay as it is."""
    name = field.name.lower()
    if dialect.mark.encode() not in field.raw and b"=?" not in field.raw:
        return []
    if name in _LEFT_ALONE or name.startswith(_LEFT_ALONE_PREFIXES):
        return []
    value, cut = field.value, _Cutter(dialect)
    if name in _ADDRESS_FIELDS:
        found = [run for mailbox in _mailboxes(value, dialect) for run in _mailbox_runs(mailbox, cut)]
    elif name in _URL_FIELDS:
        found = [cut.run(token, token, _in_angle_brackets) for token in _tokens(_URL_TOKEN, value, dialect)]
    elif name == _CUSTOM_DATA:
        text = decoded_value(value)
        found = [cut.run(value, text, json_places(text), encoded_value)]
    else:
        found = [cut.run(value, decoded_value(value), _on_one_line, encoded_value)]
    return found if any(run.text is not None for run in found) else []


class _Cutter:
    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def run(self, raw: str, text: str, written_at: WrittenAt, encoded: Callable[[str], str] = str) -> Run:
        return Run(raw, self._dialect.cut(text, lambda text: written_at, "a header field"), encoded)


def _on_one_line(at: int) -> Written:
    return writing.on_one_line


def _in_address(at: int) -> Written:
    return writing.in_address


def _in_angle_brackets(at: int) -> Written:
    return writing.whole_url if at <= 1 else writing.in_url


class Token(NamedTuple):
    kind: str | None
    raw: str


def _tokens(pattern: "re.Pattern[str]", value: str, dialect: Dialect) -> Iterator[str]:
    return (token.raw for token in _whole(pattern, value, dialect))


def _whole(pattern: "re.Pattern[str]", value: str, dialect: Dialect) -> Iterator[Token]:
    """The tokens of a value, none of which ends inside a tag: for a tag may hold commas, quotes and brackets.

    Meanwhile each tag is one character of those that nobody uses.
    """
    tags = list(dialect.tags(value))
    if len(tags) > _STAND_INS or _STAND_IN.search(value):
        tags = []
    pieces: list[str] = []
    back: dict[int, str] = {}
    position = 0
    for number, (start, end, _) in enumerate(tags):
        pieces += (value[position:start], chr(_FIRST_STAND_IN + number))
        back[_FIRST_STAND_IN + number] = value[start:end]
        position = end
    pieces.append(value[position:])
    for token in pattern.finditer("".join(pieces)):
        yield Token(token.lastgroup, token[0].translate(back) if back else token[0])


def _mailboxes(value: str, dialect: Dialect) -> Iterator[list[Token]]:
    """The tokens of an address list (RFC 5322 §3.4), mailbox by mailbox."""
    mailbox: list[Token] = []
    for token in _whole(_ADDRESS_TOKEN, value, dialect):
        mailbox.append(token)
        if token.kind == "end":
            yield mailbox
            mailbox = []
    yield mailbox


def _mailbox_runs(mailbox: list[Token], cut: _Cutter) -> Iterator[Run]:
    """Display names are encoded again as such; an address takes only what may stand in it; comments stay."""
    has_name = any(token.kind == "angle" for token in mailbox)
    for token in mailbox:
        raw = token.raw
        if token.kind == "angle" or (token.kind == "words" and not has_name):
            yield cut.run(raw, raw, _in_address)
        elif token.kind == "quoted" and has_name:
            name = _QUOTED_PAIR.sub(r"\1", raw[1:].removesuffix('"'))
            yield cut.run(raw, decoded_value(name), _on_one_line, encoded_phrase)
        elif token.kind == "words" and (name := raw.strip(" \t")):
            at = raw.index(name)
            yield Run(raw[:at])
            yield cut.run(name, decoded_value(name), _on_one_line, encoded_phrase)
            yield Run(raw[at + len(name) :])
        else:
            yield Run(raw)
