"""DNS: the only door to dnspython, behind one cache in which equal questions share one flight.

The rule: empty means that the DNS said "there is none" (NXDOMAIN, or no record of that type); whatever else
keeps an answer from us is DnsError, "try again", and its text names no domain.
"""

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from mtaframe.lifecycle import Clock, DnsError
from mtaframe.settings import DnsSettings

CACHE_SIZE = 20_000
"""Answers kept; the one that was not used for the longest time goes first."""
LONGEST = 86_400.0
LONGEST_NEGATIVE = 300.0
"""Seconds. "There is none" makes mail fail for good, so it is asked again soon."""
SHORTEST = 1.0

PAYLOAD = 1232
"""Octets of an answer by UDP that no path fragments (DNS flag day 2020); longer ones come by TCP."""

_Question = tuple[dns.name.Name, dns.rdatatype.RdataType]
_Records = tuple[Any, ...]


@dataclass(slots=True)
class _Answer:
    records: _Records
    ttl: float


class DnsResolver:
    """Implements ``mtaframe.Resolver``. ``hosts_file`` is asked for names without a dot, such as "localhost".

    ValueError if the settings name a server that is no IP address.
    """

    def __init__(self, settings: DnsSettings, clock: Clock, *, hosts_file: Path = Path("/etc/hosts")) -> None:
        self._clock = clock
        self._timeout = settings.timeout
        self._hosts_file = hosts_file
        self._dns = _configured(settings)
        self._cache: OrderedDict[_Question, tuple[float, _Records]] = OrderedDict()
        self._flights: dict[_Question, asyncio.Task[_Answer | DnsError]] = {}
        self._closed = False

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        """(preference, host) pairs, best first (RFC 5321 §5.1); ``(0, "")`` is a null MX (RFC 7505)."""
        if literal(domain) is not None:
            return ()
        records = await self._ask(domain, dns.rdatatype.MX)
        return sorted((record.preference, _text(record.exchange)) for record in records)

    def known_mx(self, domain: str) -> Sequence[tuple[int, str]] | None:
        """As ``mx`` says it, without a question; None if the answer is not in the cache."""
        absolute = _absolute(domain)
        records = self._remembered((absolute, dns.rdatatype.MX)) if absolute is not None else None
        return None if records is None else [(record.preference, _text(record.exchange)) for record in records]

    async def addresses(self, host: str) -> Sequence[str]:
        """IPv6 and then IPv4 addresses. A literal, ``[192.0.2.1]`` too, is its own answer."""
        if (address := literal(host)) is not None:
            return (address,)
        if "." not in host.rstrip(".") and (known := self._hosts(host.rstrip("."))):
            return known
        asked = (self._ask(host, dns.rdatatype.AAAA), self._ask(host, dns.rdatatype.A))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        found = [record.address for answer in answers if not isinstance(answer, BaseException) for record in answer]
        # Nothing found while one of the two failed is not "there is none".
        failed = next((answer for answer in answers if isinstance(answer, BaseException)), None)
        if failed is not None and (not found or not isinstance(failed, DnsError)):
            raise failed
        return found

    async def txt(self, name: str) -> Sequence[str]:
        """TXT records, the strings of each joined (RFC 7208 §3.3)."""
        records = await self._ask(name, dns.rdatatype.TXT)
        return [b"".join(record.strings).decode("utf-8", "replace") for record in records]

    async def close(self) -> None:
        """Call off what is under way: whoever waits for it gets DnsError, and so does who asks later."""
        self._closed = True
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        self._cache.clear()

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> _Records:
        absolute = _absolute(name)
        if absolute is None or absolute == dns.name.root:
            return ()
        question = (absolute, kind)
        if (cached := self._remembered(question)) is not None:
            return cached
        if self._closed:
            raise DnsError("the resolver is closed")
        flight = self._flights.get(question)
        if flight is None:
            flight = asyncio.create_task(self._fly(question))
            self._flights[question] = flight
            flight.add_done_callback(lambda _: self._flights.pop(question, None))
        # Waited for, not awaited: who is cancelled here leaves the flight to the others.
        await asyncio.wait((flight,))
        if flight.cancelled():
            raise DnsError("the resolver was closed")
        answer = flight.result()
        if isinstance(answer, DnsError):
            raise DnsError(*answer.args)
        return answer.records

    async def _fly(self, question: _Question) -> _Answer | DnsError:
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._query(question)
        except Exception as error:
            # All that dnspython raises dies here. Its texts name the domain; the name of its class does not.
            return DnsError(f"the DNS gave no answer ({type(error).__name__})")
        self._remember(question, answer)
        return answer

    async def _query(self, question: _Question) -> _Answer:
        name, kind = question
        try:
            found = await self._dns.resolve(
                name, kind, raise_on_no_answer=False, search=False, backend=dns.asyncbackend.get_backend("asyncio")
            )
        except dns.resolver.NXDOMAIN as error:
            response = error.response(name)  # type: ignore[no-untyped-call]
            return _Answer((), _bounded(response.resolve_chaining().minimum_ttl, LONGEST_NEGATIVE))
        ttl = found.chaining_result.minimum_ttl
        if found.rrset is None:
            return _Answer((), _bounded(ttl, LONGEST_NEGATIVE))
        return _Answer(tuple(found.rrset), _bounded(ttl, LONGEST))

    def _remembered(self, question: _Question) -> _Records | None:
        entry = self._cache.get(question)
        if entry is None:
            return None
        until, records = entry
        if until <= self._clock.monotonic():
            del self._cache[question]
            return None
        self._cache.move_to_end(question)
        return records

    def _remember(self, question: _Question, answer: _Answer) -> None:
        self._cache[question] = (self._clock.monotonic() + answer.ttl, answer.records)
        self._cache.move_to_end(question)
        while len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)

    def _hosts(self, name: str) -> Sequence[str]:
        """What the hosts file says of a name; "localhost" is known even without it (RFC 6761 §6.3)."""
        try:
            lines = self._hosts_file.read_text("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        entries = [line.partition("#")[0].split() for line in lines]
        found = [entry[0] for entry in entries if name.lower() in (alias.lower() for alias in entry[1:])]
        addresses = dict.fromkeys(address for address in found if literal(address) is not None)
        if not addresses and name.lower() == "localhost":
            return ("::1", "127.0.0.1")
        return sorted(addresses, key=lambda address: ":" not in address)


def literal(host: str) -> str | None:
    """The IP address that ``host`` is, bare or as a domain literal (RFC 5321 §4.1.3); None if it is a name."""
    bare = host
    if host.startswith("[") and host.endswith("]"):
        bare = host[1:-1]
        bare = bare[5:] if bare[:5].lower() == "ipv6:" else bare
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return None
    return bare


def name_server(text: str) -> tuple[str, int]:
    """Address and port from ``127.0.0.1``, ``127.0.0.1:5353`` or ``[::1]:53``. ValueError says how to write it."""
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
    elif text.count(":") == 1:
        address, _, rest = text.partition(":")
        rest = f":{rest}"
    else:
        address, rest = text, ""
    port = rest[1:] if rest else "53"
    if literal(address) is None or (rest and not rest.startswith(":")) or not port.isdecimal() or int(port) > 65535:
        raise ValueError('a name server is written as "127.0.0.1", "127.0.0.1:5353" or "[::1]:53"')
    return address, int(port)


def _configured(settings: DnsSettings) -> dns.asyncresolver.Resolver:
    servers: list[str | dns.nameserver.Nameserver]
    servers = [dns.nameserver.Do53Nameserver(*name_server(text)) for text in settings.servers]
    resolver = dns.asyncresolver.Resolver(configure=False)
    if not servers:
        try:
            resolver.read_resolv_conf("/etc/resolv.conf")
        except dns.resolver.NoResolverConfiguration:
            servers = [dns.nameserver.Do53Nameserver("127.0.0.1")]
    if servers:
        resolver.nameservers = servers
    resolver.search = []
    resolver.cache = None
    resolver.lifetime = settings.timeout
    resolver.timeout = min(2.0, settings.timeout / 2)
    resolver.use_edns(0, 0, PAYLOAD)
    return resolver


def _absolute(name: str) -> dns.name.Name | None:
    """The name with A-labels (IDNA 2008, RFC 5891), from the root; None if no such name can exist."""
    try:
        return dns.name.from_text(name, dns.name.root, dns.name.IDNA_2008_Practical)
    except (dns.exception.DNSException, UnicodeError):
        return None


def _text(name: dns.name.Name) -> str:
    return "" if name == dns.name.root else name.to_text(omit_final_dot=True).lower()


def _bounded(ttl: float, longest: float) -> float:
    return max(SHORTEST, min(float(ttl), longest))
