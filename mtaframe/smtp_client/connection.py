"""One connection to one address, as a transaction knows it; `opening` makes it."""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mtaframe.delivery import Credentials, Tls
from mtaframe.lifecycle import Attempt, Clock
from mtaframe.redaction import Redacted
from mtaframe.smtp_client.trouble import Kind, Trouble, TroubleError
from mtaframe.smtp_client.wire import Wire


@dataclass(frozen=True, slots=True, repr=False)
class Target(Redacted):
    """All that makes one connection as good as another: the key of the pool.

    ``name`` is the host's; it counts only where a certificate is checked against it (``verified_name``).
    """

    _shown = ("port", "tls", "lmtp")

    name: str = field(compare=False)
    verified_name: str | None
    address: str
    port: int
    source: str | None
    ehlo: str
    tls: Tls
    ca_file: str | None
    credentials: Credentials | None
    lmtp: bool
    _hash: int = field(default=0, init=False, compare=False)

    def __post_init__(self) -> None:
        ways = (self.verified_name, self.address, self.port, self.source, self.ehlo, self.tls, self.ca_file)
        object.__setattr__(self, "_hash", hash((*ways, self.credentials, self.lmtp)))

    def __hash__(self) -> int:
        """Worked out once: the pool asks twice for each message."""
        return self._hash

    @property
    def is_local(self) -> bool:
        """Whether the octets stay on this machine."""
        return self.address.startswith("/") or ipaddress.ip_address(self.address).is_loopback

    @property
    def tls_name(self) -> str:
        """What the certificate must be for."""
        return self.address if self.name.startswith("[") else self.name


class Budget:
    """The time that one attempt has left before its final dot; ``total`` is what it had at first."""

    __slots__ = ("_attempt", "_now", "total")

    def __init__(self, attempt: Attempt, clock: Clock) -> None:
        self._attempt = attempt
        self._now = clock.monotonic
        self.total = self.left

    @property
    def left(self) -> float:
        """Seconds."""
        return self._attempt.deadline - self._now()

    def seconds(self, own: float) -> float:
        """The lesser of a step's own time and what is left. TroubleError if nothing is."""
        left = self.left
        if left <= 0:
            raise TroubleError(Trouble(Kind.LATE))
        return min(own, left)


@dataclass(slots=True, repr=False, eq=False)
class Connection(Redacted):
    """What the server offers, and how far we are. ``uses`` counts transactions, ``unclean`` asks for RSET.

    There is one for each message that waits for its answer, so it holds no more than it takes.
    """

    _shown = ("uses", "is_encrypted")

    target: Target
    wire: Wire
    uses: int = 0
    unclean: bool = False
    idle_since: float = 0.0
    is_encrypted: bool = False
    pipelining: bool = False
    eight_bit: bool = False
    utf8: bool = False
    dsn: bool = False
    size_limit: int | None = None
    declares_size: bool = False
    limits: Mapping[str, int] = field(default_factory=dict)
    domains: frozenset[str] = frozenset()
    """Those of the recipients named so far, where the server limits them."""

    @property
    def is_usable(self) -> bool:
        return self.wire.is_usable

    def fitting(self, domains: Sequence[str], most: int) -> list[int]:
        """Which recipients, by the place of their domain, one transaction may carry: ``most``, or what the server says.

        RCPTDOMAINMAX counts all domains of a session (RFC 9422 §4.3).
        """
        most = min(most, self.limits.get("RCPTMAX", most))
        room = self.limits.get("RCPTDOMAINMAX", len(self.domains) + len(domains))
        named = set(self.domains)
        places: list[int] = []
        for place, domain in enumerate(domains):
            if len(places) < most and (domain in named or len(named) < room):
                named.add(domain)
                places.append(place)
        return places

    def named(self, domains: Iterable[str]) -> None:
        """Recipients in these have been named."""
        self.domains |= frozenset(domains)

    def drop(self) -> None:
        """Close without a word."""
        self.wire.abort()
