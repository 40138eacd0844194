"""What the DNS says of an account holder's domain: whether it publishes our key, and lets us send.

The rule: a domain is proven by a name that only this account was told to make, in a zone that only its owner can write.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from mtaframe import Resolver

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_LONGEST = 253


def domain_name(text: str) -> str:
    """A domain in lower case and its xn-- form. ValueError if it is none that mail could come from."""
    name = text.strip().rstrip(".")
    if len(name) > _LONGEST:
        raise ValueError("is too long")
    labels = unicodedata.normalize("NFC", name.lower()).split(".")
    name = ".".join(x if x.isascii() else "xn--" + x.encode("punycode", "replace").decode("ascii") for x in labels)
    if len(name) > _LONGEST or not _DOMAIN.fullmatch(name) or name.rpartition(".")[2].isdecimal():
        raise ValueError('is no domain, such as "example.com"')
    return name


def selector(account: str, domain: str) -> str:
    """Under which name this account publishes our key: nobody else's proof, and the same again after a deletion."""
    return "m" + hashlib.blake2b(f"{account}\0{domain}".encode(), digest_size=8).hexdigest()


async def publishes_key(resolver: Resolver, name: str, public: str) -> bool:
    """Whether there is one key at this name, a CNAME or a record of its own, and it is ours. DnsError."""
    records = await resolver.txt(name)
    return len(records) == 1 and _key(records[0]) == public


async def permits(resolver: Resolver, domain: str, include: str) -> bool:
    """Whether the one SPF record of the domain includes ours (RFC 7208 §3.2, §5.2). DnsError."""
    return is_included(await resolver.txt(domain), include)


def is_included(records: Sequence[str], include: str) -> bool:
    found = [terms for terms in (record.lower().split() for record in records) if terms[:1] == ["v=spf1"]]
    wanted = f"include:{include}"
    return len(found) == 1 and any(term.removeprefix("+").rstrip(".") == wanted for term in found[0])


def _key(record: str) -> str:
    """The ``p=`` tag of a DKIM record (RFC 6376 §3.6.1)."""
    tags = {name.strip(): value for name, _, value in (tag.partition("=") for tag in record.split(";"))}
    return "".join(tags.get("p", "").split())
