"""What a scripted server may be told to say, and what it has seen. Test data: these print everything."""

from dataclasses import dataclass, field
from enum import Enum


class Trouble(Enum):
    """What a server may do instead of answering."""

    DROP = "drop"
    HANG = "hang"
    RESET = "reset"


DROP = Trouble.DROP
"""Close the connection instead of answering."""
HANG = Trouble.HANG
"""Never answer; the connection stays open until the client closes it."""
RESET = Trouble.RESET
"""End the connection with a TCP RST instead of answering."""

Answer = str | bytes | Trouble | None


@dataclass(slots=True)
class Received:
    """One transaction as it came. ``reverse_path`` is "" for ``<>``.

    ``raw`` is the message with its dots unstuffed; ``user`` is who AUTH said it was; ``*_parameters`` are what
    stood behind the path of MAIL and of each RCPT; ``session`` counts connections from 1.
    """

    reverse_path: str
    recipients: list[str]
    raw: bytes
    ehlo: str
    client: str
    tls: bool
    user: str | None
    mail_parameters: str
    rcpt_parameters: list[str]
    bare_line_ends: bool
    session: int


@dataclass(slots=True)
class Script:
    """One answer that waits for its stage."""

    stage: str
    answer: Answer
    to: str | None
    always: bool
    delay: float


@dataclass(slots=True)
class MxSession:
    """What one connection did so far."""

    number: int
    client: str
    tls: bool = False
    ehlo: str = ""
    user: str | None = None
    commands: list[str] = field(default_factory=list)
    transactions: int = 0
    is_open: bool = True
