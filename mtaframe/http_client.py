"""The one HTTP client of the house: for rspamd, webhooks and whatever else plugins call.

The law: a URL that somebody else chose never reaches this machine or its network. The address is checked when
it is connected to, whatever the name said before; redirects are not followed; answers are bounded; an error
never tells the URL.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from mtaframe.lifecycle import DnsError, HttpError, HttpResponse, Resolver
from mtaframe.redaction import Private

LIMIT = 1_000_000
"""Octets of an answer that are read; more is an error."""
CONNECTIONS_PER_HOST = 20

_NAME = re.compile(r"[0-9._-]*[A-Za-z][A-Za-z0-9._-]*")


class _Names(AbstractResolver):
    """Our own resolver for aiohttp; ``guarded`` leaves out every address that is not public."""

    def __init__(self, resolver: Resolver, guarded: bool) -> None:
        self._resolver = resolver
        self._guarded = guarded

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            found = await self._resolver.addresses(host)
        except DnsError as error:
            raise OSError("no answer from DNS") from error
        results: list[ResolveResult] = []
        for address in found:
            if self._guarded and not is_public(address):
                continue
            version = socket.AF_INET6 if ":" in address else socket.AF_INET
            results.append({"hostname": host, "host": address, "port": port, "family": version, "proto": 0, "flags": 0})
        if not results:
            raise OSError("no address that may be connected to" if found else "no such host")
        return results

    async def close(self) -> None:
        """The resolver is not ours to close."""


class HttpClient:
    """Two sets of connections: for URLs of the operator's own, and for those of others."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        timeout: float = 10.0,
        trusted: bool = False,
    ) -> HttpResponse:
        """One request and its whole answer. HttpError if there is none, or if the URL may not be asked.

        ``trusted``: the operator chose the URL, so this machine and its network may be reached.
        """
        if not trusted:
            _check(url)
        try:
            async with self._session(trusted).request(
                method,
                url,
                headers=headers,
                data=content or None,
                timeout=aiohttp.ClientTimeout(total=timeout),
                allow_redirects=False,
            ) as response:
                body = await response.content.read(LIMIT + 1)
                while body and len(body) <= LIMIT and (more := await response.content.read(LIMIT)):
                    body += more
                if len(body) > LIMIT:
                    response.close()
                    raise HttpError("the answer is too long")
                kept: dict[str, str] = {name.lower(): value for name, value in response.headers.items()}
                return HttpResponse(response.status, Private(kept), body)
        except TimeoutError:
            raise HttpError("no answer in time") from None
        except aiohttp.InvalidURL:
            raise HttpError("not a URL") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise HttpError(f"no answer ({type(error).__name__})") from None

    async def close(self) -> None:
        """Close every connection."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()
        await asyncio.sleep(0)

    def _session(self, trusted: bool) -> aiohttp.ClientSession:
        session = self._sessions.get(trusted)
        if session is None:
            connector = aiohttp.TCPConnector(
                resolver=_Names(self._resolver, guarded=not trusted),
                use_dns_cache=False,
                limit=0,  # many slow hosts must not keep others waiting; each host has its own bound
                limit_per_host=CONNECTIONS_PER_HOST,
            )
            options: dict[str, Any] = {"cookie_jar": aiohttp.DummyCookieJar(), "trust_env": False}
            session = self._sessions[trusted] = aiohttp.ClientSession(connector=connector, **options)
        return session


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public Internet, also when it hides in an IPv6 one."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return is_public(str(inner))
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip.is_global and not ip.is_multicast


def _check(url: str) -> None:
    """A literal address in a URL never meets the resolver: it is looked at here.

    What is neither an address nor a name in ASCII is refused: full-width digits or "127.1" become an address later.
    """
    try:
        parsed = urlsplit(url)
        host = parsed.hostname or ""
    except ValueError:
        raise HttpError("not a URL") from None
    if parsed.scheme not in ("http", "https") or not host:
        raise HttpError("only http and https URLs are asked")
    try:
        is_allowed = is_public(host)
    except ValueError:
        is_allowed = _NAME.fullmatch(host) is not None
    if not is_allowed:
        raise HttpError("the address may not be connected to")
