"""Takes a list of mailboxes apart, as From, To and Reply-To hold it (RFC 5322 §3.4): ``Joe <joe@example.com>, …``.

The rule: time linear in the text whatever it is, and no guess: what could be read in two ways is a ValueError.
Comments count for nothing; groups are none.
"""

import re
from collections.abc import Sequence

_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|\\.|[^"\\(),<>:;]+|.', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def taken_apart(text: str) -> Sequence[tuple[str, str]]:
    """The display name (or nothing) and the address of each."""
    found = _List()
    for piece in _PIECE.findall(text):
        if not found.is_in_comment(piece):
            found.take(piece)
    return found.ended()


class _List:
    """What was found, and the mailbox that is being read."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []
        self._comments = 0
        self._words: list[str] = []
        self._angle: list[str] | None = None
        self._is_inside = False

    def is_in_comment(self, piece: str) -> bool:
        """Whether it belongs to a comment, whose brackets are counted."""
        if piece == "(":
            self._comments += 1
        elif piece == ")":
            self._comments -= 1
            if self._comments < 0:
                raise _UNCLEAR
            return True
        if self._comments and piece.startswith('"') and ("(" in piece or ")" in piece):
            raise _UNCLEAR  # nothing is quoted in a comment, but some think so
        return self._comments > 0

    def take(self, piece: str) -> None:
        if piece == "<" and self._angle is None:
            self._angle, self._is_inside = [], True
        elif piece == ">" and self._is_inside:
            self._is_inside = False
        elif piece == "," and not self._is_inside:
            self._end_mailbox()
        elif piece in ("<", ">", ",", ";", '"') or (piece == ":" and not self._is_inside):
            raise _UNCLEAR
        elif self._is_inside and self._angle is not None:
            self._angle.append(piece)
        elif self._angle is None or piece.isspace():
            self._words.append(piece)
        else:
            raise _UNCLEAR  # something behind the angle brackets

    def ended(self) -> Sequence[tuple[str, str]]:
        if self._comments or self._is_inside:
            raise _UNCLEAR
        self._end_mailbox()
        return self._found

    def _end_mailbox(self) -> None:
        """What was read is one; between two commas there may be none."""
        if self._angle is not None:
            self._found.append((_name(self._words), "".join(self._angle).strip()))
        elif bare := "".join(self._words).strip():
            self._found.append(("", bare))
        self._words, self._angle = [], None


def _name(words: Sequence[str]) -> str:
    read = (_ESCAPED.sub(r"\1", word[1:-1]) if word.startswith('"') else word for word in words)
    return " ".join("".join(read).split())


_UNCLEAR = ValueError('is not written as "Name <address>"')
