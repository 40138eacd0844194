"""The attributes of XCLIENT and XFORWARD (Postfix's XCLIENT_README, XFORWARD_README) taken apart, without I/O."""

import ipaddress
import re
from collections.abc import Mapping

from mtaframe import xtext
from mtaframe.envelope import Origin
from mtaframe.smtp_server.commands import is_ehlo_name

XCLIENT = frozenset({"NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"})
XFORWARD = frozenset({"NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"})

_UNKNOWN = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")
_LONGEST = 255
_PLAIN = re.compile(r"[!-~]*")
_PROTOCOL = re.compile(r"[A-Za-z0-9-]{1,64}")


def attributes(argument: str, names: frozenset[str]) -> dict[str, str]:
    """Values by name in upper case, empty where the client says that it does not know. ValueError if one is wrong."""
    found: dict[str, str] = {}
    for word in argument.split():
        name, _, value = word.partition("=")
        name = name.upper()
        if name not in names or not value or len(value) > _LONGEST:
            raise ValueError("not an attribute")
        found[name] = "" if value.upper() in _UNKNOWN else _checked(name, xtext.decoded(value))
    if not found:
        raise ValueError("no attribute")
    return found


def _checked(name: str, value: str) -> str:
    if not _PLAIN.fullmatch(value):
        raise ValueError("a blank or another character that can't stand in a header field")
    if name in ("ADDR", "DESTADDR"):
        return _address(value)
    if name in ("PORT", "DESTPORT") and not (value.isdecimal() and int(value) < 65536):
        raise ValueError("no port")
    if name in ("NAME", "HELO") and not is_ehlo_name(value):
        raise ValueError("no name")
    if name == "PROTO" and not _PROTOCOL.fullmatch(value):
        raise ValueError("no protocol")
    return value


def _address(value: str) -> str:
    """Without a scope: it is for one machine alone, and could hold what can't stand in a comment."""
    if "%" in value:
        raise ValueError("no address")
    address = ipaddress.ip_address(value[5:] if value[:5].upper() == "IPV6:" else value)
    return str(getattr(address, "ipv4_mapped", None) or address)


def origin(told: Mapping[str, str]) -> Origin | None:
    """Whom the client has the mail from; None if it began with the client itself, as an unknown address says."""
    if not told.get("ADDR"):
        return None
    return Origin(told["ADDR"], told.get("NAME", ""), told.get("HELO", ""), told.get("PROTO", ""))
