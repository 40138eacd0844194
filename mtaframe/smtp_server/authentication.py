"""The AUTH exchange (RFC 4954) for PLAIN (RFC 4616) and LOGIN: from the client's answers to user and password."""

import base64
import binascii
from collections.abc import Awaitable, Callable

from mtaframe.reply import Reply

NOT_AUTHENTICATED = Reply(535, "5.7.8", "authentication failed")
_GIVEN_UP = Reply(501, "5.5.2", "the exchange was given up, or is not base64")
_UNKNOWN_MECHANISM = Reply(504, "5.5.4", "write AUTH PLAIN or AUTH LOGIN")
_USER_NAME = "VXNlcm5hbWU6"
_PASSWORD = "UGFzc3dvcmQ6"  # noqa: S105  the prompt, in base64

Ask = Callable[[str], Awaitable[bytes | None]]
"""Says 334 with this text; the line that the client answers, or None if it was too long."""


async def credentials(argument: str, ask: Ask) -> tuple[str, str] | Reply:
    """User and password, or the reply to an exchange that yields none: 501, 504, or 535 if they can't be right."""
    mechanism, _, initial = argument.partition(" ")
    match mechanism.upper():
        case "PLAIN":
            octets = _decoded(initial.encode() if initial else await ask(""))
            return _GIVEN_UP if octets is None else _plain(octets)
        case "LOGIN":
            user = _decoded(initial.encode() if initial else await ask(_USER_NAME))
            password = None if user is None else _decoded(await ask(_PASSWORD))
            return _GIVEN_UP if user is None or password is None else _login(user, password)
        case _:
            return _UNKNOWN_MECHANISM


def _decoded(text: bytes | None) -> bytes | None:
    """What base64 hides; ``=`` alone is an empty answer, ``*`` gives the exchange up (RFC 4954 §4)."""
    if text is None or text == b"=":
        return text and b""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def _plain(octets: bytes) -> tuple[str, str] | Reply:
    """Nobody may act for another one: the first part is empty or the user."""
    parts = octets.split(b"\0")
    if len(parts) != 3 or parts[0] not in (b"", parts[1]):
        return NOT_AUTHENTICATED
    return _login(parts[1], parts[2])


def _login(user: bytes, password: bytes) -> tuple[str, str] | Reply:
    try:
        return (user.decode(), password.decode()) if user else NOT_AUTHENTICATED
    except UnicodeDecodeError:
        return NOT_AUTHENTICATED
