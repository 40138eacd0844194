"""Asks rspamd for its opinion of one message, by HTTP (rspamd's protocol, ``/checkv2``).

The rule: only an answer that is understood in full is an opinion; everything else is ``UnusableError``.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mtaframe import Envelope, HttpError, HttpResponse, Message, Mta, Recipient, Redacted
from mtaframe_plugins.spam_filter.settings import SpamFilterSettings

ACTIONS = frozenset(
    {"no action", "greylist", "add header", "rewrite subject", "soft reject", "reject", "quarantine", "discard"}
)
_WITHOUT_LIMIT = frozenset({"soft reject", "quarantine", "discard"})
_ROOM = 8_000
"""Octets of recipients that one request names: HTTP servers limit their header sections."""


class UnusableError(Exception):
    """Rspamd gave no opinion. The text is ours and holds nothing of a message."""


@dataclass(frozen=True, slots=True, repr=False)
class Opinion(Redacted):
    """What rspamd says. ``is_forced``: a rule of its own chose the action, and not the score."""

    action: str
    score: float
    is_forced: bool


class Rspamd:
    """One rspamd; connections are kept and reused by the house's HTTP client."""

    def __init__(self, settings: SpamFilterSettings, mta: Mta) -> None:
        self._url = f"{settings.url}/checkv2"
        self._timeout = settings.timeout
        self._mta = mta
        self._own = {"MTA-Name": mta.hostname}
        if settings.password is not None:
            self._own["Password"] = settings.password.get_secret_value()

    async def opinion(self, envelope: Envelope, recipients: Sequence[Recipient], message: Message) -> Opinion:
        """Of this message to these recipients. UnusableError if there is none in time."""
        headers, content = self._own | about(envelope, recipients), message.raw
        began = self._mta.clock.monotonic()
        try:
            try:
                response = await self._asked(headers, content, self._timeout)
            except HttpError:  # perhaps a kept connection that rspamd has just closed; a scan may be repeated
                left = began + self._timeout - self._mta.clock.monotonic()
                if left <= 0:
                    raise
                response = await self._asked(headers, content, left)
        except HttpError as error:
            raise UnusableError(str(error)) from None
        if response.status != 200:
            raise UnusableError(f"HTTP status {response.status}")
        return read(response.body)

    async def _asked(self, headers: dict[str, str], content: bytes, seconds: float) -> HttpResponse:
        return await self._mta.http.request(
            "POST", self._url, headers=headers, content=content, timeout=seconds, trusted=True
        )


def about(envelope: Envelope, recipients: Sequence[Recipient]) -> dict[str, str]:
    """What rspamd is told beside the message. Recipients stand in one field, as many as have room."""
    session = envelope.session
    reverse_path = envelope.reverse_path.mailbox if envelope.reverse_path else ""
    told = {
        "IP": session.client,
        "Helo": session.ehlo,
        "From": f"<{reverse_path}>",
        "Rcpt": _list(recipients),
        "User": envelope.account or "",
        "Queue-Id": envelope.id,
    }
    return {name: value for name, value in told.items() if value and value.isprintable()}


def _list(recipients: Sequence[Recipient]) -> str:
    room, named = _ROOM, []
    for recipient in recipients:
        mailbox = f"<{recipient.address.mailbox}>"
        room -= len(mailbox.encode()) + 2
        if room < 0:
            break
        named.append(mailbox)
    return ", ".join(named)


def read(body: bytes) -> Opinion:
    """The opinion in an answer. UnusableError if anything that we need is missing, wrong or unknown."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise UnusableError("the answer is not JSON") from None
    if not isinstance(answer, dict):
        raise UnusableError("the answer is not an object")
    action, score = answer.get("action"), _number(answer.get("score"))
    if not isinstance(action, str) or action not in ACTIONS:
        raise UnusableError("the answer has no action that is known")
    if score is None:
        raise UnusableError("the answer has no score")
    return Opinion(action, score, _is_forced(answer, action, score))


def _is_forced(answer: dict[str, Any], action: str, score: float) -> bool:
    """Whether the score alone would not have led to this action."""
    limits = answer.get("thresholds")
    limit = limits.get(action) if isinstance(limits, dict) else None
    if limit is None and action == "reject":
        limit = answer.get("required_score")
    limit = _number(limit)
    return answer.get("is_skipped") is True or action in _WITHOUT_LIMIT or (limit is not None and score < limit)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
