"""Counts open transactions, so that a slow site or a busy account leaves room for the others.

Of a listener's transactions one site may have a quarter, and one account half as soon as there are others. Pure
counting: what is told to whom, and when, is reception's matter.
"""

from collections.abc import Callable, Sequence

Site = frozenset[str]
"""The hosts that take mail for a domain: where they are the same, so is the site."""


class Bulkheads:
    """Those of all listeners. ``share`` is the part of each limit that is this process's."""

    def __init__(self, share: float = 1.0) -> None:
        self._share = share
        self._listeners: dict[str, Bulkhead] = {}

    def of(self, listener: str, max_transactions: int) -> "Bulkhead":
        """The listener's, with the limit that holds for it now."""
        bulkhead = self._listeners.get(listener)
        if bulkhead is None:
            bulkhead = self._listeners[listener] = Bulkhead()
        if bulkhead.promised != max_transactions:
            bulkhead.promised = max_transactions
            bulkhead.set_limit(max(1, round(max_transactions * self._share)))
        return bulkhead


class Bulkhead:
    """The transactions of one listener."""

    def __init__(self, limit: int = 1) -> None:
        self.promised = 0
        """The limit for all processes that this one's follows from."""
        self.set_limit(limit)
        self.open = 0
        self._accounts: dict[str | None, int] = {}
        self._berths: dict[str, set[int]] = {}

    @property
    def is_full(self) -> bool:
        return self.open >= self.limit

    @property
    def is_busy(self) -> bool:
        """Whether so much is open that one site could have its share: only then anybody must know of sites."""
        return self.open > self._quarter

    @property
    def is_clear(self) -> bool:
        """Whether nothing is counted at all."""
        return not (self.open or self._accounts or self._berths)

    def set_limit(self, limit: int) -> None:
        """How many there may be from now on."""
        self.limit, self._half, self._quarter = limit, max(1, limit // 2), max(1, limit // 4)

    def enter(self, account: str | None) -> "Berth | None":
        """A place for one more transaction, or None."""
        of_account = self._accounts.get(account, 0)
        if self.open >= self.limit or (of_account >= self._half and of_account != self.open):
            return None
        self.open += 1
        self._accounts[account] = of_account + 1
        return Berth(self, account)

    def has_room(self, berth: "Berth", domain: str, site_of: Callable[[str], Site]) -> bool:
        """Whether the site of this domain has fewer than its share of transactions, those of ``berth`` aside."""
        if not self.is_busy:
            return True
        site = site_of(domain)
        there: set[int] = set()
        for other, berths in self._berths.items():
            if other == domain or site_of(other) == site:
                there |= berths
        return len(there - {id(berth)}) < self._quarter

    def join(self, berth: "Berth", domain: str) -> None:
        self._berths.setdefault(domain, set()).add(id(berth))

    def leave(self, berth: "Berth", account: str | None, domains: set[str]) -> None:
        self.open -= 1
        left = self._accounts[account] = self._accounts[account] - 1
        if not left:
            del self._accounts[account]
        for domain in domains:
            there = self._berths[domain]
            there.discard(id(berth))
            if not there:
                del self._berths[domain]


class Berth:
    """The place of one transaction, until it leaves or nobody refers to it any more."""

    __slots__ = ("_account", "_bulkhead", "_domains")

    def __init__(self, bulkhead: Bulkhead, account: str | None) -> None:
        self._bulkhead: Bulkhead | None = bulkhead
        self._account = account
        self._domains: set[str] = set()

    def join(self, domain: str) -> None:
        """One of its recipients is in this domain."""
        if self._bulkhead is not None:
            self._domains.add(domain)
            self._bulkhead.join(self, domain)

    def leave(self) -> None:
        if self._bulkhead is not None:
            self._bulkhead.leave(self, self._account, self._domains)
            self._bulkhead = None

    def __del__(self) -> None:
        self.leave()


def site(domain: str, records: Sequence[tuple[int, str]] | None) -> Site:
    """The best MX hosts of a domain; the domain itself, if it has none or they are not known."""
    best = min((preference for preference, _ in records or ()), default=None)
    return frozenset(host for preference, host in records or () if preference == best) or frozenset({domain})
