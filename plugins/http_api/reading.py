"""Reads what requests of every door hold: mailboxes, attachments, variables, fields. A Problem names the field."""

import base64
import binascii
import mimetypes
import re
from collections.abc import Iterable, Mapping
from typing import Any

from mtaframe import Address, Private, Variable, variable
from mtaframe_plugins.http_api import composing
from mtaframe_plugins.http_api.door import Problem
from mtaframe_plugins.http_api.mailbox_list import taken_apart
from mtaframe_plugins.http_api.outgoing import Attachment, Mailbox

_CONTENT_ID = re.compile(r"[A-Za-z0-9_.+@$%=!#^~-]{1,200}")
_ID = re.compile(r"-?[0-9]{1,15}")
_LONGEST_NAME = 998
LONGEST_LIST = 100_000
"""Characters of a field with mailboxes: each takes its microsecond."""
ANY = "application/octet-stream"
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def mailbox(text: str, field: str, name: str | None = None) -> Mailbox:
    """An address alone, and the name to go with it."""
    try:
        address = Address.parse(text.strip())
    except ValueError as error:
        raise Problem(400, str(error), field) from None
    if name and (len(name) > _LONGEST_NAME or CONTROL.search(name)):
        raise Problem(400, "a name is one line", f"{field} (name)")
    return Mailbox(address, name or "")


def mailboxes(text: str, field: str) -> tuple[Mailbox, ...]:
    """``Name <address>``, or several with commas between (RFC 5322 §3.4)."""
    if CONTROL.search(text):
        raise Problem(400, "holds control characters", field)
    if len(text) > LONGEST_LIST:
        raise Problem(400, "is too long", field)
    try:
        found = taken_apart(text)
    except ValueError as error:
        raise Problem(400, str(error), field) from None
    return tuple(mailbox(address, field, name) for name, address in found)


def sender(text: str, field: str) -> Mailbox:
    """One mailbox, as From has it."""
    found = mailboxes(text, field)
    if len(found) != 1:
        raise Problem(400, "is one address, or a name with its address", field)
    return found[0]


def media_type(given: str | None, name: str) -> str:
    """That of an attachment: what is given, without parameters, else what its name says."""
    if given and given.strip():
        return given.partition(";")[0].strip()
    _, dot, ending = name.rpartition(".")
    if not dot or not ending.isalnum():  # what is no ending could make a URL of the name, or none that can be read
        return ANY
    found, _ = mimetypes.guess_type(f"file.{ending}", strict=True)
    return ANY if found is None or composing.content_type_fault(found) else found


def attachment(name: str, content_type: str, content: str, field: str, content_id: str | None = None) -> Attachment:
    """``content`` is base64, with or without line ends."""
    try:
        octets = base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Problem(400, "is no base64", f"{field}.content") from None
    if fault := composing.content_type_fault(content_type):
        raise Problem(400, fault, f"{field}.type")
    if len(name) > _LONGEST_NAME:
        raise Problem(400, "is too long", f"{field}.name")
    if content_id is not None:
        content_id = content_id.removeprefix("cid:").strip("<>")
        if not _CONTENT_ID.fullmatch(content_id):
            raise Problem(400, "is no Content-ID", f"{field}.content_id")
    return Attachment(name, content_type, octets, content_id)


def fields(given: Iterable[tuple[str, str]], field: str) -> tuple[tuple[str, str], ...]:
    """Further header fields."""
    found = tuple(given)
    if len(found) > 100:
        raise Problem(400, "100 header fields are enough", field)
    for name, value in found:
        if fault := composing.field_fault(name, value):
            raise Problem(400, fault, f"{field}.{name}" if name.isprintable() and len(name) < 80 else field)
    return found


def subject(text: str, field: str = "subject") -> str:
    if CONTROL.search(text):
        raise Problem(400, "holds control characters", field)
    if len(text) > _LONGEST_NAME:
        raise Problem(400, f"{_LONGEST_NAME} characters are enough", field)
    return text


def number(text: str) -> int:
    """The id in a path; 0, which nothing has, if it is no number."""
    return int(text) if _ID.fullmatch(text) else 0


def custom_data(given: Mapping[str, str], field: str) -> Private[str]:
    """What comes back in events, and travels in X-Vars: it has to fit there."""
    if fault := composing.custom_data_fault(given):
        raise Problem(400, fault, field)
    return Private(dict(given))


def variables(given: Mapping[str, Any], field: str) -> Private[Variable]:
    """Merge variables by name; null is no text."""
    try:
        found = variable({name: "" if value is None else value for name, value in given.items()})
    except ValueError as error:
        raise Problem(400, str(error), field) from None
    assert isinstance(found, Private)
    return found


def texts(given: Mapping[str, Any] | None, field: str) -> dict[str, str]:
    """Values that are text, or a number, true or false."""
    found = {}
    for name, value in (given or {}).items():
        if isinstance(value, (list, dict)):
            raise Problem(400, "holds lists or objects, where text belongs", field)
        found[name] = _text(value)
    return found


def _text(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)
