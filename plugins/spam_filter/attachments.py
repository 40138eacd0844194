"""Finds programs among the parts of a message, whatever their names and types say.

The rule: linear in the size of the message; what can't be decoded here can't be run elsewhere and passes.
"""

import re
from collections.abc import Iterator

from mtaframe import Message, Part, parts

MAX_DEPTH = 5
"""How deep messages attached to messages are looked into."""

_HEAD = 4096
_TAIL = 64
_PROGRAMS = (
    b"\x7fELF",
    b"\xfe\xed\xfa\xce",  # Mach-O, four ways
    b"\xfe\xed\xfa\xcf",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",  # Mach-O for several processors; Java classes too
    b"L\0\0\0\x01\x14\x02\0",  # a Windows shortcut
)
_ZIP = re.compile(rb"PK(?:\x03\x04|\x05\x06|\x06\x06)")
_MEMBER = re.compile(rb"PK(?:\x03\x04|\x01\x02)")
_PROGRAM_NAME = re.compile(
    rb"\.(?:bat|cmd|com|cpl|exe|hta|jar|jse?|lnk|msi|msp|pif|ps1|scr|vb[es]?|ws[fh])", re.IGNORECASE
)


def holds_program(message: Message, depth: int = 0) -> bool:
    """Whether a part is a Windows, Linux or macOS program, or a zip archive that names one."""
    for part in parts(message):
        if part.is_multipart:
            continue
        if part.content_type in ("message/rfc822", "message/global"):
            octets = part.octets
            if octets and depth < MAX_DEPTH and holds_program(Message.parse(octets), depth + 1):
                return True
        elif _is_program(part):
            return True
    return False


def _is_program(part: Part) -> bool:
    head = part.head(_HEAD) or b""
    if len(head) < 64 and part.end - part.start > _HEAD:  # padded with what decoders skip
        head = part.octets or b""
    if head.startswith(_PROGRAMS) or (head.startswith(b"MZ") and b"\0" in head[:64]):
        return True
    return _ZIP.match(head) is not None and any(_PROGRAM_NAME.fullmatch(name) for name in _members(part.octets or b""))


def _members(archive: bytes) -> Iterator[bytes]:
    """The extensions in an archive, from both places that name a member; of archives stored in it, too.

    Not by ``zipfile``, which believes in one of them and builds an object for each of a million entries.
    """
    for found in _MEMBER.finditer(archive):
        at = found.start()
        length_at, name_at = (26, 30) if archive[at + 2] == 3 else (28, 46)
        begin = at + name_at
        end = begin + int.from_bytes(archive[at + length_at : at + length_at + 2], "little")
        name = archive[max(begin, end - _TAIL) : end].rstrip(b" .")
        yield name[max(name.rfind(b"."), 0) :]
