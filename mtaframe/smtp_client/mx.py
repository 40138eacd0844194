"""Which hosts are asked to take the mail, and in which order (RFC 5321 §5.1, RFC 7505)."""

import asyncio
import contextlib
import ipaddress
import math
import random
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

from mtaframe.address import dns_name
from mtaframe.delivery import Route, Source
from mtaframe.lifecycle import DnsError, Resolver
from mtaframe.smtp_client.connection import Budget
from mtaframe.smtp_client.trouble import Kind, Trouble, TroubleError

Hop = tuple[str, str]
"""A host's name, and one of its IP addresses or the path of a Unix socket."""


class Hops:
    """The way to one destination, one preference after the other; nothing is looked up before its turn."""

    def __init__(self, hostname: str, resolver: Resolver, source: Source | None, ipv6: bool) -> None:
        self._hostname = hostname
        self._resolver = resolver
        self._source = source
        self._ipv6 = ipv6
        self._ready: list[list[Hop]] = []
        self._levels: list[list[str]] = []
        self._found = False
        self._by_mx = False
        self._reason = Kind.NO_HOST

    async def find(self, route: Route, domain: str, budget: Budget) -> None:
        """Learn the way. TroubleError if it is clear, or clearly unknown, that there is none."""
        next_hop = route.next_hop
        if next_hop is not None:
            self._reason = Kind.NO_NEXT_HOP
            if next_hop.startswith("/"):
                self._ready = [[("localhost", next_hop)]]
            else:
                self._at(next_hop.rstrip("."))
            return
        if domain.startswith("["):
            self._at(domain)
            return
        try:
            name = dns_name(domain)
            async with asyncio.timeout(budget.seconds(math.inf)):
                records = await self._resolver.mx(name)
        except UnicodeError:
            raise TroubleError(Trouble(Kind.NO_HOST)) from None
        except (DnsError, TimeoutError):
            raise TroubleError(Trouble(Kind.DNS)) from None
        self._by_mx = True
        self._levels = _levels(records) if records else [[name]]

    def _at(self, host: str) -> None:
        address = literal(host)
        if address is not None:
            self._ready = [[(host, address)]]
        elif host.startswith("["):
            raise TroubleError(Trouble(self._reason))
        else:
            self._levels = [[host]]

    async def more(self, budget: Budget) -> Sequence[Hop]:
        """The next hosts with all their addresses; empty once none is left. TroubleError if there never was one."""
        if self._ready:
            hops = [hop for hop in self._ready.pop() if hop[1].startswith("/") or self._can_reach(hop[1])]
            if not hops:
                raise TroubleError(Trouble(Kind.NO_FAMILY))
            self._found = True
            return hops
        while self._levels:
            try:
                async with asyncio.timeout(budget.seconds(math.inf)):
                    hops = await self._resolved(self._levels.pop(0))
            except TimeoutError:
                raise TroubleError(Trouble(Kind.DNS)) from None
            if hops:
                self._found = True
                return hops
        if not self._found:
            raise TroubleError(Trouble(self._reason))
        return ()

    async def _resolved(self, names: list[str]) -> list[Hop]:
        """All addresses of hosts of one preference; if one of them is ourselves, this level and all worse are gone."""
        random.shuffle(names)
        found = (
            [await self._addresses(names[0])]
            if len(names) == 1
            else await asyncio.gather(*(self._addresses(name) for name in names))
        )
        if self._by_mx and await self._are_ours(names, found):
            self._levels.clear()
            if self._reason is Kind.NO_HOST:
                self._reason = Kind.LOOP
            return []
        hops = [(name, address) for name, addresses in zip(names, found, strict=True) for address in addresses]
        usable = [hop for hop in hops if self._can_reach(hop[1])]
        if hops and not usable and self._reason is not Kind.DNS:
            self._reason = Kind.NO_FAMILY
        return usable

    async def _addresses(self, name: str) -> Sequence[str]:
        if name == "localhost":
            return ("127.0.0.1", "::1")  # RFC 6761 §6.3
        try:
            return await self._resolver.addresses(name)
        except DnsError:
            self._reason = Kind.DNS
            return ()

    async def _are_ours(self, names: list[str], found: Sequence[Sequence[str]]) -> bool:
        own = {self._hostname.lower().rstrip(".")}
        if self._source is not None:
            own.add(self._source.ehlo.lower().rstrip("."))
        if not own.isdisjoint(names):
            return True
        ours: set[str] = set()
        if self._source is not None:
            ours.add(self._source.address)
        with contextlib.suppress(DnsError):
            for name in own:
                ours.update(await self._resolver.addresses(name))
        theirs = {address for addresses in found for address in addresses}
        return any(not ipaddress.ip_address(address).is_loopback for address in ours & theirs)

    def _can_reach(self, address: str) -> bool:
        is_ipv6 = ":" in address
        if self._source is not None:
            return is_ipv6 == (":" in self._source.address)
        return self._ipv6 or not is_ipv6


def _levels(records: Sequence[tuple[int, str]]) -> list[list[str]]:
    """Host names by preference, best first. TroubleError for a null MX (RFC 7505)."""
    hosts = sorted({(preference, name.lower().rstrip(".")) for preference, name in records})
    if all(not name for _, name in hosts):
        raise TroubleError(Trouble(Kind.NULL_MX))
    return [[name for _, name in level if name] for _, level in groupby(hosts, key=lambda host: host[0])]


@lru_cache(maxsize=1024)
def literal(text: str) -> str | None:
    """The IP address that ``1.2.3.4``, ``[1.2.3.4]`` or ``[IPv6:…]`` is (RFC 5321 §4.1.3), or None."""
    inner = text[1:-1] if text.startswith("[") else text
    if inner[:5].lower() == "ipv6:":
        inner = inner[5:]
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(inner))
    return None
