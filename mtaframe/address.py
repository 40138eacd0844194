"""A mailbox as SMTP names it (RFC 5321 §4.1.2, RFC 6531 §3.3). It never prints itself."""

import re
import unicodedata
from dataclasses import dataclass

from mtaframe.redaction import Redacted

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]"
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_QUOTED_STRING = re.compile(r'"(?:[ !#-\[\]-~\u0080-\U0010ffff]|\\[ -~])*"')
_LABEL = r"[A-Za-z0-9\u0080-\U0010ffff](?:[A-Za-z0-9\-\u0080-\U0010ffff]*[A-Za-z0-9\u0080-\U0010ffff])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_PLAIN = re.compile(
    r"([A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+)*)"
    r"@([A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?)*)"
)
"""Nearly every address: what it lets pass is valid, what it does not may be."""
_LITERAL = re.compile(r"\[(?:IPv6:[0-9A-Fa-f:.]+|[0-9]{1,3}(?:\.[0-9]{1,3}){3})\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True, repr=False)
class Address(Redacted):
    """``local_part`` as given (its case may matter), ``domain`` in lower case, without a final dot."""

    local_part: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """An address from ``local@domain``. ValueError says what is wrong, without the address itself."""
        plain = _PLAIN.fullmatch(text)
        if plain is not None and len(plain[1]) <= 64 and len(plain[2]) <= 255:
            return cls(plain[1], plain[2].lower())
        local_part, at, domain = text.rpartition("@")
        if not at:
            raise ValueError("an address needs an @")
        if not (_DOT_STRING.fullmatch(local_part) or _QUOTED_STRING.fullmatch(local_part)):
            raise ValueError("the local part is not valid (RFC 5321 §4.1.2)")
        if not (_DOMAIN.fullmatch(domain) or _LITERAL.fullmatch(domain)):
            raise ValueError("the domain is not valid (RFC 5321 §4.1.2)")
        if len(local_part.encode()) > 64 or len(domain.encode()) > 255:
            raise ValueError("the address is too long (RFC 5321 §4.5.3.1)")
        return cls(local_part, domain.rstrip(".").lower())

    @property
    def mailbox(self) -> str:
        """The address in clear. Every use of it is on purpose."""
        return f"{self.local_part}@{self.domain}"

    @property
    def is_ascii(self) -> bool:
        """Whether it travels without SMTPUTF8 (RFC 6531)."""
        return self.local_part.isascii() and self.domain.isascii()


_DOTS = re.compile("[.\u3002\uff0e\uff61]")
_LONGEST_NAME = 255
"""Characters (RFC 1035 §2.3.4): A-labels are longer still, and each label costs time."""
_NAMES_OF_THEIR_OWN = re.compile("[ß\u03c2\u200c\u200d]")


def dns_name(domain: str) -> str:
    """The domain as the DNS has it, with A-labels (RFC 5890 §2.3.2.1). UnicodeError if the DNS can't have it.

    To Python's codec, which knows IDNA of 2003, ß is ss, ς is σ, and joiners are nothing. Today those are other
    domains, often somebody else's (RFC 5894 §7.2).
    """
    if domain.isascii():
        return domain
    if len(domain) > _LONGEST_NAME:
        raise UnicodeError("name too long")
    labels = _DOTS.split(domain)
    if "" in labels[:-1]:
        raise UnicodeError("label empty")
    return ".".join(map(_a_label, labels))


def _a_label(label: str) -> str:
    if not _NAMES_OF_THEIR_OWN.search(label):
        return label.encode("idna").decode("ascii")
    name = "xn--" + unicodedata.normalize("NFKC", label.lower()).encode("punycode").decode("ascii")
    if len(name) > 63:
        raise UnicodeError("label too long")
    return name
