"""The keys of ``conf/mtaframe.toml``; the shipped file, the schema and the docs show each.

A model holds what one table can know of itself; what needs two tables or two files is in ``consistency``.
"""

from contextlib import suppress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from mtaframe.address import dns_name
from mtaframe.delivery import Tls
from mtaframe.notation import NAME, Domain, Endpoint, FilePath, Model, Network, endpoint, own_name, server
from mtaframe.quantity import Duration, Size
from mtaframe.secret import Secret

HTTP_KEYS = frozenset(
    {
        "addresses",
        "certificate",
        "idle_timeout",
        "key",
        "kind",
        "max_connections",
        "max_size",
        "name",
        "patience",
        "proxy_from",
        "socket_mode",
        "tls",
    }
)
"""What a listener of the kind http may say."""

OnDefer = Literal["upstream", "handoff", "hold"]
"""Who keeps what could not be delivered now."""


class ListenerSettings(Model):
    """Where clients connect, and what holds for them."""

    name: str = Field(pattern=NAME, description="Its name in logs and errors.")
    kind: Literal["mta", "application", "lmtp", "http"] = Field(
        description="mta: an upstream with a queue, by SMTP. application: programs that submit, by SMTP. lmtp: an "
        "upstream with a queue, by LMTP (the best door for Postfix and Exim). http: what plugins serve, http_api above "
        "all."
    )
    addresses: tuple[Annotated[str, AfterValidator(endpoint)], ...] = Field(
        min_length=1, description='"127.0.0.1:2525", "[::1]:2525", or the path of a Unix socket.'
    )
    trusted: tuple[Network, ...] = Field(
        default=(),
        description="Networks whose clients may relay without AUTH. Unix sockets always are.",
    )
    account: str | None = Field(default=None, description="The account of trusted clients that no other rule names.")
    relay_domains: tuple[Domain, ...] = Field(
        default=(), description="Recipient domains that anybody may send to. All else from strangers is refused."
    )
    tls: Literal["off", "starttls", "implicit"] = Field(default="off", description="How TLS is offered.")
    certificate: FilePath | None = Field(
        default=None, description="PEM file with the certificate chain; a relative path starts at the folder."
    )
    key: FilePath | None = Field(default=None, description="PEM file with the private key.")
    auth: bool = Field(default=True, description="Offer AUTH PLAIN and LOGIN (over TLS only).")
    auth_without_tls: bool = Field(default=False, description="Offer AUTH in clear too: passwords can be read.")
    patience: Duration | None = Field(
        default=None,
        gt=0,
        description="How long a client waits for its answer. Default: 280s; 25s for application and http.",
    )
    max_size: Size = Field(default=25_000_000, gt=0, description="The largest message.")
    max_recipients: int = Field(default=1000, ge=1, description="Recipients per transaction.")
    long_lines: Literal["reencode", "reject"] = Field(
        default="reencode",
        description="What becomes of a message with a line above 998 octets. reencode: its parts are encoded anew, its "
        "fields folded, unless it is signed. reject: 554.",
    )
    bare_newline: Literal["reject", "normalize"] = Field(
        default="reject",
        description="What becomes of a message with a bare CR or LF. reject: 550. normalize: each becomes CR LF, for "
        "trusted and authenticated clients; not where relay_domains are.",
    )
    max_connections: int = Field(default=1000, ge=1, description="Connections at once; more get 421.")
    max_transactions: int = Field(
        default=1000,
        ge=4,
        description="Transactions at once; more get 4xx before their message is sent. One destination site may have a "
        "quarter of them.",
    )
    on_defer: OnDefer = Field(
        default="upstream",
        description="Who keeps what could not be delivered now. upstream: the client, which is told 4xx. handoff: the "
        "smart host of [handoff]. hold: this server, in RAM, by the rules of [hold].",
    )
    barrier: Duration | None = Field(
        default=None,
        ge=0,
        description="How long the first of several next hops waits for the others' answers to RCPT, so that nobody "
        "gets the message if one can't take it now. Default: 5s for application, 0s for the others.",
    )
    proxy_from: tuple[Network, ...] = Field(
        default=(), description="Proxies whose connections begin with a PROXY header (version 1 or 2), and must."
    )
    forward_from: tuple[Network, ...] = Field(
        default=(), description="Servers that may tell by XCLIENT or XFORWARD whom they speak for."
    )
    idle_timeout: Duration = Field(default=300.0, description="How long a client may be silent.")
    socket_mode: str = Field(default="0660", pattern=r"^0[0-7]{3}$", description="The mode of Unix sockets.")

    @property
    def seconds_of_patience(self) -> float:
        if self.patience is not None:
            return self.patience
        return 25.0 if self.kind in ("application", "http") else 280.0

    def relays(self, domain: str) -> bool:
        """Whether anybody may send to this recipient domain, however it is written."""
        with suppress(UnicodeError):  # no name at all
            domain = dns_name(domain)
        return domain in self.relay_domains

    @property
    def seconds_of_barrier(self) -> float:
        if self.barrier is not None:
            return self.barrier
        return 5.0 if self.kind == "application" else 0.0

    @property
    def must_log_in(self) -> bool:
        """Whether there is nothing for a stranger to do here but to log in."""
        return self.kind != "http" and self.auth and not self.relay_domains

    @model_validator(mode="after")
    def _complete(self) -> "ListenerSettings":
        if self.kind == "http" and (idle := sorted(self.model_fields_set - HTTP_KEYS)):
            raise ValueError(f'"{idle[0]}" means nothing to a listener of the kind http')
        if self.kind == "http" and self.tls == "starttls":
            raise ValueError('HTTP has no STARTTLS: tls is "off" or "implicit"')
        if self.tls != "off" and not (self.certificate and self.key):
            raise ValueError('tls needs "certificate" and "key"')
        if self.kind == "lmtp" and any(Endpoint(a).path is None and Endpoint(a).port == 25 for a in self.addresses):
            raise ValueError("LMTP must not listen on port 25 (RFC 2033 §5)")
        return self


