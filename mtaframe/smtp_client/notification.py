"""The sender's wishes for DSNs, as parameters for a next hop that offers DSN (RFC 3461 §5.2.1).

The law: what came is passed on with the same meaning, and what did not come is not made up.
"""

import re

from mtaframe import xtext
from mtaframe.envelope import Envelope, Recipient

_NOTIFY = ("NEVER", "SUCCESS", "FAILURE", "DELAY")
_ORIGINAL = re.compile(r"([A-Za-z0-9-]+);(.+)", re.DOTALL)
_NO_QCHAR = re.compile(r"[^!-*,-<>-~]")


def mail_wishes(envelope: Envelope) -> bytes:
    """RET and ENVID for MAIL."""
    words = [f" RET={envelope.ret}"] if envelope.ret else []
    if envelope.envid and envelope.envid.isascii():
        words.append(f" ENVID={xtext.encoded(envelope.envid)}")
    return "".join(words).encode("ascii")


def rcpt_wishes(recipient: Recipient) -> bytes:
    """NOTIFY and ORCPT for RCPT."""
    words = [f" NOTIFY={','.join(word for word in _NOTIFY if word in recipient.notify)}"] if recipient.notify else []
    if recipient.original and (found := _ORIGINAL.fullmatch(recipient.original)):
        kind, address = found.groups()
        if kind.lower() == "utf-8":
            words.append(f" ORCPT={kind};{_NO_QCHAR.sub(_embedded, address)}")
        elif address.isascii():
            words.append(f" ORCPT={kind};{xtext.encoded(address)}")
    return "".join(words).encode("ascii")


def _embedded(character: re.Match[str]) -> str:
    """The form of RFC 6533 §3 that passes without SMTPUTF8, too."""
    return f"\\x{{{ord(character[0]):X}}}"
