"""Command lines taken apart (RFC 5321 §4.1), without I/O: a value, or the reply that refuses it.

The law: what is ambiguous is refused, never guessed. Values of parameters keep their case.
"""

import re
from collections.abc import Container
from dataclasses import dataclass

from mtaframe import xtext
from mtaframe.address import Address
from mtaframe.envelope import Mail, Recipient
from mtaframe.redaction import Redacted
from mtaframe.reply import Reply

LONGEST_LINE = 12_288
"""Octets of the longest line of all, CR LF included: an AUTH exchange (RFC 4954 §4)."""

_LINE_LIMIT = 512
# RFC 5321 §4.5.3.1.4, and what SIZE (26), BODY (17), SMTPUTF8 (10), AUTH (500), RET (9), ENVID (107) and PRDR (5)
# add to MAIL, NOTIFY (36) and ORCPT (507) to RCPT
_LINE_LIMITS = {
    "MAIL": 512 + 26 + 17 + 10 + 500 + 9 + 107 + 5,
    "RCPT": 512 + 36 + 507,
    "AUTH": LONGEST_LINE,
}

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_PATH = r' *<((?:[^"<>\s]++|"(?:[^"\\]|\\.)*+")*)>(?: +(.*))?'
_FROM = re.compile("FROM:" + _PATH, re.IGNORECASE)
_TO = re.compile("TO:" + _PATH, re.IGNORECASE)
_SOURCE_ROUTE = re.compile(r"@[^,:@\s]+(?:,@[^,:@\s]+)*:")
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\U0010ffff]+))?")
_VALUES = {
    "SIZE": re.compile(r"[0-9]{1,20}"),
    "BODY": re.compile(r"7BIT|8BITMIME", re.IGNORECASE),
    "SMTPUTF8": re.compile(r""),
    "AUTH": re.compile(r".+"),
    "RET": re.compile(r"FULL|HDRS", re.IGNORECASE),
    "ENVID": re.compile(r".{1,100}"),
    "PRDR": re.compile(r""),
    "NOTIFY": re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*", re.IGNORECASE),
    "ORCPT": re.compile(r"(?=.{3,500}$)[A-Za-z0-9-]+;.+"),
}
"""The parameters of MAIL and RCPT, and what their values look like."""
_CHUNK = re.compile(r"([0-9]{1,18})(?: +(LAST))?", re.IGNORECASE)
_PRINTABLE = re.compile(r"[\t -~]*")
_EHLO_NAME = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")

LINE_TOO_LONG = Reply(500, "5.5.6", "the line is too long")
TOO_BIG = Reply(552, "5.3.4", "the message is too big")
NOT_A_LINE = Reply(500, "5.5.2", "the line holds a bare CR or LF, another control character, or is not UTF-8")
_NO_PARAMETER = Reply(555, "5.5.4", "a parameter is not known here")
_BAD_PARAMETER = Reply(501, "5.5.4", "a parameter is not valid")
_NEEDS_SMTPUTF8 = Reply(553, "5.6.7", "an address that is not ASCII needs SMTPUTF8 (RFC 6531)")


@dataclass(frozen=True, slots=True, repr=False)
class Command(Redacted):
    """A verb in upper case and all that stood behind it, without blanks around."""

    verb: str
    argument: str


