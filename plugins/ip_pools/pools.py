"""The pools of one configuration: which one a copy belongs to, and which sources it may leave by, in their order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mtaframe import Delivery
from mtaframe_plugins.ip_pools.rendezvous import Contender, contender, ranked, winner
from mtaframe_plugins.ip_pools.rules import fits
from mtaframe_plugins.ip_pools.settings import IpPoolsSettings, PoolSettings


@dataclass(frozen=True, slots=True)
class Pool:
    """``accounts``: whom it is kept for; none, if it is for all."""

    name: str
    contenders: tuple[Contender, ...]
    accounts: frozenset[str]
    fallback: str | None


class Pools:
    """Everything here follows from the configuration alone: no clock, no memory."""

    def __init__(self, settings: IpPoolsSettings) -> None:
        self._by_name = {pool.name: _built(pool) for pool in settings.pool}
        self._rules = settings.rule
        self._default = settings.default_pool

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._by_name.values())

    def chosen(self, delivery: Delivery, own: str | None = None) -> tuple[str | None, str]:
        """The pool for this copy, or None, and in words why it is this one. ``own`` is the account's, if it has one."""
        account = delivery.envelope.account
        for number, rule in enumerate(self._rules, 1):
            owners = self._by_name[rule.pool].accounts
            if (not owners or account in owners) and fits(rule, delivery):
                return rule.pool, f"rule {number}"
        if own is not None:
            return own, "the account's pool"
        for pool in self._by_name.values():
            if account in pool.accounts:
                return pool.name, "kept for this account"
        return self._default, "default_pool"

    def trouble(self, account: str, name: str) -> str | None:
        """Why the account can't have this pool for its own; None if it can."""
        pool = self._by_name.get(name)
        if pool is None:
            return f'there is no pool "{name}" in conf/ip_pools.toml'
        is_open = not pool.accounts or account in pool.accounts
        return None if is_open else f'the pool "{name}" is kept for other accounts'

    def source(self, pair: bytes, pool: str, is_off: Callable[[str], bool]) -> tuple[str, str] | None:
        """Pool and source that this pair leaves by, of those that are not off; None, if none is left."""
        for each in self.chain(pool):
            name = winner(pair, each.contenders)
            if name is not None and is_off(name):
                name = winner(pair, [one for one in each.contenders if not is_off(one.name)])
            if name is not None:
                return each.name, name
        return None

    def order(self, pair: bytes, pool: str) -> list[tuple[str, str]]:
        """All that this pair may ever leave by, as (pool, source): each takes over from the one before."""
        return [(each.name, name) for each in self.chain(pool) for name in ranked(pair, each.contenders)]

    def chain(self, pool: str) -> Iterator[Pool]:
        """The pool, the one that takes over from it, and so on."""
        name: str | None = pool
        while name is not None:
            yield (here := self._by_name[name])
            name = here.fallback


def _built(pool: PoolSettings) -> Pool:
    contenders = tuple(contender(name, weight) for name, weight in pool.sources.items())
    return Pool(pool.name, contenders, frozenset(pool.accounts), pool.fallback)
