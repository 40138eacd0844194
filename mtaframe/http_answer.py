"""One answer to an HTTP/1.1 request, read as its octets come (RFC 9112). Pure: it is fed, and says when it is whole.

The law: whoever answers may be hostile. What is kept is bounded, time is linear in what came, and what could be read
in two ways is ``BadAnswerError``, never a guess.
"""

import re

HEAD = 65_536
"""Octets that a header section may have."""
TRAILERS = 8_192
"""Octets of trailers, which are looked through with each piece that comes."""
CHUNK_LINE = 1024
"""Octets that the line before a chunk may have."""

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\0]*)?")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?")
_LENGTH = re.compile(r"[0-9]{1,18}")


class BadAnswerError(Exception):
    """Not HTTP, cut, or more than is read. The text is ours."""


class TooLongError(BadAnswerError):
    """More octets than are read."""


class Answer:
    """Fed until ``is_whole``; then ``status``, ``headers`` (names in lower case, of several the last) and ``body``.

    ``limit`` is how many octets of body are read. ``is_last``: the connection can't be used again.
    """

    __slots__ = (
        "_in_chunk", "_input", "_is_chunked", "_left", "_limit", "_looked", "_method", "_taken", "body", "headers",
        "is_last", "is_whole", "status",
    )  # fmt: skip

    def __init__(self, method: str, limit: int) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_whole = False
        self.is_last = False
        self._method = method
        self._limit = limit
        self._input = bytearray()
        self._looked = 0
        """How far the end of the head was looked for."""
        self._left: int | None = 0
        """Octets of the body, or of the chunk; None: all until the connection ends."""
        self._is_chunked = self._in_chunk = False
        self._taken = bytearray()
        """The chunks."""

    def feed(self, data: bytes) -> bool:
        """Take in what came; whether the answer is whole now. BadAnswerError if it can't become one."""
        self._input += data
        while not self.status:
            if not self._takes_head():
                return False
        if not self.is_whole:
            self._takes_body()
        if self.is_whole and self._input:
            self.is_last = True  # what follows was not asked for
        return self.is_whole

    def end(self) -> None:
        """The connection has ended. BadAnswerError if the answer is not whole."""
        if self.status and self._left is None:
            self.body, self.is_whole = bytes(self._input), True
        if not self.is_whole:
            raise BadAnswerError("the answer was cut")

    # The head

    def _takes_head(self) -> bool:
        end = _HEAD_END.search(self._input, self._looked)
        if (end.start() if end else len(self._input)) > HEAD:
            raise TooLongError
        if end is None:
            self._looked = max(0, len(self._input) - 3)
            return False
        first, *lines = bytes(self._input[: end.start()]).replace(b"\r\n", b"\n").split(b"\n")
        del self._input[: end.end()]
        self._looked = 0
        found = _STATUS.fullmatch(first)
        if found is None:
            raise BadAnswerError("no HTTP")
        status = int(found[2])
        if status == 101:
            raise BadAnswerError("another protocol, which was not asked for")
        if status >= 200:  # what comes before is no answer yet (RFC 9110 §15.2)
            self._starts(status, found[1] == b"1", lines)
        return True

    def _starts(self, status: int, is_1_1: bool, lines: list[bytes]) -> None:
        """How long the body is (RFC 9112 §6.3)."""
        lengths, codings, kept = set(), "", self.headers
        for line in lines:
            found = _FIELD.fullmatch(line)
            if found is None:
                raise BadAnswerError("a header section that is none")
            name, value = found[1].decode("ascii").lower(), found[2].decode("utf-8", "replace").rstrip(" \t")
            if name == "content-length":
                lengths.add(value)
            elif name == "transfer-encoding":
                codings = f"{codings},{value}" if codings else value
            kept[name] = value
        self.status = status
        wishes = kept.get("connection", "").lower()
        self.is_last = "close" in wishes or not (is_1_1 or "keep-alive" in wishes)
        if self._method == "HEAD" or status in (204, 304):
            self.is_whole = True
        elif codings:
            if codings.strip().lower() != "chunked":
                raise BadAnswerError("a transfer coding that was not asked for")
            self._is_chunked = True
            self.is_last = self.is_last or bool(lengths)
        elif lengths:
            length = lengths.pop()
            if lengths or not _LENGTH.fullmatch(length):
                raise BadAnswerError("a length that is none")
            self._left = int(length)
        else:
            self._left, self.is_last = None, True

    # The body

    def _takes_body(self) -> None:
        if self._is_chunked:
            self._takes_chunks()
        elif self._left is None:
            self._check_length(len(self._input))
        else:
            self._check_length(self._left)
            if len(self._input) >= self._left:
                self.body, self.is_whole = bytes(self._input[: self._left]), True
                del self._input[: self._left]

    def _check_length(self, length: int) -> None:
        if length > self._limit:
            raise TooLongError

    def _takes_chunks(self) -> None:
        """RFC 9112 §7.1. What was read is taken off the input once, however many chunks it was."""
        at = 0
        while (end := self._chunk_end(at) if self._in_chunk else self._size_end(at)) is not None:
            at = end
        del self._input[:at]
        if self.is_whole:
            self.body = bytes(self._taken)

    def _chunk_end(self, at: int) -> int | None:
        """Take the chunk that begins here; where it ended, or None if it is not all there."""
        assert self._left is not None
        end = at + self._left
        if len(self._input) < end + 2:
            return None
        if self._input[end : end + 2] != b"\r\n":
            raise BadAnswerError("a chunk that is longer than it says")
        self._taken += memoryview(self._input)[at:end]
        self._in_chunk = False
        return end + 2

    def _size_end(self, at: int) -> int | None:
        """Read the line before a chunk, or the end of all; where that ended, or None if it is not all there."""
        if self.is_whole:
            return None
        end = self._input.find(b"\r\n", at, at + CHUNK_LINE)
        if end < 0:
            if len(self._input) - at >= CHUNK_LINE:
                raise TooLongError
            return None
        found = _SIZE.fullmatch(self._input, at, end)
        if found is None:
            raise BadAnswerError("a chunk without a length")
        self._left = int(found[1], 16)
        if not self._left:
            return self._trailers_end(end)
        self._check_length(len(self._taken) + self._left)
        self._in_chunk = True
        return end + 2

    def _trailers_end(self, at: int) -> int | None:
        """Where the trailers end, which nobody wants; ``at`` is the line end of the last chunk."""
        end = self._input.find(b"\r\n\r\n", at)
        if (end if end >= 0 else len(self._input)) - at > TRAILERS:
            raise TooLongError
        if end < 0:
            return None  # the last chunk is read once more when there is more
        self.is_whole = True
        return end + 4
