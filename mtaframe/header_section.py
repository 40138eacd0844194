"""Where a header section ends: behind the last of its lines, a field's first or one that goes on (RFC 5322 §2.2)."""

import re

HEADER_SIZE = 1_000_000
"""Octets that the header section of a message may have."""
HEADER_LINES = 10_000


class HeaderSection:
    """``name``: a pattern of what field names are made of.

    A possessive repeat would need no memory for each line, but Python before 3.11.5 misreads those that hold repeats.
    """

    def __init__(self, name: bytes = rb"[!-9;-~]++") -> None:
        first = name + rb"[ \t]*+:[^\r\n]*+\r\n"
        self._first = re.compile(first)
        self._lines = re.compile(rb"(?:[ \t][^\r\n]*+\r\n|%b){1,%d}" % (first, HEADER_LINES))

    def end(self, octets: bytes | bytearray, start: int = 0, *, is_bounded: bool = False) -> int:
        """The place behind the section that begins at ``start``; it is ``start``, if no field stands there.

        ``is_bounded``: no further than it takes to see that it has too many lines.
        """
        found = self._first.match(octets, start)
        while found is not None:
            start = found.end()
            found = self._lines.match(octets, start)
            if is_bounded:
                return start if found is None else found.end()
        return start
