"""The built-in checks: what can be seen in a message without asking anybody."""

import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from mtaframe import Message, Reject
from mtaframe_plugins.spam_filter.attachments import holds_program
from mtaframe_plugins.spam_filter.decision import Decision
from mtaframe_plugins.spam_filter.settings import CheckAnswer, CheckSettings

_MESSAGE_ID = re.compile(r"<[^<>@\s]+@[^<>@\s]+>")


def failures(message: Message, settings: CheckSettings) -> dict[str, Decision]:
    """The checks that the message does not stand, by name, as far as they are on."""
    return {
        name: Decision(answer, refusal)
        for name, (fails, refusal) in _CHECKS.items()
        if (answer := _answer(settings, name)) != "off" and fails(message)
    }


def _answer(settings: CheckSettings, name: str) -> CheckAnswer:
    answer: CheckAnswer = getattr(settings, name)
    return answer


def _has_wrong_from(message: Message) -> bool:
    """RFC 5322 §3.6: From stands exactly once. Programs for mail show now the first, now the last of several."""
    return len(message.all("From")) != 1


def _has_wrong_date(message: Message) -> bool:
    fields = message.all("Date")
    if len(fields) != 1:
        return True
    try:
        parsedate_to_datetime(fields[0].value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return True
    return False


def _has_wrong_message_id(message: Message) -> bool:
    fields = message.all("Message-ID")
    return len(fields) != 1 or _MESSAGE_ID.fullmatch(fields[0].value) is None


_CHECKS: dict[str, tuple[Callable[[Message], bool], Reject]] = {
    "from_field": (_has_wrong_from, Reject("the message must have exactly one From field", "5.6.0", 554)),
    "date": (_has_wrong_date, Reject("the message must have exactly one valid Date field", "5.6.0", 554)),
    "message_id": (
        _has_wrong_message_id,
        Reject("the message must have exactly one valid Message-ID field", "5.6.0", 554),
    ),
    "executables": (holds_program, Reject("attachments that are programs are not accepted", "5.7.1", 552)),
}
