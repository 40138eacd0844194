"""Domains that accounts may send from: those of the operator's file, and those that account holders added and proved.

The law: a domain is used while the DNS was seen to have its owner's proof, no other account has it in the file, and
nobody waits for the operator's word.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mtaframe import Counter, DnsError, Mta, OwnDomain, ProvenKey, ProvenSelector, Redacted, Status
from mtaframe_plugins.http_api.belongings import Belongings
from mtaframe_plugins.http_api.domain_proofs import permits, publishes_key, selector
from mtaframe_plugins.http_api.settings import HttpApiSettings
from mtaframe_plugins.http_api.templates import moment

_FROM_FILE = 1_000_000_000
"""The ids of the file's domains begin here: others never come so far, and all are 32-bit integers with a sign."""


@dataclass(frozen=True, slots=True, repr=False)
class OwnedDomain(Redacted):
    """``decision`` is the operator's: approved, rejected, or none yet. ``is_given``: the file has it."""

    _shown = ("id",)

    id: int
    name: str
    selector: str = ""
    has_key: bool = False
    has_spf: bool = False
    decision: str = ""
    rejection_reason: str | None = None
    moderated_by: str | None = None
    moderated_at: str | None = None
    entered: str = ""
    is_given: bool = False


class Domains:
    """The domains of all accounts."""

    def __init__(self, mta: Mta, config: HttpApiSettings) -> None:
        self._mta = mta
        self._config = config
        self._made = Belongings(mta, "domain", _read)
        self._owners = {domain: account.name for account in mta.accounts.values() for domain in account.domains}

    async def all(self, account: str) -> Sequence[OwnedDomain]:
        """Those of the file, then those that were added, in their order."""
        given = [OwnedDomain(_given_id(name), name, is_given=True) for name in sorted(self._given(account))]
        made = await self._made.all(account)
        return [*given, *sorted(made.values(), key=lambda each: each.id)]

    async def find(self, account: str, number: int) -> OwnedDomain | None:
        return next((each for each in await self.all(account) if each.id == number), None)

    async def named(self, account: str, name: str) -> OwnedDomain | None:
        return next((each for each in await self.all(account) if each.name == name), None)

    async def added(self, account: str, name: str) -> OwnedDomain | None:
        return (await self._made.all(account)).get(name)

    async def add(self, account: str, name: str) -> OwnedDomain | None:
        """None if the account has as many as it may."""
        number = await self._mta.state.sequences.next(Counter("http_api.domain", account=account))
        domain = OwnedDomain(number, name, selector(account, name), entered=moment(self._mta.clock.now()))
        return await self._made.add(account, name, domain, self._config.max_domains)

    async def decide(self, account: str, name: str, **decision: Any) -> OwnedDomain | None:
        """With the operator's decision; None if the account has added no such domain."""
        return await self._made.change(account, name, lambda domain: replace(domain, **decision))

    async def drop(self, account: str, domain: OwnedDomain) -> None:
        await self._made.drop(account, domain.name)

    async def is_anothers(self, account: str, name: str) -> bool:
        """Whether the file gives it to another account, or another one has proven it and still can."""
        if self._owner(name) not in (None, account):
            return True
        for other in self._made.accounts:
            if other == account or self._mta.accounts.status_of(other) is Status.CLOSED:
                continue
            domain = (await self._made.all(other)).get(name)
            if domain is not None and domain.has_key and await self._still_has_key(other, domain):
                return True
        return False

    async def waiting(self) -> Sequence[tuple[str, OwnedDomain]]:
        """Accounts, and their domains that wait for the operator."""
        return [
            (account, domain)
            for account in self._made.accounts
            for domain in (await self._made.all(account)).values()
            if self.is_waiting(domain)
        ]

    # What holds of a domain.

    def is_verified(self, domain: OwnedDomain) -> bool:
        return domain.is_given or (domain.has_key and self.has_spf(domain))

    def has_spf(self, domain: OwnedDomain) -> bool:
        return domain.is_given or domain.has_spf or self._config.spf_include is None

    def is_approved(self, domain: OwnedDomain) -> bool:
        return domain.is_given or (self.is_verified(domain) and domain.decision == "approved")

    def is_waiting(self, domain: OwnedDomain) -> bool:
        return self.is_verified(domain) and not domain.is_given and domain.decision == ""

    # The DNS.

    async def verified_key(self, account: str, domain: OwnedDomain) -> OwnedDomain:
        """As the DNS says it now. DnsError."""
        found = await self._mta.ask(ProvenKey())
        has_key = found is not None and await publishes_key(self._mta.resolver, host(domain), found[1])
        return await self.seen(account, domain, has_key=has_key)

    async def verified_spf(self, account: str, domain: OwnedDomain) -> OwnedDomain:
        """As the DNS says it now. DnsError."""
        include = self._config.spf_include
        has_spf = include is not None and await permits(self._mta.resolver, domain.name, include)
        return await self.seen(account, domain, has_spf=has_spf)

    async def seen(self, account: str, domain: OwnedDomain, **found: bool) -> OwnedDomain:
        """With what was found, and approved if it is verified and nobody wants to look at it first.

        It may have been decided on or deleted while the DNS was asked: that stays so.
        """

        def with_findings(current: OwnedDomain) -> OwnedDomain:
            if current.id != domain.id:
                return current
            after = replace(current, **found)  # type: ignore[arg-type]
            is_approved = self.is_waiting(after) and not self._config.moderate_domains
            return replace(after, decision="approved") if is_approved else after

        current = await self._made.change(account, domain.name, with_findings)
        if current is None or current.id != domain.id:
            return replace(domain, **found)  # type: ignore[arg-type]
        return current

    async def _still_has_key(self, account: str, domain: OwnedDomain) -> bool:
        """Whoever has a domain no more must not keep it from its new owner."""
        try:
            return (await self.verified_key(account, domain)).has_key
        except DnsError:
            return True

    # What other plugins ask.

    async def is_own(self, question: OwnDomain) -> bool:
        return await self._used(question.account, question.domain) is not None

    async def proven_selector(self, question: ProvenSelector) -> str | None:
        """The account's own, or that of one above it."""
        for account in self._mta.accounts.chain(question.account):
            domain = await self._used(account.name, question.domain)
            if domain is not None:
                return domain.selector
        return None

    async def _used(self, account: str, name: str) -> OwnedDomain | None:
        domain = (await self._made.all(account)).get(name)
        if domain is None or not self.is_approved(domain) or self._owner(name) not in (None, account):
            return None
        return domain

    def _given(self, account: str) -> frozenset[str]:
        found = self._mta.accounts.get(account)
        return found.domains if found is not None else frozenset()

    def _owner(self, name: str) -> str | None:
        """The account with this domain in the file, or with ``.parent`` of it."""
        owner, above = self._owners.get(name), name
        while owner is None and above:
            above = above.partition(".")[2]
            owner = self._owners.get(f".{above}")
        return owner


def host(domain: OwnedDomain) -> str:
    """Where the account publishes our key."""
    return f"{domain.selector}._domainkey.{domain.name}"


def _given_id(name: str) -> int:
    """Of a domain of the file: the same as long as it is called so."""
    return _FROM_FILE + int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) % _FROM_FILE


def _read(data: Mapping[str, Any]) -> OwnedDomain:
    return OwnedDomain(**{name: value for name, value in data.items() if name in OwnedDomain.__dataclass_fields__})
