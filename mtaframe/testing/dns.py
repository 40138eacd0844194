"""A name server that says what a test tells it to (RFC 1035): UDP, and TCP for what is too long."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from mtaframe.lifecycle import Clock
from mtaframe.resolver import DnsResolver
from mtaframe.settings import DnsSettings
from mtaframe.testing.clock import VirtualClock

FAILURES = frozenset({"SERVFAIL", "REFUSED", "FORMERR", "TIMEOUT", "MALFORMED"})

Records = Mapping[str, Any]
"""By type, a list: ``{"MX": [(10, "mx.example.com.")], "A": ["127.0.0.1"], "TXT": ["v=spf1 -all"], "TTL": 60}``."""

_LONGEST_CHAIN = 20


class ScriptedDns:
    """``async with ScriptedDns({"example.com": {"MX": [(10, "mx.example.com.")]}}) as dns:`` then ask ``dns.server``.

    A name that the zone lacks is NXDOMAIN; one that it has, or that other names stand under, has "no answer" for
    the types it lacks. Records of one type come in any order, as from real servers. "TTL" is in seconds (``ttl``
    where it is not given); "CNAME" is one name or a list.
    """

    def __init__(
        self,
        zone: Mapping[str, Records] | None = None,
        *,
        ttl: int = 60,
        negative_ttl: int = 30,
        host: str = "127.0.0.1",
    ) -> None:
        self.host, self.port = host, 0
        self.ttl, self.negative_ttl = ttl, negative_ttl
        self.delay = 0.0
        """Seconds before each answer."""
        self.questions: list[tuple[str, str]] = []
        """What was asked: (name in lower case without its final dot, type)."""
        self.tcp_questions: list[tuple[str, str]] = []
        """Those among them that came by TCP."""
        self._zone: dict[dns.name.Name, Records] = {}
        self._failures: dict[tuple[dns.name.Name, str | None], str] = {}
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._connections: set[asyncio.Transport] = set()
        self._resolvers: list[DnsResolver] = []
        for name, records in (zone or {}).items():
            self.set(name, records)

    @property
    def server(self) -> str:
        """``address:port``, as ``DnsSettings.servers`` wants it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def set(self, name: str, records: Records | None) -> None:
        """Change a name; None takes it away."""
        if records is None:
            self._zone.pop(_name(name), None)
        else:
            self._zone[_name(name)] = records

    def fail(self, name: str, failure: str, *, only: str | None = None) -> None:
        """Answer questions for a name, or ``only`` those of one type, with a failure.

        SERVFAIL, REFUSED, FORMERR; TIMEOUT (not at all) or MALFORMED (octets that are no answer).
        """
        if failure not in FAILURES:
            raise ValueError(f"no such failure: {failure}; there are {', '.join(sorted(FAILURES))}")
        self._failures[(_name(name), only)] = failure

    def heal(self) -> None:
        """No more failures."""
        self._failures.clear()

    def resolver(self, clock: Clock | None = None, *, timeout: float = 2.0) -> DnsResolver:
        """mtaframe's own resolver, asking this server alone; closed with it."""
        settings = DnsSettings(servers=(self.server,)).model_copy(update={"timeout": timeout})
        self._resolvers.append(DnsResolver(settings, clock or VirtualClock()))
        return self._resolvers[-1]

    async def __aenter__(self) -> "ScriptedDns":
        loop = asyncio.get_running_loop()
        for last_try in (False, False, False, True):
            self._tcp = await loop.create_server(lambda: _Stream(self), self.host, self.port)
            port = self._tcp.sockets[0].getsockname()[1]
            try:
                self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), (self.host, port))
            except OSError:
                # Somebody else has that port of UDP.
                self._tcp.close()
                await self._tcp.wait_closed()
                if last_try:
                    raise
            else:
                self.port = port
                break
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop answering; further questions are lost."""
        if self._udp is None or self._tcp is None:
            return
        for resolver in self._resolvers:
            await resolver.close()
        self._udp.close()
        self._tcp.close()
        for connection in list(self._connections):
            connection.abort()
        await self._tcp.wait_closed()
        await asyncio.sleep(0)
        self._udp = self._tcp = None

    def answer(self, octets: bytes, *, tcp: bool) -> bytes | None:
        """The answer to one question, or None for silence."""
        query = dns.message.from_wire(octets)
        name, kind = query.question[0].name, query.question[0].rdtype
        asked = (name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(kind))
        self.questions.append(asked)
        if tcp:
            self.tcp_questions.append(asked)
        failure = self._failures.get((name, asked[1])) or self._failures.get((name, None))
        if failure == "TIMEOUT":
            return None
        if failure == "MALFORMED":
            return octets[:2] + b"\x80\x00\xff\xff\xff\xff"
        response = dns.message.make_response(query, recursion_available=True)
        if failure is not None:
            response.set_rcode(dns.rcode.from_text(failure))
        else:
            self._fill(response, name, kind)
        return _wire(response, 65535 if tcp else max(512, query.payload))

    def _fill(self, response: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> None:
        """Follow CNAMEs inside the zone, as a resolver does; a loop is answered as far as it was followed."""
        for _ in range(_LONGEST_CHAIN):
            records = self._zone.get(name, {})
            alias = _rrset(name, "CNAME", records, self.ttl)
            found = _rrset(name, dns.rdatatype.to_text(kind), records, self.ttl)
            if found is not None:
                response.answer.append(found)
                return
            if alias is None:
                break
            if alias not in response.answer:
                response.answer.append(alias)
            name = alias[0].target
        if name not in self._zone and not any(known.is_subdomain(name) for known in self._zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        soa = f"ns.test. admin.test. 1 3600 600 86400 {self.negative_ttl}"
        response.authority.append(dns.rrset.from_text(dns.name.root, self.negative_ttl, "IN", "SOA", soa))

    def connected(self, connection: asyncio.Transport) -> None:
        self._connections.add(connection)

    def disconnected(self, connection: asyncio.Transport) -> None:
        self._connections.discard(connection)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: ScriptedDns) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.DatagramTransport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        answer = self._server.answer(data, tcp=False)
        if answer is not None:
            asyncio.get_running_loop().call_later(self._server.delay, self._send, answer, addr)

    def _send(self, answer: bytes, addr: Any) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(answer, addr)


class _Stream(asyncio.Protocol):
    def __init__(self, server: ScriptedDns) -> None:
        self._server = server
        self._buffer = bytearray()

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport
        self._server.connected(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.disconnected(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 2 and len(self._buffer) >= 2 + (size := int.from_bytes(self._buffer[:2], "big")):
            query = bytes(self._buffer[2 : 2 + size])
            del self._buffer[: 2 + size]
            answer = self._server.answer(query, tcp=True)
            if answer is not None:
                framed = len(answer).to_bytes(2, "big") + answer
                asyncio.get_running_loop().call_later(self._server.delay, self._send, framed)

    def _send(self, framed: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(framed)


def _name(text: str) -> dns.name.Name:
    return dns.name.from_text(text)


def _wire(response: dns.message.Message, limit: int) -> bytes:
    try:
        return response.to_wire(max_size=limit)
    except dns.exception.TooBig:
        response.answer.clear()
        response.authority.clear()
        response.flags |= dns.flags.TC
        return response.to_wire(max_size=limit)


def _rrset(name: dns.name.Name, kind: str, records: Records, ttl: int) -> dns.rrset.RRset | None:
    given = records.get(kind)
    if given is None:
        return None
    texts = [_presented(kind, one) for one in ([given] if isinstance(given, (str, tuple)) else given)]
    return dns.rrset.from_text_list(name, int(records.get("TTL", ttl)), "IN", kind, texts) if texts else None


def _presented(kind: str, record: str | bytes | Iterable[Any]) -> str:
    """One record as a zone file has it (RFC 1035 §5.1); text for TXT is cut into strings of 255 octets."""
    if kind == "TXT" and isinstance(record, (str, bytes)):
        octets = record.encode() if isinstance(record, str) else record
        parts = [octets[start : start + 255] for start in range(0, len(octets), 255)] or [b""]
        return " ".join(f'"{_escaped(part)}"' for part in parts)
    if isinstance(record, str):
        return record
    return " ".join(str(part) for part in record)


def _escaped(octets: bytes) -> str:
    return "".join(chr(o) if 32 <= o < 127 and o not in b'"\\' else f"\\{o:03d}" for o in octets)
