"""Blocks that a command puts into somebody else's configuration file, and takes out again.

The rule: taking out leaves the octets that were there before, whatever else was changed meanwhile.
"""

import re

_BEGIN = '# BEGIN mtaframe: written by "mtaframe setup {command}", taken out again by its --undo'
_JOINED = " (the line above had no end)"
_END = "# END mtaframe"
_KEPT = "#mtaframe# "


class Marks:
    """The marks of ``mtaframe setup COMMAND``: a block between two lines, and lines commented out by a prefix."""

    def __init__(self, command: str) -> None:
        self._begin = _BEGIN.format(command=command)
        begin, joined, end = (re.escape(text) for text in (self._begin, self._begin + _JOINED, _END))
        inside = rf"(?:(?!{begin})[^\n]*\n)*?"  # a block that has lost its end reaches no further than the next one
        self._block = re.compile(rf"(?:\n{joined}|(?m:^){begin})\n{inside}{end}\n")

    def put_in(self, text: str, added: str, at: int | None = None) -> str:
        """The text with a block ``at`` the beginning of a line; without, at its end."""
        if not added:
            return text
        head, tail = (text, "") if at is None else (text[:at], text[at:])
        joined = bool(head) and not head.endswith("\n")
        begin = f"\n{self._begin}{_JOINED}" if joined else self._begin
        return f"{head}{begin}\n{added}{_END}\n{tail}"

    def taken_out(self, text: str) -> str:
        """The text without blocks, with the lines that were commented out."""
        return re.sub(rf"(?m)^{re.escape(_KEPT)}", "", self._block.sub("", text))


def set_aside(line: str) -> str:
    """A line that counts no more as long as the blocks are there."""
    return _KEPT + line
