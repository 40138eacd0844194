"""The one HTTP client of the house: for rspamd, webhooks and whatever else plugins call.

The law: a URL that somebody else chose never reaches this machine or its network. The address is checked when
it is connected to, whatever the name said before; redirects are not followed; answers are bounded; an error
never tells the URL.
"""

import asyncio
import ipaddress
import re
import ssl
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit

from mtaframe.address import dns_name
from mtaframe.alarms import Alarms
from mtaframe.clock import SystemClock
from mtaframe.http_answer import Answer, BadAnswerError, TooLongError
from mtaframe.http_site import Site
from mtaframe.lifecycle import DnsError, HttpError, HttpResponse, Resolver
from mtaframe.redaction import Private

LIMIT = 1_000_000
"""Octets of an answer that are read; more is an error."""
MOST = 1000
"""URLs, and servers without a connection, that are remembered."""

_NOT_PUBLIC = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "fec0::/10")))
"""IPv6 of old, and what a network translates to IPv4 of its own (RFC 4291 §2.5, RFC 7915, RFC 8215)."""
_NAME = re.compile(r"[0-9._-]*[A-Za-z][A-Za-z0-9._-]*")
_PATH = "/%:@!$&'()*+,;=~"


@dataclass(frozen=True, slots=True, repr=False)
class _Target:
    """A URL taken apart: whom to ask, and how the header section of a request begins, behind the method."""

    site: Site
    head: str


class HttpClient:
    """Two sets of connections: for URLs of the operator's own, and for those of others."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._targets: dict[tuple[str, bool], _Target] = {}
        self._sites: dict[tuple[str, str, int, bool], Site] = {}
        self._tls: ssl.SSLContext | None = None
        self._alarms = Alarms(SystemClock())

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
        target = self._targets.get((url, trusted)) or self._target(url, trusted)
        head = _head(method, target.head, headers or {}, len(content))
        answer, site = Answer(method, LIMIT), target.site
        deadline = asyncio.get_running_loop().time() + timeout
        try:
            if (connection := site.idle()) is None:
                async with asyncio.timeout_at(deadline):
                    connection = await site.connected()
            try:
                await connection.exchange([head, content] if content else [head], answer, deadline)
            finally:
                site.leave(connection)
        except TimeoutError:
            raise HttpError("no answer in time") from None
        except TooLongError:
            raise HttpError("the answer is too long") from None
        except (BadAnswerError, DnsError, OSError, ValueError) as error:
            raise HttpError(f"no answer ({type(error).__name__})") from None
        return HttpResponse(answer.status, Private(answer.headers), answer.body)

    async def close(self) -> None:
        """Close every connection that is kept."""
        for site in self._sites.values():
            site.close()
        self._targets.clear()
        self._sites.clear()
        await asyncio.sleep(0)

    def _target(self, url: str, trusted: bool) -> _Target:
        """The URL taken apart, and remembered. HttpError if it may not be asked."""
        parsed, host, port = _parsed(url)
        if not trusted:
            _check(host)
        if not host.isascii():
            host = _a_labels(host)
        if len(self._targets) >= MOST:
            self._targets.clear()
            self._sites = {key: site for key, site in self._sites.items() if site.is_in_use}
        key = (parsed.scheme, host, port, trusted)
        site = self._sites.get(key)
        if site is None:
            addresses = partial(self._addresses, host, trusted)
            tls = self._context() if parsed.scheme == "https" else None
            site = self._sites[key] = Site(addresses, host, port, tls, self._alarms)
        made = self._targets[url, trusted] = _Target(site, _beginning(parsed, host, port))
        return made

    def _context(self) -> ssl.SSLContext:
        """Made once, when it is first needed: reading the authorities takes some 20 ms."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    async def _addresses(self, host: str, trusted: bool) -> Sequence[str]:
        found = [host] if _is_address(host) else await self._resolver.addresses(host)
        allowed = [address for address in found if trusted or is_public(address)]
        if not allowed:
            raise OSError("no address that may be connected to" if found else "no such host")
        return allowed


def _a_labels(host: str) -> str:
    try:
        return dns_name(host)
    except UnicodeError:
        raise HttpError("not a URL") from None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _parsed(url: str) -> tuple[SplitResult, str, int]:
    """The parts of a URL, its host as DNS knows it, its port. HttpError if it is none for HTTP."""
    try:
        parsed = urlsplit(url)
        host = parsed.hostname or ""
        port = (443 if parsed.scheme == "https" else 80) if parsed.port is None else parsed.port
    except ValueError:
        raise HttpError("not a URL") from None
    if parsed.scheme not in ("http", "https") or not host:
        raise HttpError("only http and https URLs are asked")
    return parsed, host, port


def _beginning(parsed: SplitResult, host: str, port: int) -> str:
    """What all requests for a URL have in common, from behind the method on (RFC 9112 §3)."""
    path = quote(parsed.path, safe=_PATH) or "/"
    if parsed.query:
        path += "?" + quote(parsed.query, safe=_PATH + "?")
    named = f"[{host}]" if ":" in host else host
    named += f":{port}" if parsed.port is not None else ""
    head = f" {path} HTTP/1.1\r\nHost: {named}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
    if parsed.username is not None:
        user, password = (unquote_to_bytes(text or "") for text in (parsed.username, parsed.password))
        head += f"Authorization: Basic {b64encode(user + b':' + password).decode('ascii')}\r\n"
    return head


def _head(method: str, beginning: str, headers: Mapping[str, str], length: int) -> bytes:
    """The header section of a request. HttpError for a header field that would be more than one."""
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    if length:
        lines.append(f"Content-Length: {length}\r\n")
    fields = "".join(lines)
    if fields.count("\n") != len(lines) or fields.count("\r") != len(lines) or "\0" in fields:
        raise HttpError("a header field with a line end")
    return f"{method}{beginning}{fields}\r\n".encode("utf-8", "replace")


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public Internet, also when it hides in an IPv6 one."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return is_public(str(inner))
        if any(ip in network for network in _NOT_PUBLIC):
            return False
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip.is_global and not ip.is_multicast


def _check(host: str) -> None:
    """A literal address in a URL never meets the resolver: it is looked at here.

    What is neither an address nor a name in ASCII is refused: full-width digits or "127.1" become an address later.
    """
    try:
        is_allowed = is_public(host)
    except ValueError:
        is_allowed = _NAME.fullmatch(host) is not None
    if not is_allowed:
        raise HttpError("the address may not be connected to")
