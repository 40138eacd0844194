"""Builds a generation from the folder ``conf/``: configuration, plugins with their view of the core, transports."""

import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel

from mtaframe.accounts import Accounts
from mtaframe.config import ConfigError, Configuration, Fault, Source, cross_faults, load, snapshot
from mtaframe.delivery import Result
from mtaframe.envelope import Envelope, Session
from mtaframe.event import Event
from mtaframe.generation import Generation
from mtaframe.hook_call import Asked
from mtaframe.http_client import HttpClient
from mtaframe.lifecycle import AccountBook, Clock, Http, Identity, Resolver
from mtaframe.message import Message
from mtaframe.plugins import PluginError, Plugins, config_class, installed, plugin_class
from mtaframe.question import Question
from mtaframe.reception import Reception
from mtaframe.resolver import DnsResolver
from mtaframe.settings import DeliverySettings, DnsSettings, Settings
from mtaframe.smtp_client import SmtpClient
from mtaframe.sockets import SocketError, key_of, opened
from mtaframe.state import MemoryState
from mtaframe.storage import State
from mtaframe.watchdog import Watchdog

T = TypeVar("T")
Classes = Mapping[str, type[Any]]
Everywhere = Callable[[str, Mapping[str, Any]], Awaitable[Sequence[Any]]]
"""Asks a plugin's command, with its arguments, in each process of the server."""


class Facade:
    """What the plugins of one generation may ask of the core (``mtaframe.Mta``)."""

    def __init__(
        self,
        outbound: "Outbound",
        clock: Clock,
        accounts: AccountBook,
        state: State,
        everywhere: Everywhere | None = None,
    ) -> None:
        self.hostname = outbound.hostname
        self.clock = clock
        self.resolver: Resolver = outbound.resolver
        self.http: Http = outbound.http
        self.accounts = accounts
        self.state = state
        self._everywhere = everywhere
        self.generation: Generation | None = None
        self.reception: Reception | None = None

    async def submit(
        self,
        session: Session,
        envelope: Envelope,
        message: Message,
        *,
        deadline: float | None = None,
        identity: Identity | None = None,
        told: Callable[[int, Result], None] | None = None,
    ) -> Sequence[Result]:
        generation, reception = self._running()
        return await reception.submit(generation.lease(), session, envelope, message, deadline, identity, told)

    async def accept(
        self, session: Session, envelope: Envelope, message: Message, *, identity: Identity | None = None
    ) -> Sequence[Result]:
        generation, reception = self._running()
        return await reception.accept(generation.lease(), session, envelope, message, identity)

    def emit(self, event: Event) -> None:
        self._running()[0].emit(event)

    async def ask(self, question: Question[T]) -> T:
        return await self._running()[0].plugins.ask(question)

    async def everywhere(self, command: str, **arguments: Any) -> Sequence[Any]:
        return await self._everywhere(command, arguments) if self._everywhere is not None else ()

    def _running(self) -> tuple[Generation, Reception]:
        if self.generation is None or self.reception is None:
            raise RuntimeError("the core does not run yet: ask it from a hook, or after start()")
        return self.generation, self.reception


def read(folder: Path, extra: Classes = MappingProxyType({})) -> Configuration:
    """The configuration of a folder. ConfigError has all its faults."""
    return checked(snapshot(folder), extra)


def checked(source: Source, extra: Classes = MappingProxyType({})) -> Configuration:
    """The configuration of a snapshot. ConfigError has all its faults.

    ``extra`` are plugin classes that are known without an entry point: a test's own.
    """

    def plugin_configs(names: Sequence[str]) -> Mapping[str, type[BaseModel] | str]:
        found: dict[str, type[BaseModel] | str] = dict.fromkeys((*installed(), *extra), BaseModel)
        for name in names:
            if name not in found:
                continue
            try:
                found[name] = config_class(extra.get(name) or plugin_class(name))
            except PluginError as error:
                found[name] = str(error)
        return found

    return load(source, plugin_configs)


def listening(configuration: Configuration, have: Mapping[str, socket.socket]) -> dict[str, socket.socket]:
    """A listening socket for each address, by ``sockets.key_of``: one of those we have, or a new one. ConfigError."""
    wanted = {
        key_of(listener.name, address): (address, int(listener.socket_mode, 8))
        for listener in configuration.settings.listener
        for address in listener.addresses
    }
    try:
        return opened(wanted, have)
    except SocketError as error:
        raise ConfigError([Fault(str(configuration.folder / "mtaframe.toml"), None, "listener", str(error))]) from None


class Outbound:
    """The resolver and the clients with their connections: several generations share them if their settings stay.

    ``generations`` counts those that have it; the last one to leave closes it.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.hostname = own_name(settings)
        self.dns: DnsSettings = settings.dns
        self.delivery: DeliverySettings = settings.delivery
        self.resolver = DnsResolver(settings.dns, clock)
        self.client = SmtpClient(self.hostname, self.resolver, clock, settings.delivery)
        self.http = HttpClient(self.resolver)
        self.generations = 0

    def fits(self, settings: Settings) -> bool:
        return (self.hostname, self.dns, self.delivery) == (own_name(settings), settings.dns, settings.delivery)

    async def leave(self) -> None:
        """One generation has ended."""
        self.generations -= 1
        if not self.generations:
            await self.close()

    async def close(self) -> None:
        await self.client.close()
        await self.http.close()
        await self.resolver.close()


async def built(
    configuration: Configuration,
    number: int,
    outbound: Outbound,
    clock: Clock,
    reception: Reception | None,
    watchdog: Watchdog | None = None,
    observer: Callable[[Asked], None] | None = None,
    extra: Classes = MappingProxyType({}),
    state: State | None = None,
    everywhere: Everywhere | None = None,
) -> Generation:
    """A generation, its plugins started. ConfigError if a plugin can't be built or does not fit."""
    settings = configuration.settings
    accounts = Accounts(configuration.accounts, clock)
    facade = Facade(outbound, clock, accounts, state or MemoryState(clock), everywhere)
    main = str(configuration.folder / "mtaframe.toml")
    try:
        instances = []
        for name, config in configuration.plugins.items():
            try:
                kind = extra.get(name) or plugin_class(name)
                instances.append((name, kind(config, facade), settings.grants(name)))
            except PluginError:
                raise
            except Exception as error:
                raise PluginError(f'the plugin "{name}" can\'t be built: {type(error).__name__}: {error}') from error
        plugins = Plugins(instances, watchdog, observer)
        transports = {"smtp": outbound.client, "lmtp": outbound.client, **plugins.transports}
        faults = cross_faults(configuration, {name: transport.test_only for name, transport in transports.items()})
        if faults:
            raise ConfigError(faults)
        await plugins.start()
    except PluginError as error:
        raise ConfigError([Fault(main, None, "plugins", str(error))]) from error
    generation = Generation(number, settings, accounts, plugins, transports, facade.hostname, outbound.resolver)
    facade.generation, facade.reception = generation, reception
    return generation


def own_name(settings: Settings) -> str:
    """Our hostname: as set, or the host's own; a host that calls itself localhost is no name for others."""
    if settings.hostname != "auto":
        return settings.hostname
    full = socket.getfqdn()
    return full if not full.startswith("localhost") else socket.gethostname()
