"""How the configuration writes names, networks, domains, addresses to listen on, and files; and what a table is."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo, WithJsonSchema

NAME = r"^[a-z0-9][a-z0-9_.-]{0,99}$"
"""Names of listeners, accounts and streams: they stand in logs, events and keys as they are. A counter takes them."""

_DOMAIN = re.compile(r"(?:[\w](?:[\w-]*[\w])?\.)*[\w](?:[\w-]*[\w])?", re.ASCII)
_ENDPOINT = re.compile(r"(?:[0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


def _network(value: object) -> object:
    try:
        whole = ipaddress.ip_network(str(value), strict=False)
    except ValueError:
        raise ValueError('a network is written as "10.0.0.0/8", "::1" or "2001:db8::/32"') from None
    if ipaddress.ip_address(str(value).partition("/")[0]) != whole.network_address:
        raise ValueError(f'the address is not the first of its network: write "{whole}"')
    return whole


Network = Annotated[
    ipaddress.IPv4Network | ipaddress.IPv6Network,
    BeforeValidator(_network),
    WithJsonSchema({"type": "string", "examples": ["127.0.0.0/8", "::1"]}),
]


def _domain(text: str) -> str:
    if not _DOMAIN.fullmatch(text.rstrip(".")):
        raise ValueError('a domain is written as "example.com" (the xn-- form of others than ASCII)')
    return text.rstrip(".").lower()


def _domain_or_subdomains(text: str) -> str:
    return f".{_domain(text[1:])}" if text.startswith(".") else _domain(text)


Domain = Annotated[str, AfterValidator(_domain)]
"""In lower case, without a final dot."""

Domains = Annotated[str, AfterValidator(_domain_or_subdomains)]
"""A domain, or ``.example.com`` for all that end so."""


def _from_folder(text: str, info: ValidationInfo) -> str:
    folder = (info.context or {}).get("folder")
    return str(Path(folder, text)) if folder else text


FilePath = Annotated[str, AfterValidator(_from_folder)]
"""A file. A relative path starts at the folder of the configuration, wherever the process was started."""


class Model(BaseModel):
    """No unknown keys, nothing changes afterwards, and faults never quote what was written."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Endpoint(str):
    """Where a listener listens: ``127.0.0.1:2525``, ``[::1]:2525`` or the path of a Unix socket."""

    @property
    def path(self) -> str | None:
        return str(self) if self.startswith("/") else None

    @property
    def host(self) -> str:
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.rpartition(":")[2])

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.path is not None or ipaddress.ip_address(self.host).is_loopback


def endpoint(text: str) -> Endpoint:
    found = Endpoint(text)
    if found.path is None:
        try:
            if not _ENDPOINT.fullmatch(text) or found.port > 65535:
                raise ValueError
            ipaddress.ip_address(found.host)
        except ValueError:
            raise ValueError('write "127.0.0.1:2525", "[::1]:2525" or "/run/mtaframe/lmtp.sock"') from None
    return found


def server(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if not _ENDPOINT.fullmatch(text):
            raise ValueError('a name server is written as "127.0.0.1", "127.0.0.1:5353" or "[::1]:5353"') from None
    return text


def own_name(text: str) -> str:
    return text if text == "auto" else _domain(text)
