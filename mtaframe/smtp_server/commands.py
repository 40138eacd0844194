"""Command lines taken apart (RFC 5321 §4.1), without I/O: a value, or the reply that refuses it.

The law: what is ambiguous is refused, never guessed. Values of parameters keep their case.
"""

import re
from dataclasses import dataclass

from mtaframe.address import Address
from mtaframe.envelope import Mail, Recipient
from mtaframe.redaction import Redacted
from mtaframe.reply import Reply

LONGEST_LINE = 12_288
"""Octets of the longest line of all, CR LF included: an AUTH exchange (RFC 4954 §4)."""

_LINE_LIMIT = 512
# RFC 5321 §4.5.3.1.4, and what SIZE (26), BODY (17), SMTPUTF8 (10) and AUTH (500) add to MAIL
_LINE_LIMITS = {"MAIL": 512 + 26 + 17 + 10 + 500, "AUTH": LONGEST_LINE}

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_PATH = r' *<((?:[^"<>\s]++|"(?:[^"\\]++|\\.)*+")*+)>(?: +(.*))?'
_FROM = re.compile("FROM:" + _PATH, re.IGNORECASE)
_TO = re.compile("TO:" + _PATH, re.IGNORECASE)
_SOURCE_ROUTE = re.compile(r"@[^,:@\s]+(?:,@[^,:@\s]+)*:")
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")
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
    if _CONTROL.search(line):
        return NOT_A_LINE
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return NOT_A_LINE
    verb, _, argument = text.partition(" ")
    verb = verb.upper()
    if len(line) + 2 > _LINE_LIMITS.get(verb, _LINE_LIMIT):
        return LINE_TOO_LONG
    return Command(verb, argument.strip(" \t"))


def parse_mail(argument: str, *, extended: bool, auth: bool, max_size: int) -> Mail | Reply:
    """MAIL. ``extended``: the client said EHLO or LHLO; ``auth``: AUTH is offered, so ``AUTH=`` is understood."""
    found = _FROM.fullmatch(argument)
    if found is None:
        return Reply(501, "5.5.4", "write MAIL FROM:<address>")
    try:
        reverse_path = _address(found[1]) if found[1] else None
    except ValueError as error:
        return Reply(501, "5.1.7", str(error))
    parameters = _parameters(found[2] or "")
    if isinstance(parameters, Reply):
        return parameters
    if not parameters.keys() <= ({"SIZE", "BODY", "SMTPUTF8"} | ({"AUTH"} if auth else set()) if extended else set()):
        return _NO_PARAMETER
    size, body = parameters.get("SIZE", "0"), (parameters.get("BODY", "7BIT") or "").upper()
    if size is None or not re.fullmatch("[0-9]{1,20}", size) or body not in ("7BIT", "8BITMIME"):
        return _BAD_PARAMETER
    if parameters.get("SMTPUTF8") is not None or ("AUTH" in parameters and parameters["AUTH"] is None):
        return _BAD_PARAMETER
    if int(size) > max_size:
        return TOO_BIG
    if reverse_path and not reverse_path.is_ascii and "SMTPUTF8" not in parameters:
        return _NEEDS_SMTPUTF8
    return Mail(reverse_path=reverse_path, size=int(size), body=body, smtputf8="SMTPUTF8" in parameters)


def parse_rcpt(argument: str, *, smtputf8: bool) -> Recipient | Reply:
    """RCPT. ``smtputf8``: MAIL said so."""
    found = _TO.fullmatch(argument)
    if found is None:
        return Reply(501, "5.5.4", "write RCPT TO:<address>")
    if found[1].lower() == "postmaster":
        return Reply(550, "5.1.1", "no mailbox is kept here: write postmaster with a domain")
    try:
        address = _address(found[1])
    except ValueError as error:
        return Reply(501, "5.1.3", str(error))
    parameters = _parameters(found[2] or "")
    if isinstance(parameters, Reply):
        return parameters
    if parameters:
        return _NO_PARAMETER
    if not address.is_ascii and not smtputf8:
        return _NEEDS_SMTPUTF8
    return Recipient(address)


def is_ehlo_name(text: str) -> bool:
    """Whether it can stand in a Received field as the client's name: a domain, or an address literal."""
    return _EHLO_NAME.fullmatch(text) is not None


def _address(path: str) -> Address:
    """The address of a path; a source route before it is ignored (RFC 5321 appendix C)."""
    route = _SOURCE_ROUTE.match(path)
    return Address.parse(path[route.end() :] if route else path)


def _parameters(text: str) -> dict[str, str | None] | Reply:
    """ESMTP parameters by keyword in upper case; None where there is no ``=``."""
    result: dict[str, str | None] = {}
    for word in text.split():
        found = _PARAMETER.fullmatch(word)
        if found is None or found[1].upper() in result:
            return _BAD_PARAMETER
        result[found[1].upper()] = found[2]
    return result
