"""The PROXY header: as a plain reading of the specification has it, and not one octet further."""

import ipaddress

from mtaframe.entrance.proxy import ProxyError, introduced
from tests.fuzz.cut import HEAD, pieces
from tests.fuzz.parser import Parser
from tests.fuzz.still import finished, running

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class Connection:
    """A socket that has received these pieces, and whose other end is closed."""

    def __init__(self, sizes: bytes, octets: bytes) -> None:
        self._pieces = list(pieces(sizes, octets))
        self.read = 0

    def recv(self, size: int) -> bytes:
        if not self._pieces:
            return b""
        taken = self._pieces[0][:size]
        self._pieces[0] = self._pieces[0][size:]
        if not self._pieces[0]:
            del self._pieces[0]
        self.read += len(taken)
        return taken


def _reference(octets: bytes) -> tuple[str | None, int]:
    """Client and length of the header. ValueError if there is none, IndexError if it is cut off."""
    if octets.startswith(_SIGNATURE):
        size = octets[14] * 256 + octets[15]
        block = octets[16 : 16 + size]
        if size > 4096 or len(block) < size or octets[12] not in (0x20, 0x21):
            raise ValueError
        width = {0x11: 4, 0x21: 16}.get(octets[13])
        if octets[12] == 0x20 or octets[13] in (0x00, 0x31):
            return None, 16 + size
        if width is None or size < 2 * width + 4:
            raise ValueError
        return str(ipaddress.ip_address(block[:width])), 16 + size
    line, end, _ = octets[:107].partition(b"\r\n")
    while end and len(line) + 2 < 15 and line.startswith(b"PROXY "):  # too short to be one: it would go on
        more, end, _ = octets[len(line) + 2 : 107].partition(b"\r\n")
        line += b"\r\n" + more
    words = line.decode("ascii", "replace").split(" ")
    if not end or words[0] != "PROXY" or "\n" in line.decode("ascii", "replace"):
        raise ValueError
    if words[1] == "UNKNOWN":
        return None, len(line) + 2
    _, version, client, server, *ports = words
    if version not in ("TCP4", "TCP6") or len(ports) != 2:
        raise ValueError
    for port in ports:
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
            raise ValueError
    kind = ipaddress.IPv4Address if version == "TCP4" else ipaddress.IPv6Address
    if "%" in client + server:
        raise ValueError
    kind(server)
    return str(kind(client)), len(line) + 2


def header(octets: bytes) -> None:
    connection = Connection(octets[:HEAD], octets[HEAD:])
    told: tuple[str | None, int] | None = None
    try:
        with running():
            client = finished(introduced(connection))  # type: ignore[arg-type]
        told = client, connection.read
    except ProxyError:
        pass
    try:
        meant = _reference(octets[HEAD:])
    except (ValueError, IndexError):
        meant = None
    assert told == meant
    if told is not None and told[0] is not None:
        assert str(ipaddress.ip_address(told[0])) == told[0]
        assert told[0].isascii()
        assert "%" not in told[0]


PARSERS = [
    Parser(
        "proxy",
        header,
        (
            _SIGNATURE,
            _SIGNATURE + b"\x21\x11\x00\x0c",
            _SIGNATURE + b"\x21\x21\x00\x24",
            _SIGNATURE + b"\x20\x00\x00\x00",
            b"PROXY TCP4 ",
            b"PROXY TCP6 ",
            b"PROXY UNKNOWN\r\n",
            b"192.0.2.1 ",
            b"2001:db8::1 ",
            b" 25\r\n",
            b" 65535 ",
            b"%",
        ),
        longest=200,
    )
]
