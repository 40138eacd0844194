"""smart_host: sends mail to a host of choice instead of the recipient's MX. See docs/plugins/smart_host.md."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from mtaframe import (
    Credentials,
    Delivery,
    Domains,
    FilePath,
    Model,
    Mta,
    Plugin,
    Route,
    Secret,
    Tls,
    dns_name,
    hookimpl,
)


def _without_star(value: object) -> object:
    return value[1:] if isinstance(value, str) and value.startswith("*.") else value


class HostSettings(Model):
    """One smart host, and which mail it gets."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", description="Its name in faults.")
    next_hop: str = Field(min_length=1, description="Host, IP address or Unix socket.")
    port: int = Field(default=25, ge=1, le=65535, description="Its port; 465 is TLS from the first octet.")
    transport: Literal["smtp", "lmtp"] = Field(default="smtp", description="smtp or lmtp.")
    tls: Tls = Field(default=Tls.OPPORTUNISTIC, description="off, opportunistic, required or verified.")
    ca_file: FilePath | None = Field(
        default=None, description="PEM file of authorities to trust instead of the system's."
    )
    user: str | None = Field(default=None, description="The name for AUTH, if it asks for one.")
    password: Secret | None = Field(default=None, description='In clear, { file = "…" } or { env = "…" }.')
    connections: int | None = Field(default=None, ge=1, description="Connections at once. Default: as [delivery] says.")
    recipients: int | None = Field(
        default=None, ge=1, description="Recipients per transaction. Default: as [delivery] says."
    )
    domains: tuple[Annotated[Domains, BeforeValidator(_without_star)], ...] = Field(
        default=(), description='Recipient domains: "example.com", or ".example.com" for all below it. Empty: all.'
    )
    accounts: tuple[str, ...] = Field(default=(), description="Accounts whose mail it gets. Empty: all.")
    streams: tuple[str, ...] = Field(default=(), description="Streams whose mail it gets. Empty: all.")

    @property
    def is_default(self) -> bool:
        return not (self.domains or self.accounts or self.streams)

    @model_validator(mode="after")
    def _consistent(self) -> "HostSettings":
        if (self.user is None) != (self.password is None):
            raise ValueError('"user" and "password" go together')
        return self

    def takes(self, delivery: Delivery) -> bool:
        """Whether this copy is for it: every condition that is written must hold."""
        envelope = delivery.envelope
        return (
            (not self.domains or _is_among(delivery.recipient.address.domain, self.domains))
            and (not self.accounts or envelope.account in self.accounts)
            and (not self.streams or envelope.stream in self.streams)
        )


class SmartHostSettings(Model):
    """The keys of ``conf/smart_host.toml``."""

    host: tuple[HostSettings, ...] = Field(default=(), description="Smart hosts; the first that fits gets the mail.")

    @model_validator(mode="after")
    def _all_can_be_reached(self) -> "SmartHostSettings":
        names = [host.name for host in self.host]
        for number, host in enumerate(self.host):
            if host.name in names[:number]:
                raise ValueError(f'two hosts are named "{host.name}"')
            if host.is_default and number < len(self.host) - 1:
                raise ValueError(f'no mail gets past "{host.name}", which has no conditions: write it last')
        return self


class SmartHost(Plugin):
    """Chooses the next hop by recipient domain, account and stream."""

    Config: ClassVar[type[SmartHostSettings]] = SmartHostSettings

    def __init__(self, config: SmartHostSettings, mta: Mta) -> None:
        super().__init__(config, mta)
        self._ways = tuple((host, _changes(host)) for host in config.host)
        self._made: dict[str, tuple[Route, Route]] = {}
        """By host what was made of a route the last time: nearly always it is the default one."""

    async def start(self) -> None:
        for host in self.config.host:
            for name in host.accounts:
                if name not in self.mta.accounts:
                    raise ValueError(f'conf/smart_host.toml: host "{host.name}": there is no account "{name}"')

    @hookimpl
    def route(self, delivery: Delivery, route: Route) -> Route | None:
        """The way to the first host that takes this copy; None, no opinion, if none does."""
        for host, changes in self._ways:
            if host.takes(delivery):
                before, made = self._made.get(host.name, (None, route))
                if before is not route:
                    made = replace(route, **changes, limits=_limits(host, route))
                    self._made[host.name] = (route, made)
                return made
        return None


def _changes(host: HostSettings) -> Mapping[str, Any]:
    credentials = None
    if host.user is not None and host.password is not None:
        credentials = Credentials(host.user, host.password.get_secret_value())
    return {
        "next_hop": host.next_hop,
        "port": host.port,
        "transport": host.transport,
        "tls": host.tls,
        "ca_file": host.ca_file,
        "credentials": credentials,
    }


def _limits(host: HostSettings, route: Route) -> Any:
    if host.connections is None and host.recipients is None:
        return route.limits
    return replace(
        route.limits,
        connections=host.connections or route.limits.connections,
        recipients=host.recipients or route.limits.recipients,
    )


def _is_among(domain: str, patterns: tuple[str, ...]) -> bool:
    try:
        domain = dns_name(domain)
    except UnicodeError:
        return False
    return any(domain.endswith(pattern) if pattern.startswith(".") else domain == pattern for pattern in patterns)
