"""The sockets of one listener, and what happens to a client before the first word of its own protocol."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from weakref import WeakSet

from mtaframe.entrance.certificates import Certificates
from mtaframe.entrance.clients import is_in, plain
from mtaframe.entrance.entrance import Entrance
from mtaframe.entrance.handshake import Handshake
from mtaframe.entrance.proxy import ProxyError, introduced
from mtaframe.guard import Guard, Visit
from mtaframe.lifecycle import Clock
from mtaframe.settings import ListenerSettings
from mtaframe.sockets import address_of, closed, opened
from mtaframe.turn import Turn

log = logging.getLogger("mtaframe.entrance")


Receive = Callable[[str | None, Visit], tuple[asyncio.BaseProtocol, Callable[[], bool]]]
"""What speaks with a client, given the address that a proxy told, if one did, and the visit; and whether that has
begun, and so sees to the end of the visit itself."""


class Doorway:
    """Takes clients in as ``settings`` say. OSError if the certificate can't be loaded."""

    def __init__(
        self,
        settings: ListenerSettings,
        clock: Clock,
        turn: Turn,
        guard: Guard,
        receive: Receive,
    ) -> None:
        self.settings = settings
        self.certificates = _certificates(settings, clock)
        self.addresses: list[str] = []
        """Where it really listens: a port 0 has become the one that the system chose."""
        self._clock = clock
        self._turn = turn
        self._guard = guard
        self._receive = receive
        self._entrances: list[Entrance] = []
        self._opened: dict[str, socket.socket] = {}
        self._handshakes: WeakSet[Handshake] = WeakSet()

    def open(self, sockets: Iterable[socket.socket] | None = None) -> None:
        """Listen on the sockets given, which are its own from now on, else on the addresses of the settings.

        SocketError if an address can't be had.
        """
        if sockets is None:
            mode = int(self.settings.socket_mode, 8)
            self._opened = opened({address: (address, mode) for address in self.settings.addresses}, {})
            sockets = [one.dup() for one in self._opened.values()]
        for listening in sockets:
            self._entrances.append(Entrance(listening, self._taken_in, self._turn))
            self.addresses.append(address_of(listening))

    def adopt(self, settings: ListenerSettings) -> None:
        """For clients to come. OSError if the certificate can't be loaded: then nothing has changed."""
        if settings.kind != self.settings.kind:
            raise ValueError("another kind is another listener")
        if _pair(settings) != _pair(self.settings):
            self.certificates = _certificates(settings, self._clock)
        self.settings = settings

    def close(self) -> None:
        """Take no more clients; those that are here go on."""
        for entrance in self._entrances:
            entrance.close()
        for one in self._opened.values():
            closed(one)
        self._opened.clear()

    def turn_away(self) -> None:
        """Those who have not yet come to their first word go, too."""
        for entrance in self._entrances:
            entrance.turn_away()
        for handshake in tuple(self._handshakes):
            handshake.abort()
        self._entrances.clear()

    def trusts(self, client: str) -> bool:
        """Whether this address may do without AUTH."""
        return is_in(client, self.settings.trusted)

    async def _taken_in(self, client: socket.socket) -> tuple[asyncio.BaseProtocol, Callable[[], None]] | None:
        try:
            proxied = await self._proxied(client)
        except ProxyError as error:
            log.warning("proxy not believed listener=%s reason=%s", self.settings.name, error)
            return None
        visit = self._visit(client, proxied)
        if self.settings.tls != "implicit" or self.certificates is None:
            return self._receive(proxied, visit)[0], visit.leave
        if visit.refusal is not None:
            visit.leave()  # a handshake for the sake of a refusal would be what a flood of clients is after
            return None
        protocol, has_begun = self._receive(proxied, visit)

        def lost() -> None:
            if not has_begun():
                visit.leave()

        # the context of this very moment, which create_server(ssl=…) could not give
        handshake = Handshake(asyncio.get_running_loop(), protocol, self.certificates.context, lost)
        self._handshakes.add(handshake)
        return handshake, visit.leave

    def _visit(self, client: socket.socket, proxied: str | None) -> Visit:
        """What counts for the client's address; for those that are trusted, or speak for many, nothing does."""
        if client.family == socket.AF_UNIX:
            return Visit()
        address = proxied or plain(client.getpeername()[0])
        settings = self.settings
        for_many = settings.forward_from if proxied else (*settings.forward_from, *settings.proxy_from)
        if self.trusts(address) or is_in(address, for_many):
            return Visit()
        return self._guard.enter(address, must_log_in=settings.must_log_in)

    async def _proxied(self, client: socket.socket) -> str | None:
        """The client whom a proxy passes on to us; None where none does. ProxyError."""
        if not self.settings.proxy_from or client.family == socket.AF_UNIX:
            return None
        if not is_in(plain(client.getpeername()[0]), self.settings.proxy_from):
            return None
        told = await introduced(client)
        return told and plain(told)


def _pair(settings: ListenerSettings) -> tuple[str | None, str | None, bool]:
    return settings.certificate, settings.key, settings.tls == "off"


def _certificates(settings: ListenerSettings, clock: Clock) -> Certificates | None:
    if settings.tls == "off" or settings.certificate is None or settings.key is None:
        return None
    return Certificates(settings.name, settings.certificate, settings.key, clock)
