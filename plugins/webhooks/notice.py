"""What an endpoint is told: one JSON object, with MimePost's names for what MimePost tells.

The rule: the recipient's address stands in the body that goes over the wire, and nowhere else.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parseaddr
from typing import Any

from mtaframe import Address, EventType, Message, Private, Redacted, Reply, decoded_value

VARS_FIELD = "X-Vars"
VARS_LIMIT = 4096
"""Characters of the X-Vars field; a longer one is no custom data."""
FROM_LIMIT = 4096
"""Characters of a From field that is taken apart; of a longer one, which is not plain, no address is told."""
LONGEST_ADDRESS = 320
"""Characters: 64, an @ and 255 (RFC 5321 §4.5.3.1)."""

_SUMMARY = {
    EventType.REQUEST: "The message was taken in for this recipient",
    EventType.DELIVERED: "The next hop took the message",
    EventType.DEFERRED: "Not delivered yet; a later attempt may succeed",
    EventType.BOUNCE_SOFT: "The remote server refused the message, for a reason that may pass",
    EventType.BOUNCE_HARD: "The remote server refused the message for good",
    EventType.BLOCK_SOFT: "Stopped for now for the sender's sake",
    EventType.BLOCK_HARD: "Stopped for good for the sender's sake",
    EventType.OPEN: "The message was opened",
    EventType.CLICK: "A link in the message was followed",
    EventType.UNSUBSCRIBE: "The recipient wants no more of it",
    EventType.SPAM: "The recipient complained",
    EventType.SPAMTRAP: "The recipient is a spam trap",
    EventType.ACCOUNT_WARNED: "The account comes near a limit",
    EventType.ACCOUNT_LIMITED: "The account may send less",
    EventType.ACCOUNT_SUSPENDED: "The account may not send",
    EventType.ACCOUNT_RESUMED: "The account may send again",
    EventType.SOURCE_LISTED: "A source's address is on a block list",
    EventType.SOURCE_RESTED: "A source is left alone for a while",
}
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_ATTEMPTED = frozenset({EventType.DELIVERED, EventType.DEFERRED, EventType.BOUNCE_SOFT, EventType.BOUNCE_HARD})

_ADDRESS = r"[A-Za-z0-9_+=-]+(?:\.[A-Za-z0-9_+=-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
_PLAIN_FROM = re.compile(rf"""(?:"[\w .,'&!()-]*+"|[\w !'-]*+) *+<({_ADDRESS})>|({_ADDRESS})""", re.ASCII)
"""Nearly every From field, where ``parseaddr`` would find the same in twenty times the time."""

Fact = str | int | float | bool | None
NO_FACTS: Private[Fact] = Private()


@dataclass(slots=True, repr=False)
class Notice(Redacted):
    """One event as it waits: small, without the message. ``vars`` is the text of the custom data.

    ``sequence`` counts up per account, and comes a moment later than the rest; 0: it has no number, as one about no
    real mail.
    """

    _shown = ("id", "type", "account", "message_id", "sequence")

    id: str
    type: EventType
    at: datetime
    account: str | None = None
    stream: str | None = None
    message_id: str | None = None
    recipient: Address | None = None
    vars: str | None = None
    reply: Reply | None = None
    by: str | None = None
    remote: str | None = None
    data: Mapping[str, Fact] = NO_FACTS
    sequence: int = 0

    def body(self) -> bytes:
        """The JSON object (RFC 8259), in UTF-8. What the event itself brings never hides our own fields."""
        at = self.at.isoformat(timespec="milliseconds")
        fields: dict[str, Any] = dict(self.data) | {
            "message_id": self.message_id,
            "event": self.type.value,
            "datetime": f"{at[:10]} {at[11:19]}",
            "timestamp": at.replace("+00:00", "Z"),
            "summary": self._summary(),
            "to_email": self.recipient.mailbox if self.recipient else None,
            "tags": [],
            "vars": sound_object(self.vars) if self.vars else {},
            "id": self.id,
            "sequence": self.sequence,
            "account": self.account,
            "stream": self.stream,
        }
        if self.type is EventType.REQUEST and self.recipient is not None:
            fields |= {"to_domain": self.recipient.domain, "user_id": self.account}
        if self.reply is not None:
            fields |= self._of_the_attempt(self.reply)
        return _json(fields).encode("utf-8", "replace")

    def _of_the_attempt(self, reply: Reply) -> dict[str, Any]:
        fields: dict[str, Any] = {"code": reply.code, "status": reply.status, "by": self.by}
        if self.remote is not None:
            fields["remote"] = self.remote
        if self.remote is not None or self.type in _ATTEMPTED:
            fields["server_response"] = reply.line
        return fields

    def _summary(self) -> str:
        text = _SUMMARY[self.type]
        if self.reply is None:
            return f"{text}."
        return f"{text} ({' '.join((str(self.reply.code), self.reply.status)).strip()})."


def new_id() -> str:
    """The id of an event, the same for every URL and attempt."""
    return os.urandom(8).hex()


def sample(kind: EventType, account: str | None, at: datetime) -> Notice:
    """An event about no real mail."""
    data: dict[str, Fact] = {"test": True}
    if kind is EventType.REQUEST:
        data["from_email"] = "sender@example.com"
    return Notice(
        id=new_id(),
        type=kind,
        at=at,
        account=account,
        message_id="test",
        recipient=Address("recipient", "example.com"),
        data=Private(data),
    )


def custom_data(message: Message) -> str | None:
    """The text of the X-Vars field, if it may be a JSON object; whether it is one shows when the body is made."""
    if b"x-vars" not in message.header.lower():
        return None
    text = message.first(VARS_FIELD) or ""
    if text.startswith("=?"):
        text = decoded_value(text)
    return text if text.startswith("{") and len(text) <= VARS_LIMIT else None


def sound_object(text: str) -> dict[str, Any]:
    """The JSON object that a text is; empty if it is none, or could not be sent on as it is."""
    try:
        text.encode()
        found = json.loads(text, parse_constant=_no_number)
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()  # 1e999 is read as a number beyond all
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _no_number(_: str) -> None:
    raise ValueError("JSON has no such number")


def author(message: Message, reverse_path: Address | None) -> str | None:
    """Who the message is from: the address in its From field, else the reverse-path."""
    value = decoded_value(message.first("From") or "")
    if "@" in (found := _in_from(value)) and len(found) <= LONGEST_ADDRESS:
        return found
    return reverse_path.mailbox if reverse_path else None


def _in_from(value: str) -> str:
    """The first address, if it can be found in little time."""
    if (plain := _PLAIN_FROM.fullmatch(value)) is not None:
        return plain[1] or plain[2]
    if len(value) > FROM_LIMIT:
        return ""
    try:
        return parseaddr(value)[1]
    except RecursionError:  # it goes into comments within comments by calling itself
        return ""
