"""The small ones: addresses, replies, xtext, parameters, log lines."""

import re

from mtaframe import xtext
from mtaframe.address import Address
from mtaframe.logs import pairs
from mtaframe.parameter import parameters, with_parameter
from mtaframe.reply import Reply, Stage, for_client, for_log, with_id
from tests.fuzz.parser import Parser

_ATEXT = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~")


def _is_dot_string(text: str) -> bool:
    return all(atom and all(c in _ATEXT or c > "\x7f" for c in atom) for atom in text.split("."))


def _is_quoted(text: str) -> bool:
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return False
    inner = iter(text[1:-1])
    for character in inner:
        if character == "\\":
            if not " " <= next(inner, "\0") <= "~":
                return False
        elif character in '"\x7f' or character < " ":
            return False
    return True


def _is_domain(text: str) -> bool:
    return all(
        label and label[0] != "-" != label[-1] and all(c.isalnum() or c == "-" or c > "\x7f" for c in label)
        for label in text.removesuffix(".").split(".")
    )


def address(octets: bytes) -> None:
    """As a plain reading of RFC 5321 §4.1.2 has it."""
    text = octets.decode("utf-8", "replace")
    try:
        found = Address.parse(text)
    except ValueError:
        found = None
    local_part, at, domain = text.rpartition("@")
    is_literal = re.fullmatch(r"\[(?:IPv6:[0-9A-Fa-f:.]+|[0-9.]+)\]", domain, re.ASCII | re.IGNORECASE) is not None
    is_short = len(local_part.encode()) <= 64 and len(domain.encode()) <= 255
    if found is None:
        is_valid = at and (_is_dot_string(local_part) or _is_quoted(local_part)) and _is_domain(domain)
        assert not (is_valid and is_short)
        return
    assert is_short
    assert _is_dot_string(local_part) or _is_quoted(local_part)
    assert _is_domain(domain) or is_literal
    assert (found.local_part, found.domain) == (local_part, domain.removesuffix(".").lower())
    assert Address.parse(found.mailbox) == found
    assert found.is_ascii == found.mailbox.isascii()
    assert text not in repr(found)


_STAGES = tuple(Stage)


def reply(octets: bytes) -> None:
    """Two octets make the code, one the stage; the rest is the text, as the wire hands it over."""
    code = int.from_bytes(octets[:2], "big") % 1000
    stage = _STAGES[octets[2] % len(_STAGES)] if len(octets) > 2 else Stage.DOT
    remote = Reply.parse(code, octets[3:].decode("utf-8", "surrogateescape"))
    told = for_client(remote, stage)
    for one in (remote, told, with_id(remote, "0123456789abcdef")):
        line = one.octets
        assert line.endswith(b"\r\n")
        assert len(line) <= 512
        assert line[:-2].decode("ascii").isprintable()
    assert 200 <= told.code < 300 or 400 <= told.code < 600
    assert told.code != 421
    assert re.fullmatch(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", told.status)
    assert told.status[0] == str(told.code)[0]
    assert for_client(told, stage) == told
    assert not told.is_permanent or (remote.is_permanent and stage.value in ("mail", "rcpt", "data", "dot"))
    assert not told.is_positive or remote.is_positive
    assert for_log(remote) == f"{code} {remote.status}".strip()
    assert with_id(remote, "0123456789abcdef").octets.endswith(b"[0123456789abcdef]\r\n")


def text_behind_xtext(octets: bytes) -> None:
    text = octets.decode("utf-8", "replace")
    if text.isascii():
        assert xtext.decoded(xtext.encoded(text)) == text
    try:
        plain = xtext.decoded(text)
    except ValueError:
        return
    assert text.isascii()
    assert text.isprintable()
    assert len(plain) <= len(text)
    assert all(ord(character) < 256 for character in plain)
    if plain.isascii():
        assert xtext.decoded(xtext.encoded(plain)) == plain


def parameter(octets: bytes) -> None:
    value = octets.decode("utf-8", "surrogateescape").replace("\r", "").replace("\n", "")
    found = parameters(value)
    for name, text in found.items():
        assert name == name.lower()
        assert name
        assert len(text) <= len(value)
    changed = with_parameter(value, "charset", "utf-8")
    assert parameters(changed) == found | {"charset": "utf-8"}
    assert with_parameter(changed, "charset", "utf-8") == changed


_KEY = re.compile(r"\w+")


def log_line(octets: bytes) -> None:
    """What is taken apart is all that stood there."""
    line = octets.decode("utf-8", "replace").replace("\n", " ")
    found = pairs(line)
    event = found.pop("event")
    keys = re.findall(r" (\w+)=", line)
    if len(set(keys)) == len(keys) and "event" not in keys:
        assert "".join((event, *(f" {key}={value}" for key, value in found.items()))) == line
    assert all(_KEY.fullmatch(key) for key in found)


PARSERS = [
    Parser(
        "address",
        address,
        (b"@", b'"', b'\\"', b".", b"@[127.0.0.1]", b"@[IPv6:::1]", b"\xc3\xa9", b"a@b.c"),
        longest=330,
    ),
    Parser(
        "reply", reply, (b"5.1.1 ", b"4.7.1 ", b"2.0.0 ", b"\n", b"\n5.1.1 ", b"\xe2\x80\xa8", b"\x1b[31m"), longest=450
    ),
    Parser("xtext", text_behind_xtext, (b"+2B", b"+3D", b"+FF", b"+0A", b"+", b"="), longest=128),
    Parser(
        "parameter",
        parameter,
        (
            b"; charset=",
            b"; charset*0*=",
            b"; charset*1=",
            b"*",
            b'"',
            b'\\"',
            b"utf-8''%E2%82",
            b";",
            b"=",
            b"boundary",
        ),
        longest=256,
    ),
    Parser("logs", log_line, (b" id=", b" a=b", b" event=", b" =", b"  ", b" reply=550 5.1.1"), longest=256),
]
