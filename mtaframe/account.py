"""Who submits mail: an account with its credentials, tokens, domains and streams, as ``conf/accounts.toml`` has it."""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from mtaframe.redaction import Redacted

Dialect = Literal["auto", "2021", "2025"]
"""Which generation of MimePost's API a token's client speaks; auto: what its requests tell."""


class Status(Enum):
    """What the operator says of an account, from best to worst; a sub-account is never better off than its parent.

    *limited*: it has a share of its limits. *pending*: nobody has approved it yet; it may mail its sandbox addresses.
    *suspended*: it may not send. *closed*: it is an account no more, and its passwords and tokens prove nothing.
    """

    APPROVED = "approved"
    LIMITED = "limited"
    PENDING = "pending"
    SUSPENDED = "suspended"
    CLOSED = "closed"


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
    the listener says. ``status`` is its own; what holds follows from those above, too (``AccountBook.status_of``).
    ``per_hour``, ``per_day`` and ``quota`` (a calendar month) count recipients; ``limits`` says whether they are shared
    with all sub-accounts, or split: each sub-account without numbers of its own has the same ones for itself.
    """

    _shown = ("name", "parent")

    name: str
    parent: str | None = None
    domains: frozenset[str] = frozenset()
    streams: frozenset[str] = frozenset()
    credentials: tuple[Credential, ...] = ()
    on_defer: str | None = None
    tokens: tuple[Token, ...] = ()
    status: Status = Status.APPROVED
    pool: str | None = None
    per_hour: int | None = None
    per_day: int | None = None
    quota: int | None = None
    limits: Literal["shared", "split"] = "shared"