class ClientSettings(Model):
    """What clients may take that are neither trusted nor in ``proxy_from`` or ``forward_from``, on all listeners."""

    max_per_address: int = Field(default=50, ge=1, description="Connections at once from one address; more get 421.")
    max_per_network: int = Field(default=200, ge=1, description="Connections at once from one network; more get 421.")
    ipv4_network: int = Field(default=24, ge=8, le=32, description="Leading bits that make an IPv4 network.")
    ipv6_network: int = Field(
        default=64,
        ge=16,
        le=128,
        description="Leading bits that make an IPv6 network; passwords are guessed by networks, too.",
    )
    max_empty: int = Field(
        default=60,
        ge=1,
        description="Connections a minute from one address that bring neither a login nor a message; more get 421.",
    )
    auth_failures: int = Field(
        default=10, ge=1, description="Failed logins from one address within the time of auth_ban, before it begins."
    )
    auth_ban: Duration = Field(
        default=900.0, gt=0, description="How long an address with too many failed logins may not log in."
    )


class RouteSettings(Model):
    """Where mail goes when no plugin says otherwise."""

    transport: str = Field(default="smtp", description='"smtp", "lmtp", or a plugin\'s ("sandbox").')
    next_hop: str | None = Field(
        default=None, description="Host, IP address or Unix socket. Without: the recipient's MX."
    )
    port: int = Field(default=25, ge=1, le=65535, description="The next hop's port.")
    tls: Tls = Field(default=Tls.OPPORTUNISTIC, description="off, opportunistic, required or verified.")
    ca_file: FilePath | None = Field(
        default=None, description="PEM file of authorities to trust instead of the system's."
    )


class DeliverySettings(Model):
    """How mail goes out by SMTP and LMTP."""

    connect_timeout: Duration = Field(default=10.0, gt=0, description="For one TCP connection.")
    command_timeout: Duration = Field(default=60.0, gt=0, description="For the answer to one command.")
    dot_timeout: Duration = Field(
        default=600.0,
        gt=0,
        description="For the answer to the final dot (RFC 5321 §4.5.3.2.6: ten minutes).",
    )
    idle_timeout: Duration = Field(default=15.0, description="How long an unused connection is kept.")
    max_uses: int = Field(default=200, ge=1, description="Transactions on one connection before it is closed.")
    connections: int = Field(default=20, ge=1, description="Connections per next hop and source.")
    recipients: int = Field(default=100, ge=1, description="Recipients per outgoing transaction.")
    ipv6: bool = Field(default=True, description="Whether IPv6 addresses are tried.")
    tls: dict[Domain, Tls] = Field(default={}, description="TLS by recipient domain, over what the route says.")

    def tls_for(self, domain: str, otherwise: Tls) -> Tls:
        """What holds for mail to the MX of a recipient domain, however that is written."""
        if not self.tls:
            return otherwise
        with suppress(UnicodeError):  # no name at all: then there is no way to it, either
            domain = dns_name(domain)
        return self.tls.get(domain, otherwise)


class DnsSettings(Model):
    """Which name servers are asked."""

    servers: tuple[Annotated[str, AfterValidator(server)], ...] = Field(
        default=(), description='"127.0.0.1" or "127.0.0.1:5353"; empty: the system\'s.'
    )
    timeout: Duration = Field(default=5.0, gt=0, description="For one question, all tries together.")


class LogSettings(Model):
    """What a log line shows. Addresses never stand there."""

    format: Literal["text", "json"] = Field(default="text", description="Lines for people or for machines.")
    recipient: Literal["none", "domain", "tag"] = Field(
        default="domain", description="none, the domain alone, or a tag whose key lives in RAM for a day."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="The least that is logged.")


