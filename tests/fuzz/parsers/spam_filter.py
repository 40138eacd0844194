"""What spam_filter reads: rspamd's answers, and messages that hide programs."""

import json
import math

from mtaframe import Message
from mtaframe_plugins.spam_filter.attachments import holds_program
from mtaframe_plugins.spam_filter.checks import failures
from mtaframe_plugins.spam_filter.rspamd import ACTIONS, UnusableError, read
from mtaframe_plugins.spam_filter.settings import CheckSettings
from tests.fuzz.parser import Parser

_ALL = CheckSettings(**dict.fromkeys(CheckSettings.model_fields, "reject"))


def answer(octets: bytes) -> None:
    try:
        opinion = read(octets)
    except UnusableError:
        return
    assert opinion.action in ACTIONS
    assert math.isfinite(opinion.score)
    told = json.loads(octets)
    assert told["action"] == opinion.action
    assert float(told["score"]) == opinion.score
    if told.get("is_skipped") is True:
        assert opinion.is_forced


def checks(octets: bytes) -> None:
    message = Message.parse(octets)
    found = failures(message, _ALL)
    assert all(decision.answer == "reject" for decision in found.values())


def programs(octets: bytes) -> None:
    """Behind a header section that is always the same, so that only the content counts."""
    kind, content = octets[:1], octets[1:]
    encoding = (b"base64", b"quoted-printable", b"8bit")[(kind[0] if kind else 0) % 3]
    head = b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: %b\r\n" % encoding
    message = Message(head, content)
    found = holds_program(message)
    assert found is True or found is False
    if encoding == b"8bit" and content.startswith(b"\x7fELF"):
        assert found


PARSERS = [
    Parser(
        "rspamd",
        answer,
        (
            b'{"action": "',
            b"no action",
            b"reject",
            b'", "score": ',
            b'"thresholds": {',
            b'"is_skipped": true',
            b"1e999",
            b"NaN",
            b"-Infinity",
            b"null",
            b'"required_score": ',
        ),
        longest=256,
    ),
    Parser(
        "spam_checks",
        checks,
        (
            b"From: a@b.c\r\n",
            b"Date: ",
            b"Sun, 01 Mar 2026 12:00:00 +0000\r\n",
            b"Message-ID: <a@b>\r\n",
            b"To: ",
            b"Subject:",
            b"Received: ",
            b"\r\n\r\n",
        ),
    ),
    Parser(
        "spam_programs",
        programs,
        (b"MZ", b"PK\x03\x04", b"PK\x01\x02", b"\x7fELF", b".exe", b"UEsDBA", b"TVqQ", b"=4D=5A", b".js"),
        longest=256,
    ),
]
