"""Where tags stand in header fields, and how what is filled in is encoded again (RFC 5322, RFC 2047).

The rule: a value in a display name stays a display name, and none brings a second address.
"""

import re
from collections.abc import Callable, Iterator

from mtaframe import Field, decoded_value, encoded_phrase, encoded_value
from mtaframe_plugins.merge_tags import writing
from mtaframe_plugins.merge_tags.text import Text
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
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


class Run:
    """A stretch of a field value: ``raw`` as it stands and, if it has tags, its text and how that is encoded."""

    __slots__ = ("encoded", "raw", "text")

    def __init__(
        self,
        raw: str,
        text: str = "",
        written_at: Callable[[int], Written | None] = lambda at: writing.on_one_line,
        encoded: Callable[[str], str] = str,
    ) -> None:
        self.raw = raw
        self.text = Text(text, written_at)
        self.encoded = encoded


def runs(field: Field) -> list[Run]:
    """The value of a field in runs; empty if it has no tags or must stay as it is."""
    name = field.name.lower()
    if b"[" not in field.raw and b"=?" not in field.raw:
        return []
    if name in _LEFT_ALONE or name.startswith(_LEFT_ALONE_PREFIXES):
        return []
    if name in _ADDRESS_FIELDS:
        found = [run for mailbox in _mailboxes(field.value) for run in _mailbox_runs(mailbox)]
    elif name in _URL_FIELDS:
        found = [Run(m[0], m[0], _in_angle_brackets) for m in _URL_TOKEN.finditer(field.value)]
    else:
        found = [Run(field.value, decoded_value(field.value), encoded=encoded_value)]
    return found if any(run.text.tags for run in found) else []


def _in_angle_brackets(at: int) -> Written:
    return writing.whole_url if at <= 1 else writing.in_url


def _mailboxes(value: str) -> Iterator[list[re.Match[str]]]:
    """The tokens of an address list (RFC 5322 §3.4), mailbox by mailbox."""
    mailbox: list[re.Match[str]] = []
    for token in _ADDRESS_TOKEN.finditer(value):
        mailbox.append(token)
        if token.lastgroup == "end":
            yield mailbox
            mailbox = []
    yield mailbox


def _mailbox_runs(mailbox: list[re.Match[str]]) -> Iterator[Run]:
    """Display names are encoded again as such; an address takes only what may stand in it; comments stay."""
    has_name = any(token.lastgroup == "angle" for token in mailbox)
    for token in mailbox:
        raw = token[0]
        if token.lastgroup == "angle" or (token.lastgroup == "words" and not has_name):
            yield Run(raw, raw, lambda at: writing.in_address)
        elif token.lastgroup == "quoted" and has_name:
            name = _QUOTED_PAIR.sub(r"\1", raw[1:].removesuffix('"'))
            yield Run(raw, decoded_value(name), encoded=encoded_phrase)
        elif token.lastgroup == "words" and (name := raw.strip(" \t")):
            at = raw.index(name)
            yield Run(raw[:at])
            yield Run(name, decoded_value(name), encoded=encoded_phrase)
            yield Run(raw[at + len(name) :])
        else:
            yield Run(raw)
