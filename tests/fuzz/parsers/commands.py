"""Command lines: a value without anything ambiguous in it, or a reply that is ours."""

import re

from mtaframe import xtext
from mtaframe.address import Address
from mtaframe.envelope import Recipient
from mtaframe.reply import Reply
from mtaframe.smtp_server.commands import Chunk, Command, parse_bdat, parse_line, parse_mail, parse_rcpt
from tests.fuzz.parser import Parser

MAX_SIZE = 25_000_000
_MAIL = ("SIZE", "BODY", "SMTPUTF8", "AUTH", "RET", "ENVID", "PRDR")
_RCPT = ("NOTIFY", "ORCPT")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _is_ours(reply: Reply) -> None:
    assert 500 <= reply.code < 600
    assert reply.status.startswith("5.")
    assert reply.octets.endswith(b"\r\n")
    assert b"\r" not in reply.octets[:-2]
    assert len(reply.octets) <= 512


def _can_travel(address: Address) -> None:
    assert Address.parse(address.mailbox) == address
    assert not _CONTROL.search(address.mailbox)
    assert not re.search(r"[\s<>]", address.domain)


def _command(line: bytes) -> Command | None:
    command = parse_line(line)
    if isinstance(command, Reply):
        _is_ours(command)
        return None
    assert not any((octet < 32 and octet != 9) or octet == 127 for octet in line)
    assert command.verb == command.verb.upper()
    assert " " not in command.verb
    assert command.argument == command.argument.strip(" \t")
    return command


def _flags(octets: bytes) -> int:
    return octets[0] if octets else 0


def line(octets: bytes) -> None:
    command = _command(octets)
    if command is None:
        return
    assert len(octets) <= 12_288 - 2
    if command.verb == "MAIL":
        _mail(command.argument, _MAIL)
    elif command.verb == "RCPT":
        _rcpt(command.argument, _RCPT, True)
    elif command.verb == "BDAT":
        bdat(octets[5:])


def mail(octets: bytes) -> None:
    """The first octet says which parameters are offered."""
    command = _command(b"MAIL " + octets[1:])
    if command is not None:
        _mail(command.argument, tuple(name for bit, name in enumerate(_MAIL) if not _flags(octets) >> bit & 1))


def _mail(argument: str, known: tuple[str, ...]) -> None:
    mail = parse_mail(argument, known, MAX_SIZE)
    if isinstance(mail, Reply):
        return _is_ours(mail)
    assert mail.size <= MAX_SIZE
    assert mail.body in ("7BIT", "8BITMIME")
    assert mail.ret in (None, "FULL", "HDRS")
    assert mail.envid is None or (mail.envid.isascii() and mail.envid.replace("\t", " ").isprintable())
    words = ["FROM:<>"]
    if mail.reverse_path is not None:
        _can_travel(mail.reverse_path)
        assert mail.smtputf8 or mail.reverse_path.is_ascii
        words = [f"FROM:<{mail.reverse_path.mailbox}>"]
    words += [f"SIZE={mail.size}"] if mail.size else []
    words += [f"BODY={mail.body}"] if mail.body != "7BIT" else []
    words += ["SMTPUTF8"] if mail.smtputf8 else []
    words += [f"RET={mail.ret}"] if mail.ret else []
    words += [f"ENVID={xtext.encoded(mail.envid)}"] if mail.envid else []
    words += ["PRDR"] if mail.prdr else []
    assert all(word.partition("=")[0] in known for word in words[1:])
    if not mail.envid or len(words[-1]) < 90:
        assert parse_mail(" ".join(words), known, MAX_SIZE) == mail
    return None


def rcpt(octets: bytes) -> None:
    command = _command(b"RCPT " + octets[1:])
    if command is not None:
        known = tuple(name for bit, name in enumerate(_RCPT) if not _flags(octets) >> bit & 1)
        _rcpt(command.argument, known, _flags(octets) > 127)


def _rcpt(argument: str, known: tuple[str, ...], smtputf8: bool) -> None:
    recipient = parse_rcpt(argument, known, smtputf8=smtputf8)
    if isinstance(recipient, Reply):
        return _is_ours(recipient)
    _can_travel(recipient.address)
    assert smtputf8 or recipient.address.is_ascii
    assert recipient.notify <= {"NEVER", "SUCCESS", "FAILURE", "DELAY"}
    assert "NEVER" not in recipient.notify or len(recipient.notify) == 1
    if recipient.original is not None:
        assert not _CONTROL.search(recipient.original.replace("\t", ""))
        assert smtputf8 or recipient.original.isascii()
    again = parse_rcpt(f"TO:<{recipient.address.mailbox}>", (), smtputf8=smtputf8)
    assert isinstance(again, Recipient)
    assert again.address == recipient.address
    return None


def bdat(octets: bytes) -> None:
    argument = octets.decode("utf-8", "replace")
    chunk = parse_bdat(argument)
    if isinstance(chunk, Reply):
        return _is_ours(chunk)
    assert isinstance(chunk, Chunk)
    assert argument.isascii()
    assert 0 <= chunk.size < 10**18
    assert parse_bdat(f"{chunk.size} LAST" if chunk.is_last else str(chunk.size)) == chunk
    return None


_ADDRESS = (
    b"@example.net",
    b'"a b"@',
    b"@[127.0.0.1]",
    b"@[IPv6:::1]",
    b"<>",
    b">",
    b"<@a,@b:c@d>",
    b'\\"',
    b"\xc3\xa9",
)
_MAIL_WORDS = (
    *(f" {name}=".encode() for name in _MAIL),
    *_ADDRESS,
    b"FROM:<",
    b"8BITMIME",
    b"7BIT",
    b"FULL",
    b"HDRS",
    b"+2B",
    b" SMTPUTF8",
    b" PRDR",
)
_RCPT_WORDS = (
    *_ADDRESS,
    b"TO:<",
    b" NOTIFY=",
    b"NEVER",
    b"SUCCESS,",
    b"FAILURE",
    b"DELAY",
    b" ORCPT=",
    b"rfc822;",
    b"utf-8;",
    b"postmaster",
)

PARSERS = [
    Parser("commands_line", line, (b"MAIL ", b"RCPT ", b"BDAT ", b"EHLO ", *_MAIL_WORDS, *_RCPT_WORDS), longest=600),
    Parser("commands_mail", mail, _MAIL_WORDS),
    Parser("commands_rcpt", rcpt, _RCPT_WORDS),
    Parser("commands_bdat", bdat, (b" LAST", b"0", b"10", b" "), longest=64),
]
