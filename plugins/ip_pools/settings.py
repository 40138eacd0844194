"""The keys of ``conf/ip_pools.toml``. Names that lead nowhere, and ways on which mail could go round, are faults."""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from mtaframe import Domain, Domains, Model

NAME = r"^[a-z0-9][a-z0-9_.-]{0,99}$"


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError('an IP address of this host is written as "192.0.2.1" or "2001:db8::1"') from None


def _weights(value: object) -> object:
    """A list of names is the same as a table in which each has the weight 1."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        return value
    if len(set(value)) != len(value):
        raise ValueError("a source is listed twice")
    return dict.fromkeys(value, 1)


def _without_star(value: object) -> object:
    return value[1:] if isinstance(value, str) and value.startswith("*.") else value


Weights = Annotated[
    dict[str, Annotated[int, Field(ge=1, le=1_000_000)]],
    BeforeValidator(_weights),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}},
                {"type": "array", "items": {"type": "string"}},
            ]
        }
    ),
]
DomainList = tuple[Annotated[Domains, BeforeValidator(_without_star)], ...]


class SourceSettings(Model):
    """One outgoing identity: ``[[source]]``."""

    name: str = Field(pattern=NAME, description="Its name in pools, commands, logs and events.")
    address: Annotated[str, AfterValidator(_address)] = Field(description="An IP address of this host.")
    ehlo: Domain = Field(description="The name that it gives in EHLO; the address should resolve to it, and back.")
    rest: bool = Field(default=False, description="Whether it rests: nothing goes out by it.")


class PoolSettings(Model):
    """Sources that share the mail of one kind: ``[[pool]]``."""

    name: str = Field(pattern=NAME, description="Its name in rules and logs.")
    sources: Weights = Field(min_length=1, description="{ NAME = WEIGHT }, or a list of names, all of weight 1.")
    accounts: tuple[str, ...] = Field(
        default=(), description="The accounts that it is kept for; no other mail goes by it. Empty: for all."
    )
    fallback: str | None = Field(default=None, description="The pool that takes over while all its sources rest.")


class HeaderSettings(Model):
    """A header field of the message."""

    name: str = Field(pattern=r"^[!-9;-~]+$", description="The name of the header field, without a colon.")
    value: str | None = Field(
        default=None, description="What stands in it, as a whole, upper or lower case. Without: anything."
    )


class RuleSettings(Model):
    """Which mail goes by which pool: ``[[rule]]``. Every condition that is written must hold."""

    pool: str = Field(description="The pool for mail that fits.")
    accounts: tuple[str, ...] = Field(default=(), description="Accounts whose mail fits. Empty: all.")
    streams: tuple[str, ...] = Field(default=(), description="Streams that fit. Empty: all.")
    header: HeaderSettings | None = Field(default=None, description="A header field that must be there.")
    sender_domains: DomainList = Field(
        default=(),
        description='Domains of the reverse-path or the From field: "example.com", ".example.com". Empty: all.',
    )
    recipient_domains: DomainList = Field(
        default=(), description='Recipient domains: "example.com", or ".example.com" for all below it. Empty: all.'
    )

    @property
    def is_empty(self) -> bool:
        return not (self.accounts or self.streams or self.header or self.sender_domains or self.recipient_domains)


class IpPoolsSettings(Model):
    """``conf/ip_pools.toml``."""

    source: tuple[SourceSettings, ...] = Field(default=(), description="The outgoing identities.")
    pool: tuple[PoolSettings, ...] = Field(default=(), description="Sources that share the mail of one kind.")
    default_pool: str | None = Field(
        default=None, description="The pool for mail that no rule fits. Without: such mail keeps the system's address."
    )
    limited_pool: str | None = Field(
        default=None, description="The pool for all mail of accounts that are limited. Without: they are as others."
    )
    smart_hosts: bool = Field(
        default=True, description="Whether mail to a smart host gets a source too, not only mail to MX hosts."
    )
    missing: Literal["warn", "error"] = Field(
        default="warn",
        description="What a source is whose address is not on this host: warn: it is not used; error: a fault.",
    )
    rule: tuple[RuleSettings, ...] = Field(default=(), description="Which mail goes by which pool; the first counts.")

    @field_validator("source")
    @classmethod
    def _distinct(cls, sources: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        for number, one in enumerate(sources):
            for other in sources[:number]:
                if one.name == other.name:
                    raise ValueError(f'two sources are named "{one.name}"')
                if one.address == other.address:
                    raise ValueError(f'the sources "{other.name}" and "{one.name}" have the same address')
        return sources

    @field_validator("pool")
    @classmethod
    def _sound(cls, pools: tuple[PoolSettings, ...], info: ValidationInfo) -> tuple[PoolSettings, ...]:
        by_name = {pool.name: pool for pool in pools}
        if len(by_name) < len(pools):
            raise ValueError("two pools have the same name")
        known = {source.name for source in info.data.get("source", ())}
        for pool in pools:
            unknown = [name for name in pool.sources if name not in known]
            if unknown and "source" in info.data:
                raise ValueError(f'the pool "{pool.name}" names a source that does not exist: "{unknown[0]}"')
            for trouble in _of_fallback(pool, by_name):
                raise ValueError(f'the pool "{pool.name}" {trouble}')
        return pools

    @field_validator("default_pool", "limited_pool")
    @classmethod
    def _shared(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is not None and "pool" in info.data:
            pool = _pool(name, info)
            if pool.accounts:
                raise ValueError(f'the pool "{name}" is kept for some accounts: name one that is for all')
        return name

    @field_validator("rule")
    @classmethod
    def _lead_somewhere(cls, rules: tuple[RuleSettings, ...], info: ValidationInfo) -> tuple[RuleSettings, ...]:
        for rule in rules if "pool" in info.data else ():
            owners = _pool(rule.pool, info).accounts
            if rule.is_empty:
                raise ValueError(f'the rule for the pool "{rule.pool}" has no condition: write "default_pool" instead')
            if owners and rule.accounts and not set(rule.accounts) <= set(owners):
                raise ValueError(f'a rule names accounts that the pool "{rule.pool}" is not kept for')
        return rules


def _pool(name: str, info: ValidationInfo) -> PoolSettings:
    for pool in info.data["pool"]:
        if pool.name == name:
            return pool  # type: ignore[no-any-return]
    raise ValueError(f'there is no pool "{name}"')


def _of_fallback(pool: PoolSettings, by_name: Mapping[str, PoolSettings]) -> Iterator[str]:
    """What is wrong with the way that mail takes from this pool."""
    seen, here = {pool.name}, pool
    while here.fallback is not None:
        if here.fallback not in by_name:
            yield f'falls back to one that does not exist: "{here.fallback}"'
            return
        here = by_name[here.fallback]
        if here.name in seen:
            yield "falls back to itself"
            return
        if here.accounts and not (pool.accounts and set(pool.accounts) <= set(here.accounts)):
            yield f'falls back to "{here.name}", which is kept for other accounts'
            return
        seen.add(here.name)
