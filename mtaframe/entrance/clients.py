"""Who a client is: its IP address, and whether that is in a list of networks."""

import asyncio
import ipaddress
from collections.abc import Sequence

from mtaframe.notation import Network


def client_of(transport: asyncio.BaseTransport) -> str:
    """The client's IP address; empty on a Unix socket, and for one that was reset before it was taken in."""
    name = transport.get_extra_info("peername")
    return plain(name[0]) if isinstance(name, tuple) else ""


def plain(text: str) -> str:
    """An address without its zone; an IPv4 one in IPv6 clothes is shown as what it is."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


def is_in(client: str, networks: Sequence[Network]) -> bool:
    if not client:
        return False
    address = ipaddress.ip_address(client)
    return any(address in network for network in networks)
