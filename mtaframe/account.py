"""Who submits mail: an account with its credentials, tokens, domains and streams, as ``conf/accounts.toml`` has it."""

from dataclasses import dataclass
from typing import Literal

from mtaframe.redaction import Redacted

Dialect = Literal["auto", "2021", "2025"]
"""Which generation of MimePost's API a token's client speaks; auto: what its requests tell."""


@dataclass(frozen=True, slots=True, repr=False)
class Credential(Redacted):
    """A user name for AUTH and the argon2 hash of its password."""

    user: str
    hash: str


@dataclass(frozen=True, slots=True, repr=False)
class Token(Redacted):
    """A token for HTTP: the ``id`` that stands in its text, and the hash of its secret (``tokens``)."""

    _shown = ("name",)

    name: str
    id: str
    hash: str
    dialect: Dialect = "auto"


@dataclass(frozen=True, slots=True, repr=False)
class Account(Redacted):
    """``domains`` are those it may send from; ``parent`` names the account that it belongs to, if any.

    ``on_defer`` says who keeps what could not be delivered now: ``upstream``, ``handoff`` or ``hold``; None: what
    the listener says.
    """

    _shown = ("name", "parent")

    name: str
    parent: str | None = None
    domains: frozenset[str] = frozenset()
    streams: frozenset[str] = frozenset()
    credentials: tuple[Credential, ...] = ()
    on_defer: str | None = None
    tokens: tuple[Token, ...] = ()
