"""Which keys sign a message: its author's domain decides, and who may use a domain's name."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mtaframe import Account
from mtaframe_plugins.dkim.keys import SigningKey
from mtaframe_plugins.dkim.settings import ThirdPartySettings

REMEMBERED = 10_000
"""Domains with accounts whose keys are remembered."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The keys that sign. ``is_own``: the author's domain is among them; else ``beside`` sign beside a proven one."""

    keys: Sequence[SigningKey]
    is_own: bool
    beside: Sequence[SigningKey]


class Choice:
    """The rule: a domain that an account owns signs for that account and those below it, unless the key says else."""

    def __init__(
        self, keys: Iterable[SigningKey], third_party: Sequence[ThirdPartySettings], accounts: Mapping[str, Account]
    ) -> None:
        self._by_domain: dict[str, list[SigningKey]] = {}
        for key in keys:
            self._by_domain.setdefault(key.domain, []).append(key)
        self._third_party = [(entry, frozenset(entry.accounts)) for entry in third_party]
        self._owners = {domain: account.name for account in accounts.values() for domain in account.domains}
        self._families = {name: frozenset(_line(name, accounts)) for name in accounts}
        self._known: dict[tuple[str | None, str | None], Chosen] = {}

    def chosen(self, author: str | None, account: str | None) -> Chosen:
        """The keys that sign mail of this author's domain from this account, in the order of the configuration.

        It follows from the configuration alone, and is remembered.
        """
        found = self._known.get((author, account))
        if found is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._known[author, account] = self._chosen(author, account)
        return found

    def _chosen(self, author: str | None, account: str | None) -> Chosen:
        own = self._of_author(author, account) if author else []
        chosen, beside = own, list[SigningKey]()
        for entry, accounts in self._third_party:
            if (not accounts or account in accounts) and (entry.always or not chosen):
                keys = self._by_domain[entry.domain]
                chosen = [*chosen, *(key for key in keys if key not in chosen)]
                beside += [key for key in keys if entry.always and key not in beside]
        return Chosen(chosen, bool(own), beside)

    def _of_author(self, author: str, account: str | None) -> list[SigningKey]:
        for domain in _upwards(author):
            found = [
                key
                for key in self._by_domain.get(domain, ())
                if (key.subdomains or domain == author) and self._may_use(key, author, account)
            ]
            if found:
                return found
        return []

    def _may_use(self, key: SigningKey, author: str, account: str | None) -> bool:
        if key.accounts:
            return account in key.accounts
        family = self._families.get(account, frozenset()) if account else frozenset()
        owners = {self._owner(key.domain), self._owner(author)} - {None}
        return owners <= family

    def _owner(self, domain: str) -> str | None:
        """The account with this domain, or with ``.parent`` of it."""
        if domain in self._owners:
            return self._owners[domain]
        parents = (f".{parent}" for parent in _upwards(domain) if parent != domain)
        return next((self._owners[parent] for parent in parents if parent in self._owners), None)


def _upwards(domain: str) -> Iterator[str]:
    """The domain, then each domain above it."""
    while domain:
        yield domain
        domain = domain.partition(".")[2]


def _line(name: str | None, accounts: Mapping[str, Account]) -> Iterator[str]:
    """The account and those above it."""
    seen: set[str] = set()
    while name is not None and name in accounts and name not in seen:
        seen.add(name)
        yield name
        name = accounts[name].parent