def parse_line(line: bytes) -> Command | Reply:
    """A command from a line without its CR LF. A CR or LF inside would be a second line to a laxer reader."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return NOT_A_LINE
    if not text.isprintable() and _CONTROL.search(line):
        return NOT_A_LINE
    verb, _, argument = text.partition(" ")
    verb = verb.upper()
    if len(line) + 2 > _LINE_LIMITS.get(verb, _LINE_LIMIT):
        return LINE_TOO_LONG
    return Command(verb, argument.strip(" \t"))


def parse_mail(argument: str, known: Container[str], max_size: int) -> Mail | Reply:
    """MAIL. ``known``: the parameters that are offered now."""
    found = _FROM.fullmatch(argument)
    if found is None:
        return Reply(501, "5.5.4", "write MAIL FROM:<address>")
    try:
        reverse_path = _address(found[1]) if found[1] else None
    except ValueError as error:
        return Reply(501, "5.1.7", str(error))
    given = _parameters(found[2] or "", known)
    if isinstance(given, Reply):
        return given
    if not given and (reverse_path is None or reverse_path.is_ascii):
        return Mail(reverse_path)
    try:
        envid = _printable(given["ENVID"]) if "ENVID" in given else None
    except ValueError:
        return _BAD_PARAMETER
    size = int(given.get("SIZE", "0"))
    if size > max_size:
        return TOO_BIG
    if reverse_path and not reverse_path.is_ascii and "SMTPUTF8" not in given:
        return _NEEDS_SMTPUTF8
    return Mail(
        reverse_path=reverse_path,
        size=size,
        body=given.get("BODY", "7BIT").upper(),
        smtputf8="SMTPUTF8" in given,
        ret=given["RET"].upper() if "RET" in given else None,
        envid=envid,
        prdr="PRDR" in given,
    )


def parse_rcpt(argument: str, known: Container[str], *, smtputf8: bool) -> Recipient | Reply:
    """RCPT. ``known``: the parameters that are offered now; ``smtputf8``: MAIL said so."""
    found = _TO.fullmatch(argument)
    if found is None:
        return Reply(501, "5.5.4", "write RCPT TO:<address>")
    if found[1].lower() == "postmaster":
        return Reply(550, "5.1.1", "no mailbox is kept here: write postmaster with a domain")
    try:
        address = _address(found[1])
    except ValueError as error:
        return Reply(501, "5.1.3", str(error))
    given = _parameters(found[2] or "", known)
    if isinstance(given, Reply):
        return given
    if not given and address.is_ascii:
        return Recipient(address)
    try:
        original = _original(given["ORCPT"], smtputf8=smtputf8) if "ORCPT" in given else None
    except ValueError:
        return _BAD_PARAMETER
    if not address.is_ascii and not smtputf8:
        return _NEEDS_SMTPUTF8
    notify = frozenset(given["NOTIFY"].upper().split(",")) if "NOTIFY" in given else frozenset[str]()
    return Recipient(address, notify, original)


@dataclass(frozen=True, slots=True)
class Chunk:
    """``size`` octets follow; ``is_last``: with them the message is complete."""

    size: int
    is_last: bool


def parse_bdat(argument: str) -> Chunk | Reply:
    """BDAT (RFC 3030 §2)."""
    found = _CHUNK.fullmatch(argument)
    if found is None:
        return Reply(501, "5.5.4", "write BDAT and the number of octets that follow, and LAST behind it for the last")
    return Chunk(int(found[1]), found[2] is not None)


def _original(text: str, *, smtputf8: bool) -> str:
    """An ORCPT decoded, its letters as they are (RFC 3461 §4.2; RFC 6533 §3 for the type utf-8). ValueError."""
    kind, _, address = text.partition(";")
    if kind.lower() == "utf-8" and (smtputf8 or text.isascii()):
        return text
    return f"{kind};{_printable(address)}"


def _printable(text: str) -> str:
    """Text behind xtext that a DSN can repeat (RFC 3461 §4.2, §4.4). ValueError if there is none."""
    plain = xtext.decoded(text)
    if not _PRINTABLE.fullmatch(plain):
        raise ValueError("not printable ASCII")
    return plain


def is_ehlo_name(text: str) -> bool:
    """Whether it can stand in a Received field as the client's name: a domain, or an address literal."""
    return _EHLO_NAME.fullmatch(text) is not None


def _address(path: str) -> Address:
    """The address of a path; a source route before it is ignored (RFC 5321 appendix C)."""
    route = _SOURCE_ROUTE.match(path) if path.startswith("@") else None
    return Address.parse(path[route.end() :] if route else path)


def _parameters(text: str, known: Container[str]) -> dict[str, str] | Reply:
    """ESMTP parameters by keyword in upper case, each with a value that fits it; empty where it takes none."""
    result: dict[str, str] = {}
    for word in text.split():
        found = _PARAMETER.fullmatch(word)
        if found is None or (keyword := found[1].upper()) in result:
            return _BAD_PARAMETER
        if keyword not in known:
            return _NO_PARAMETER
        if not _VALUES[keyword].fullmatch(found[2] or ""):
            return _BAD_PARAMETER
        result[keyword] = found[2] or ""
    return result
