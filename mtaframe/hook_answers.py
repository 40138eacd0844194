"""What each hook may answer, checked: a wrong answer is a fault and changes nothing.

Each check raises WrongAnswer, or puts the changed value among the hook's arguments for the next plugin.
"""

from collections.abc import Mapping
from typing import Any

from mtaframe.delivery import Delivery
from mtaframe.envelope import Envelope, Recipient, Session
from mtaframe.message import Message, has_bare_line_end
from mtaframe.redaction import Notes
from mtaframe.settings import PluginSettings
from mtaframe.verdict import Discard, Verdict, faulty

NOTES_LIMIT = 65_536
"""Octets that the notes of one value may hold, all together."""


class WrongAnswer(Exception):
    """An answer that the hook does not allow. The text is ours and holds nothing of a message."""


def check_verdict(verdict: Verdict, hook: str, grants: PluginSettings) -> None:
    if isinstance(verdict, Discard) and hook in ("on_connect", "on_rcpt"):
        raise WrongAnswer("Discard before there is a message")
    if isinstance(verdict, Discard) and not grants.allow_discard:
        raise WrongAnswer("Discard without allow_discard")
    if (wrong := faulty(verdict)) is not None:
        raise WrongAnswer(wrong)


def nothing(arguments: list[Any], answer: object) -> None:
    raise WrongAnswer(f"{type(answer).__name__} where nothing is expected")


def same_session(arguments: list[Any], answer: object) -> None:
    before: Session = arguments[0]
    if not isinstance(answer, Session):
        raise WrongAnswer("neither a Session nor a verdict")
    if (answer.id, answer.client, answer.listener) != (before.id, before.client, before.listener):
        raise WrongAnswer("another session")
    _check_notes(answer.notes, before.notes)
    arguments[0] = answer


def is_recipient(arguments: list[Any], answer: object) -> None:
    if not isinstance(answer, Recipient):
        raise WrongAnswer("neither a Recipient nor a verdict")
    _check_notes(answer.notes, arguments[2].notes)
    arguments[2] = answer


def same_envelope(arguments: list[Any], answer: object) -> None:
    envelope, message = arguments[1], arguments[2]
    parts = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer,)
    for part in parts:
        if isinstance(part, Message):
            _check_message(part, message)
            message = part
        elif isinstance(part, Envelope):
            if part.id != envelope.id or part.session != envelope.session:
                raise WrongAnswer("another envelope")
            if [one.address for one in part.recipients] != [one.address for one in envelope.recipients]:
                raise WrongAnswer("an envelope with other recipients, or in another order")
            _check_notes(part.notes, envelope.notes)
            for recipient, old in zip(part.recipients, envelope.recipients, strict=True):
                _check_notes(recipient.notes, old.notes)
            envelope = part
        else:
            raise WrongAnswer("neither a Message, an Envelope, both, nor a verdict")
    arguments[1], arguments[2] = envelope, message


def same_delivery(arguments: list[Any], answer: object) -> None:
    before: Delivery = arguments[0]
    if not isinstance(answer, Delivery):
        raise WrongAnswer("neither a Delivery nor a verdict")
    if answer.id != before.id or answer.envelope is not before.envelope:
        raise WrongAnswer("another delivery")
    _check_message(answer.message, before.message)
    _check_notes(answer.notes, before.notes)
    arguments[0] = answer


def fields_on_top(arguments: list[Any], answer: object) -> None:
    before: Message = arguments[1]
    if not isinstance(answer, Message):
        raise WrongAnswer("neither a Message nor a verdict")
    if answer.body is not before.body and answer.body != before.body:
        raise WrongAnswer("a signature that changes the body")
    if not answer.header.endswith(before.header):
        raise WrongAnswer("a signature that does more than add fields on top")
    _check_message(answer, before)
    arguments[1] = answer


def _check_message(message: object, before: Message) -> None:
    if message is before:
        return
    if not isinstance(message, Message):
        raise WrongAnswer("no Message")
    if message.header is not before.header and not message.is_sound_header:
        raise WrongAnswer("a header section that is none (RFC 5322 §2.2)")
    if message.body is not before.body and has_bare_line_end(message.body):
        raise WrongAnswer("a body with a bare CR or LF")


def _check_notes(notes: object, before: Notes) -> None:
    if notes is before:
        return
    if not isinstance(notes, Mapping):
        raise WrongAnswer("notes that are no mapping")
    room = NOTES_LIMIT
    for key, value in notes.items():
        room -= len(key) + _weight(value)
        if room < 0:
            raise WrongAnswer(f"notes of more than {NOTES_LIMIT} octets")


def _weight(value: object) -> int:
    if isinstance(value, (str, bytes)):
        return len(value)
    if value is None or isinstance(value, (int, float, bool)):
        return 8
    if isinstance(value, (tuple, frozenset)):
        return 8 + sum(_weight(item) for item in value)
    raise WrongAnswer(f"a note of type {type(value).__name__}; notes are plain data")
