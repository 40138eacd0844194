"""The PROXY header, versions 1 and 2 (HAProxy's proxy-protocol.txt): the client that a proxy passes on to us.

The law: exactly the octets of the header are read from the socket; all behind it, a TLS handshake too, is the client's.
"""

import asyncio
import ipaddress
import re
import socket

TIMEOUT = 5.0
"""Seconds that a proxy has for its header."""

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_SHORTEST = len(b"PROXY UNKNOWN\r\n")
_LONGEST_LINE = 107
_LONGEST_BLOCK = 4096
# An IPv6 address with a scope ("%…") is for one machine alone, and the scope could hold any character.
_LINE = re.compile(r"PROXY (?:UNKNOWN(?: .*)?|TCP([46]) ([^\s%]+) ([^\s%]+) ([0-9]{1,5}) ([0-9]{1,5}))\r\n")
_ADDRESSES = {0x11: 4, 0x21: 16}
"""Octets of one address, by family and protocol: TCP over IPv4 and IPv6."""
_UNTOLD = (0x00, 0x31)
"""Families that name no IP address: unknown, Unix stream."""


class ProxyError(Exception):
    """No header, or none that can be believed; the text says which, and holds nothing of it."""


async def introduced(connection: socket.socket) -> str | None:
    """The client's IP address, or None if the proxy speaks for itself. ProxyError; OSError if the proxy goes."""
    try:
        async with asyncio.timeout(TIMEOUT):
            head = await _exactly(connection, _SHORTEST)
            if head.startswith(_SIGNATURE):
                return await _binary(connection, head)
            if head.startswith(b"PROXY "):
                return await _text(connection, head)
    except TimeoutError:
        raise ProxyError("no header in time") from None
    raise ProxyError("no header")


async def _text(connection: socket.socket, line: bytes) -> str | None:
    while not line.endswith(b"\r\n"):
        if len(line) == _LONGEST_LINE:
            raise ProxyError("header too long")
        line += await _exactly(connection, 1)
    found = _LINE.fullmatch(line.decode("ascii", "replace"))
    if found is None or any(int(port or 0) > 65535 for port in found.groups()[3:]):
        raise ProxyError("malformed header")
    version, *addresses = found.groups()[:3]
    if version is None:
        return None
    family = ipaddress.IPv4Address if version == "4" else ipaddress.IPv6Address
    try:
        client, _ = (family(address) for address in addresses)
    except ValueError:
        raise ProxyError("malformed header") from None
    return str(client)


async def _binary(connection: socket.socket, head: bytes) -> str | None:
    head += await _exactly(connection, 16 - len(head))
    command, family, size = head[12], head[13], int.from_bytes(head[14:16], "big")
    if size > _LONGEST_BLOCK:
        raise ProxyError("header too long")
    block = await _exactly(connection, size)
    if command == 0x20 or (command == 0x21 and family in _UNTOLD):
        return None
    width = _ADDRESSES.get(family, 0)
    if command != 0x21 or not width or size < 2 * width + 4:
        raise ProxyError("malformed header")
    return str(ipaddress.ip_address(block[:width]))


async def _exactly(connection: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    octets = b""
    while len(octets) < size:
        more = await loop.sock_recv(connection, size - len(octets))
        if not more:
            raise ProxyError("no header")
        octets += more
    return octets