class HandoffSettings(Model):
    """A smart host with a queue of its own, for what could not be delivered now: ``on_defer = "handoff"``."""

    next_hop: str = Field(min_length=1, description="Host, IP address or Unix socket.")
    port: int = Field(default=25, ge=1, le=65535, description="Its port.")
    transport: Literal["smtp", "lmtp"] = Field(default="smtp", description='"smtp" or "lmtp".')
    tls: Tls = Field(default=Tls.OPPORTUNISTIC, description="off, opportunistic, required or verified.")
    reserve: Duration = Field(
        default=15.0, gt=0, description="The part of a client's patience that is kept for handing its mail off."
    )


class HoldSettings(Model):
    """What ``on_defer = "hold"`` may keep in RAM, and when it is tried again. On SIGTERM it goes to ``[handoff]``."""

    max_age: Duration = Field(
        default=14400.0, gt=0, description="How long; then [handoff] takes it, or its sender gets a report."
    )
    max_count: int = Field(default=1000, ge=1, description="How many recipients; more are told 4xx.")
    max_size: Size = Field(default=100_000_000, gt=0, description="How much all messages may hold.")
    schedule: tuple[Duration, ...] = Field(
        default=(60.0, 300.0, 900.0, 1800.0), min_length=1, description="Pauses between tries; the last one repeats."
    )


class StateSettings(Model):
    """What outlives a message: numbers and keyed digests, and account holders' own documents. Never mail."""

    backend: Literal["sqlite", "memory"] = Field(
        default="sqlite", description='"sqlite": a file, survives a restart. "memory": gone with the process.'
    )
    folder: FilePath | None = Field(
        default=None,
        description="Where the file is. Default: systemd's StateDirectory, else the user's own folder for state.",
    )
    keys: Secret | None = Field(
        default=None,
        description="The keys of digests and documents. Default: systemd's credential mtaframe.keys, else the file "
        "mtaframe.keys in the folder, made at the first start.",
    )
    counters: Duration = Field(
        default=45 * 86400.0, ge=35 * 86400.0, description="How long it is remembered what was counted."
    )


class PluginSettings(Model):
    """What the operator grants one plugin: ``[plugin.NAME]``."""

    on_fault: Literal["defer", "skip"] = Field(
        default="defer",
        description="After an exception, a late or a wrong answer: defer the message, or go on without.",
    )
    budget: Duration = Field(default=10.0, gt=0, description="The longest that one hook call may take.")
    blocking: bool = Field(default=False, description="Run its hooks in threads, for they block.")
    allow_discard: bool = Field(default=False, description="Let it say 250 to mail that goes nowhere.")


class Settings(Model):
    """``conf/mtaframe.toml``."""

    hostname: Annotated[str, AfterValidator(own_name)] = Field(
        default="auto", description='Our name in EHLO and Received; "auto" is the host\'s own.'
    )
    plugins: tuple[str, ...] = Field(default=(), description="The plugins to load, in the order they are asked.")
    control: str = Field(
        default="auto",
        description="The command line's socket; \"auto\" is in /run/mtaframe or the user's own.",
    )
    give_up: Duration = Field(
        default=345600.0,
        le=432000.0,  # a day less than the ledger remembers
        description="How long mixed outcomes may stay open before the rest is reported as failed; at most 5d.",
    )
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=256)] = Field(
        default="auto", description='Processes that carry mail; "auto" is one per core. Needs a restart.'
    )
    drain: Duration = Field(default=30.0, description="How long SIGTERM waits for what is under way.")
    max_in_flight: Size = Field(
        default=1_000_000_000,
        gt=0,
        description="Octets of all messages under way at once, in all workers; more get 452 4.3.1 before it is sent.",
    )
    route: RouteSettings = Field(default=RouteSettings(), description="Where mail goes when no plugin says otherwise.")
    delivery: DeliverySettings = Field(default=DeliverySettings(), description="How mail goes out.")
    clients: ClientSettings = Field(
        default=ClientSettings(), description="What clients may take that nobody trusts yet."
    )
    dns: DnsSettings = Field(default=DnsSettings(), description="Which name servers are asked.")
    logs: LogSettings = Field(default=LogSettings(), description="What a log line shows.")
    state: StateSettings = Field(default=StateSettings(), description="What outlives a message.")
    handoff: HandoffSettings | None = Field(
        default=None, description="A smart host with a queue, for what could not be delivered now."
    )
    hold: HoldSettings = Field(default=HoldSettings(), description="What may wait in RAM to be tried again.")
    listener: tuple[ListenerSettings, ...] = Field(default=(), description="Where clients connect.")
    plugin: dict[str, PluginSettings] = Field(default={}, description="What the operator grants each plugin.")

    def grants(self, plugin: str) -> PluginSettings:
        """The operator's settings for a plugin, or the defaults."""
        return self.plugin.get(plugin, PluginSettings())
