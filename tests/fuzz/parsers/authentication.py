"""The AUTH exchange: user and password exactly as they were encoded, or a reply; never an exception."""

import base64
from collections.abc import Iterator

from mtaframe.reply import Reply
from mtaframe.smtp_server.authentication import credentials
from tests.fuzz.parser import Parser
from tests.fuzz.still import finished


def exchange(octets: bytes) -> None:
    """The argument of AUTH, and behind each LF what the client answers; ``!`` alone is a line that was too long."""
    argument, *rest = octets.split(b"\n")
    try:
        text = argument.decode().strip(" \t")
    except UnicodeDecodeError:
        return
    answers: Iterator[bytes] = iter(rest)
    prompts: list[str] = []

    async def ask(prompt: str) -> bytes | None:
        prompts.append(prompt)
        answer = next(answers, b"!")
        return None if answer == b"!" else answer

    found = finished(credentials(text, ask))
    assert len(prompts) <= 2
    if isinstance(found, Reply):
        assert found.code in (501, 504, 535)
        return
    user, password = found
    assert user
    if text[:5].upper() == "PLAIN":
        assert "\0" not in user + password
        hidden = base64.b64decode(text[6:] if len(text) > 6 else rest[0])
        assert hidden in (f"{act}\0{user}\0{password}".encode() for act in ("", user))


PARSERS = [
    Parser(
        "authentication",
        exchange,
        (
            b"PLAIN ",
            b"LOGIN ",
            b"LOGIN\n",
            b"PLAIN\n",
            b"=",
            b"*",
            b"!\n",
            b"AGFsaWNlAHNlY3JldA==",
            b"YWxpY2U=",
            b"\nc2VjcmV0",
            b"VXNlcm5hbWU6",
        ),
        longest=256,
    )
]
