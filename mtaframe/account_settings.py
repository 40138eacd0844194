"""The keys of ``conf/accounts.toml``; the shipped file, the schema and the docs show each."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mtaframe.account import Dialect, Status
from mtaframe.notation import NAME, Domains, Model
from mtaframe.settings import OnDefer

_ARGON2 = re.compile(r"\$argon2id\$v=19\$m=[0-9]+,t=[0-9]+,p=[0-9]+\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}")
_BLAKE2B = re.compile(r"blake2b\$[0-9a-f]{32}\$[0-9a-f]{64}")


def _argon2_hash(text: str) -> str:
    if not _ARGON2.fullmatch(text):
        raise ValueError("not an argon2id hash: run `mtaframe account hash` and write what it prints")
    return text


def _token_hash(text: str) -> str:
    if not _BLAKE2B.fullmatch(text):
        raise ValueError("not the hash of a token: `mtaframe account add` and `rotate` make tokens and write it")
    return text


class CredentialSettings(Model):
    """A user name and the hash of its password: ``[[account.credential]]``."""

    user: str = Field(min_length=1, description="The name for AUTH; no two credentials share one.")
    hash: Annotated[str, AfterValidator(_argon2_hash)] = Field(
        description="What `mtaframe account hash` printed for the password."
    )


class TokenSettings(Model):
    """A token for the HTTP API and the hash of its secret: ``[[account.token]]``."""

    name: str = Field(pattern=NAME, description="What it is called, in its account.")
    id: str = Field(pattern=r"^[a-z0-9]{12}$", description="The middle part of its text; no two tokens share one.")
    hash: Annotated[str, AfterValidator(_token_hash)] = Field(
        description="The hash of its secret. The text itself is shown once, when the token is made."
    )
    dialect: Dialect = Field(
        default="auto",
        description="Which generation of MimePost's API its client speaks: 2021 or 2025; auto: what its requests tell.",
    )


class AccountSettings(Model):
    """Who submits mail: ``[[account]]``."""

    name: str = Field(pattern=NAME, description="Its name in logs, events and limits.")
    parent: str | None = Field(default=None, description="The account that this one belongs to.")
    status: Status = Field(
        default=Status.APPROVED,
        description="approved; limited: it has a share of its limits; pending: it may mail only its verified sandbox "
        "addresses; suspended: it may not send; closed: it is an account no more. The worst of its own and of "
        "those above it holds.",
    )
    domains: tuple[Domains, ...] = Field(
        default=(), description='Domains that are its own: "example.com", or ".example.com" for all below it.'
    )
    on_defer: OnDefer | None = Field(
        default=None, description="Who keeps what could not be delivered now, in place of what its listener says."
    )
    streams: tuple[Annotated[str, Field(pattern=NAME)], ...] = Field(
        default=(), description="Kinds of mail that it keeps apart, such as receipts and newsletters."
    )
    pool: str | None = Field(
        default=None,
        description="The pool of ip_pools.toml that its mail leaves by, where no rule there says otherwise.",
    )
    per_hour: int | None = Field(
        default=None, ge=1, description="Recipients an hour of the clock. Without: what thresholds.toml says."
    )
    per_day: int | None = Field(
        default=None, ge=1, description="Recipients a day in UTC. Without: what thresholds.toml says."
    )
    quota: int | None = Field(
        default=None, ge=1, description="Recipients a calendar month in UTC, paid for in advance. Without: any number."
    )
    limits: Literal["shared", "split"] = Field(
        default="shared",
        description="What per_hour, per_day and quota mean for its sub-accounts. shared: they count all their mail "
        "together with its own. split: each one without numbers of its own has the same for itself.",
    )
    credential: tuple[CredentialSettings, ...] = Field(default=(), description="Who may log in for it.")
    token: tuple[TokenSettings, ...] = Field(default=(), description="What its programs show to the HTTP API.")


class AccountsSettings(Model):
    """``conf/accounts.toml``."""

    account: tuple[AccountSettings, ...] = Field(default=(), description="Who submits mail.")
