"""XCLIENT and XFORWARD: attributes that can stand in a Received field, or ValueError."""

import ipaddress

from mtaframe.smtp_server.forwarding import XCLIENT, XFORWARD, attributes, origin
from tests.fuzz.parser import Parser


def told(octets: bytes) -> None:
    names = XCLIENT if octets[:1] < b"\x80" else XFORWARD
    try:
        argument = octets[1:].decode()
        found = attributes(argument, names)
    except ValueError:
        return
    assert found
    assert found.keys() <= names
    for name, value in found.items():
        assert len(value) <= 255
        assert value.isascii()
        assert value.isprintable()
        assert " " not in value
        if value and name in ("PORT", "DESTPORT"):
            assert 0 <= int(value) < 65536
        elif value and name in ("ADDR", "DESTADDR"):
            assert str(ipaddress.ip_address(value)) == value
            assert "%" not in value
        elif name in ("NAME", "HELO", "PROTO"):
            assert not set(value) & set('()<>@,;\\"')
    whom = origin(found)
    assert (whom is None) == (not found.get("ADDR"))


PARSERS = [
    Parser(
        "forwarding",
        told,
        (
            *(f" {name}=".encode() for name in sorted(XCLIENT | XFORWARD)),
            b"[UNAVAILABLE]",
            b"[TEMPUNAVAIL]",
            b"IPv6:",
            b"::ffff:192.0.2.1",
            b"192.0.2.1",
            b"+2B",
            b"%",
            b"ESMTP",
        ),
        longest=300,
    )
]
