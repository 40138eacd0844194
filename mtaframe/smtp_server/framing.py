"""Takes the octets of a connection apart, without I/O: lines, messages behind DATA, chunks behind BDAT.

The law: only CR LF ends a line, and only CR LF . CR LF ends a message. Never more than the limit is kept, however much
comes, and no octet is looked at twice for the same thing.
"""

from collections.abc import Callable

CRLF = b"\r\n"
END_OF_DATA = b"\r\n.\r\n"

_STUFFED = b"\r\n."


class Framing:
    """``input`` is what was received and not taken yet; ``early`` of its octets came before our last answer went out.

    A line comes next, unless an ``expect_…`` says otherwise; ``is_there`` is whether it has come as a whole, and
    ``take_…`` takes it. A line may have ``longest`` octets, CR LF included.
    """

    __slots__ = ("_at", "_counted", "_dots", "_has_dots", "_limit", "_overflowed", "_searched", "early", "input",
                 "is_bulk", "is_there", "longest")  # fmt: skip

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.input = bytearray()
        self.early = 0
        self.is_bulk = False
        """Whether a message is expected, or a part of one."""
        self.is_there: Callable[[], bool] = self._is_line_there
        """Whether what is expected has come. What has come beyond the limit is dropped."""
        self._limit = 0
        self._at = -1
        self._searched = 0
        self._overflowed = False
        self._has_dots = False
        self._dots = 0
        self._counted = 0

    def forget(self) -> None:
        """Nothing was received."""
        self.input.clear()
        self.early = self._searched = 0

    # lines

    def take_line(self) -> bytes | None:
        """Without its CR LF; None if it was longer than it may be."""
        octets, end = self.input, self._at + 2
        line = bytes(octets[: self._at])
        if len(octets) == end:
            octets.clear()
            self.early = 0
        else:
            del octets[:end]
            self.early = max(0, self.early - end)
        is_too_long = self._overflowed or end > self.longest
        self._searched, self._overflowed = 0, False
        return None if is_too_long else line

    def _is_line_there(self) -> bool:
        self._at = self.input.find(CRLF, self._searched)
        if self._at >= 0:
            return True
        self._searched = max(0, len(self.input) - 1)
        if self._overflowed or len(self.input) > self.longest:
            self._overflow(1)
        return False

    # messages behind DATA

    def expect_message(self, max_size: int) -> None:
        """A message of at most so many octets, not counting the dots that stuffing added (RFC 5321 §4.5.2)."""
        # with the CR LF of the command, an empty message and a dot in the first line are nothing special
        self.input[:0] = CRLF
        self.early += 2
        self._begin(self._is_message_there, max_size)
        self._has_dots = False
        self._dots = self._counted = 0
        self.is_bulk = True

    def take_message(self) -> bytearray | None:
        """Dots unstuffed; None if it was too big."""
        octets = self._split(self._at + len(END_OF_DATA))
        is_too_big = self._overflowed
        self._expect_line()
        if is_too_big:
            return None
        del octets[self._at + 2 :]
        if self._has_dots:
            octets = octets.replace(_STUFFED, CRLF)
        del octets[:2]
        return octets if len(octets) <= self._limit else None

    def drop_message(self) -> None:
        """It is not wanted any more: from now on its octets are dropped as they come, and it counts as too big."""
        self._has_dots = True
        self._overflow(len(END_OF_DATA) - 1)

    def _is_message_there(self) -> bool:
        """As long as no line begins with a dot, that is all that is looked for: nothing is found faster."""
        if not self._has_dots:
            found = self.input.find(_STUFFED, self._searched)
            if found < 0 or len(self.input) < found + len(END_OF_DATA):
                self._searched = found if found >= 0 else max(0, len(self.input) - len(_STUFFED) + 1)
                return self._stays_within()
            self._searched = found
            if not self.input.startswith(END_OF_DATA, self._searched):
                self._has_dots = True
        self._at = self.input.find(END_OF_DATA, self._searched)
        if self._at >= 0:
            return True
        self._searched = max(0, len(self.input) - len(END_OF_DATA) + 1)
        return self._stays_within()

    def _stays_within(self) -> bool:
        """False; drops what is beyond the limit."""
        most = self._limit + len(END_OF_DATA)
        if len(self.input) > most + self._dots and not self._overflowed:
            self._dots += self.input.count(_STUFFED, self._counted)
            self._counted = max(0, len(self.input) - 2)
        if self._overflowed or len(self.input) > most + self._dots:
            self._has_dots = True
            self._overflow(len(END_OF_DATA) - 1)
        return False

    # chunks behind BDAT

    def expect_chunk(self, size: int) -> None:
        """So many octets."""
        self._begin(self._is_chunk_there, size)
        self.is_bulk = True

    def take_chunk(self) -> bytearray:
        octets = self._split(self._limit)
        self._expect_line()
        return octets

    def _is_chunk_there(self) -> bool:
        return len(self.input) >= self._limit

    def expect_nothing(self, size: int) -> None:
        """So many octets that nobody wants."""
        self._begin(self._is_rest_there, size)
        self.is_bulk = True

    def take_nothing(self) -> None:
        """It has come, and is gone."""
        self._expect_line()

    def _is_rest_there(self) -> bool:
        dropped = min(self._limit, len(self.input))
        self._limit -= dropped
        self._consume(dropped)
        return not self._limit

    # all of them

    def _begin(self, is_there: Callable[[], bool], limit: int) -> None:
        self.is_there, self._limit = is_there, limit
        self._searched = 0
        self._overflowed = self.is_bulk = False

    def _expect_line(self) -> None:
        self.is_there = self._is_line_there
        self._searched = 0
        self._overflowed = self.is_bulk = False

    def _overflow(self, kept: int) -> None:
        """The last octets are kept, for they may be the first of what ends it."""
        self._overflowed = True
        self._consume(max(0, len(self.input) - kept))
        self._searched = 0

    def _consume(self, size: int) -> None:
        del self.input[:size]
        self.early = max(0, self.early - size)
        self._searched = max(0, self._searched - size)

    def _split(self, size: int) -> bytearray:
        """The first so many octets, without a copy where there are no more."""
        if len(self.input) == size:
            octets, self.input = self.input, bytearray()
        else:
            octets = self.input[:size]
            del self.input[:size]
        self.early = max(0, self.early - size)
        return octets
