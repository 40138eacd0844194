"""Lines, messages behind DATA and chunks behind BDAT: as a slow and obvious reader sees them, wherever they are cut."""

from collections.abc import Iterator

from mtaframe.smtp_server.framing import Framing
from tests.fuzz.cut import HEAD, pieces
from tests.fuzz.parser import Parser


class Reader:
    """Feeds a framing piece by piece, and never finds more in it than the limit allows."""

    def __init__(self, longest: int, sizes: bytes, octets: bytes, is_eager: bool) -> None:
        self.framing = Framing(longest)
        self._pieces = pieces(sizes, octets)
        self._is_eager = is_eager

    def has(self, most: int) -> bool:
        """Whether what is expected comes; ``most`` octets may be kept meanwhile."""
        framing = self.framing
        while not framing.is_there():
            assert len(framing.input) - framing.input.count(b"\r\n.") <= most, "more is kept than allowed"
            piece = next(self._pieces, None)
            if piece is None:
                return False
            framing.input += piece
        assert framing.is_there(), "what is there stays there"
        return True

    def line(self) -> tuple[bool, bytes | None]:
        self._begin()
        return (True, self.framing.take_line()) if self.has(self.framing.longest) else (False, None)

    def message(self, max_size: int) -> tuple[bool, bytearray | None]:
        self._begin()
        self.framing.expect_message(max_size)
        return (True, self.framing.take_message()) if self.has(max_size + 5) else (False, None)

    def unwanted(self, max_size: int) -> tuple[bool, bytearray | None]:
        """A message that is dropped as soon as one waits for it."""
        self._begin()
        self.framing.expect_message(max_size)
        if not self.framing.is_there():
            self.framing.drop_message()
            assert len(self.framing.input) < 5
        return (True, self.framing.take_message()) if self.has(max_size + 5) else (False, None)

    def chunk(self, size: int) -> tuple[bool, bytearray | None]:
        self._begin()
        self.framing.expect_chunk(size)
        return (True, self.framing.take_chunk()) if self.has(1 << 30) else (False, None)

    def nothing(self, size: int) -> bool:
        self._begin()
        self.framing.expect_nothing(size)
        has_come = self.has(0)
        if has_come:
            self.framing.take_nothing()
        return has_come

    def _begin(self) -> None:
        framing = self.framing
        assert 0 <= framing.early <= len(framing.input)
        framing.early = len(framing.input)
        if self._is_eager:
            framing.input += next(self._pieces, b"")


class Reference:
    """The law read aloud: only CR LF ends a line, and a line that is a dot ends a message."""

    def __init__(self, longest: int, octets: bytes) -> None:
        self._longest = longest
        self._rest = octets

    def _next(self) -> bytes | None:
        line, end, rest = self._rest.partition(b"\r\n")
        if not end:
            return None
        self._rest = rest
        return line

    def line(self) -> tuple[bool, bytes | None]:
        line = self._next()
        if line is None:
            return False, None
        return True, line if len(line) + 2 <= self._longest else None

    def message(self, max_size: int) -> tuple[bool, bytes | None]:
        message = b""
        while (line := self._next()) != b".":
            if line is None:
                return False, None
            message += line.removeprefix(b".") + b"\r\n"
        return True, message if len(message) <= max_size else None

    def chunk(self, size: int) -> tuple[bool, bytes | None]:
        if len(self._rest) < size:
            return False, None
        taken, self._rest = self._rest[:size], self._rest[size:]
        return True, taken

    def nothing(self, size: int) -> bool:
        return self.chunk(size)[0]


def _lines(reader: Reader | Reference) -> Iterator[bytes | None]:
    while (found := reader.line())[0]:
        yield found[1]


def _dialogue(reader: Reader | Reference, max_size: int) -> Iterator[bytes | bytearray | None]:
    """D: a message follows; B1 to B9: a chunk of so many times ten octets; X1 to X9: one that nobody wants."""
    for line in _lines(reader):
        yield line
        verb, size = (line or b"")[:1], (line or b"")[1:]
        found: tuple[bool, bytes | bytearray | None] = (True, None)
        if verb == b"D":
            found = reader.message(max_size)
        elif verb in (b"B", b"X") and size.isdigit() and len(size) < 3:
            size_of_chunk = int(size) * 10
            found = reader.chunk(size_of_chunk) if verb == b"B" else (reader.nothing(size_of_chunk), None)
        if not found[0]:
            return
        yield found[1]


def _readers(octets: bytes, longest: int) -> tuple[Reader, Reference]:
    """Four octets say where to cut, the fifth has 128 where pieces come early."""
    head, rest = octets[: HEAD + 1], octets[HEAD + 1 :]
    return Reader(longest, head[:HEAD], rest, head[HEAD:] > b"\x7f"), Reference(longest, rest)


def _number(octets: bytes) -> int:
    return octets[HEAD] & 63 if len(octets) > HEAD else 0


def lines(octets: bytes) -> None:
    reader, reference = _readers(octets, _number(octets) + 2)
    assert list(_lines(reader)) == list(_lines(reference))


def message(octets: bytes) -> None:
    """Behind DATA, again and again; nothing else between."""
    reader, reference = _readers(octets, 16)
    while True:
        got, meant = reader.message(_number(octets)), reference.message(_number(octets))
        assert got == meant
        if not got[0]:
            break


def dropped(octets: bytes) -> None:
    """Messages of which nobody wants more end where they end."""
    reader, reference = _readers(octets, 16)
    while True:
        got, meant = reader.unwanted(_number(octets)), reference.message(_number(octets))
        assert got[0] == meant[0]
        assert got[1] in (None, meant[1])
        if not got[0]:
            break


def dialogue(octets: bytes) -> None:
    reader, reference = _readers(octets, 16)
    assert list(_dialogue(reader, _number(octets))) == list(_dialogue(reference, _number(octets)))


_ENDS = (
    b"\r\n",
    b"\r",
    b"\n",
    b"\r\n.\r\n",
    b"\r\n..\r\n",
    b".\r\n",
    b"\n.\n",
    b"\r.\r",
    b"\r\n.",
    b"\r\n.\n",
    b"\n.\r\n",
)

PARSERS = [
    Parser("framing_lines", lines, _ENDS, longest=160),
    Parser("framing_message", message, _ENDS, longest=160),
    Parser("framing_dropped", dropped, _ENDS, longest=160),
    Parser("framing", dialogue, (*_ENDS, b"D\r\n", b"B2\r\n", b"X1\r\n", b"D\r\n.\r\n"), longest=160),
]
