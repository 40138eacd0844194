"""One listener: its sockets, who is connected, and how it stops."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from math import ceil
from weakref import WeakSet

from mtaframe.envelope import Session
from mtaframe.guard import Guard, Visit
from mtaframe.lifecycle import Clock
from mtaframe.notation import Network
from mtaframe.reception import Reception
from mtaframe.settings import ListenerSettings
from mtaframe.smtp_server.certificates import Certificates
from mtaframe.smtp_server.conversation import Conversation
from mtaframe.smtp_server.entrance import Entrance
from mtaframe.smtp_server.handshake import Handshake
from mtaframe.smtp_server.proxy import ProxyError, introduced
from mtaframe.sockets import address_of, closed, opened
from mtaframe.turn import Turn

log = logging.getLogger("mtaframe.smtp_server")

_LOOK_AGAIN = 0.1
"""Seconds between two looks at who is left, while the listener stops."""


class SmtpServer:
    """Takes mail in by SMTP or LMTP as ``settings`` say; everything else is asked of ``reception``."""

    def __init__(
        self,
        listener: ListenerSettings,
        reception: Reception,
        clock: Clock,
        hostname: str,
        turn: Turn | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.settings = listener
        self.reception = reception
        self.hostname = hostname
        self.is_draining = False
        self._clock = clock
        self._turn = turn or Turn()
        self.guard = guard or Guard(clock, turn)
        self.certificates = self._certificates_of(listener)
        self._entrances: list[Entrance] = []
        self._addresses: list[str] = []
        self._opened: dict[str, socket.socket] = {}
        self._connections: set[Conversation] = set()
        self._handshakes: WeakSet[Handshake] = WeakSet()
        self._nobody = asyncio.Event()
        self._nobody.set()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it really listens: a port 0 has become the one that the system chose."""
        return tuple(self._addresses)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    @property
    def is_full(self) -> bool:
        """Whether there is one connection too many already, for this worker's share of them."""
        return len(self._connections) > ceil(self.settings.max_connections * self._turn.share)

    async def start(self, sockets: Iterable[socket.socket] | None = None) -> None:
        """Listens on the sockets given, which are its own from now on, else on the addresses of the settings.

        SocketError if an address can't be had.
        """
        # aiosmtpd logs clients, commands and addresses
        logging.getLogger("mail.log").setLevel(logging.CRITICAL + 1)
        if sockets is None:
            mode = int(self.settings.socket_mode, 8)
            self._opened = opened({address: (address, mode) for address in self.settings.addresses}, {})
            sockets = [one.dup() for one in self._opened.values()]
        for listening in sockets:
            self._listen(asyncio.get_running_loop(), listening)

    def adopt(self, listener: ListenerSettings) -> None:
        """From the next transaction on these settings hold; ``trusted`` and time limits from the next session on.

        OSError if the certificate can't be loaded: then nothing has changed. Addresses and kind don't change.
        """
        if listener.kind != self.settings.kind:
            raise ValueError("another kind is another listener")
        named = (listener.certificate, listener.key, listener.tls == "off")
        if named != (self.settings.certificate, self.settings.key, self.settings.tls == "off"):
            self.certificates = self._certificates_of(listener)
        self.settings = listener

    async def drain(self, seconds: float) -> None:
        """Takes no more clients, ends idle sessions (421), and waits so long for transactions under way to end."""
        self.is_draining = True
        self.stop_listening()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self._connections and (left := deadline - loop.time()) > 0:
            for connection in tuple(self._connections):
                connection.retire()
            try:
                await asyncio.wait_for(self._nobody.wait(), min(left, _LOOK_AGAIN))
            except TimeoutError:
                continue

    async def close(self) -> None:
        """Ends everything now; transactions that are waiting for their result are cancelled."""
        self.stop_listening()
        for entrance in self._entrances:
            entrance.turn_away()
        for connection in tuple(self._connections):
            if connection.transport is not None:
                connection.transport.abort()
        for handshake in tuple(self._handshakes):
            if handshake._app_transport is not None:
                handshake._app_transport.abort()
        await self._nobody.wait()
        self._entrances.clear()

    # what a conversation asks for

    def welcome(self, connection: Conversation) -> None:
        """One more client; said again after STARTTLS."""
        if connection not in self._connections and connection.task is not None:
            self._connections.add(connection)
            self._turn.came()
            self._nobody.clear()
            connection.task.add_done_callback(lambda _: self.forget(connection))

    def forget(self, connection: Conversation) -> None:
        """Said when the connection is lost and when the conversation has ended: the later one counts."""
        if connection.transport is None and (connection.task is None or connection.task.done()):
            if connection in self._connections:
                self._connections.discard(connection)
                self._turn.went()
                connection.visit.leave(is_fruitful=connection.is_fruitful)
            if not self._connections:
                self._nobody.set()

    def session_for(
        self, session_id: str, transport: asyncio.BaseTransport | None, proxied: str | None = None
    ) -> Session:
        """What is known of a client before it has said a word. ``proxied``: its address, as a proxy told it.

        A client that was reset before it was accepted may have no address any more: it is a stranger.
        """
        client, encrypted, is_local = "", None, False
        if transport is not None:
            client, encrypted = proxied or _client(transport), transport.get_extra_info("ssl_object")
            is_local = transport.get_extra_info("socket").family == socket.AF_UNIX
        return Session(
            id=session_id,
            client=client,
            listener=self.settings.name,
            protocol="LMTP" if self.settings.kind == "lmtp" else "SMTP",
            tls=encrypted.version() if encrypted else None,
            trusted=is_local or self.trusts(client),
        )

    def trusts(self, client: str) -> bool:
        """Whether this address may relay without AUTH."""
        return _is_in(client, self.settings.trusted)

    def believes(self, client: str) -> bool:
        """Whether this address may tell by XCLIENT and XFORWARD whom it speaks for."""
        return _is_in(client, self.settings.forward_from)

    def _certificates_of(self, listener: ListenerSettings) -> Certificates | None:
        if listener.tls == "off" or listener.certificate is None or listener.key is None:
            return None
        return Certificates(listener.name, listener.certificate, listener.key, self._clock)

    # sockets

    def stop_listening(self) -> None:
        """Take no more clients; those that are here go on."""
        for entrance in self._entrances:
            entrance.close()
        for one in self._opened.values():
            closed(one)
        self._opened.clear()

    def _listen(self, loop: asyncio.AbstractEventLoop, listening: socket.socket) -> None:
        async def receive(client: socket.socket) -> tuple[asyncio.BaseProtocol, Callable[[], None]] | None:
            try:
                proxied = await self._proxied(client)
            except ProxyError as error:
                log.warning("proxy not believed listener=%s reason=%s", self.settings.name, error)
                return None
            visit = self._visit(client, proxied)
            if self.settings.tls != "implicit" or self.certificates is None:
                return Conversation(self, loop, proxied, visit), visit.leave
            if visit.refusal is not None:
                visit.leave()  # a handshake for the sake of a refusal would be what a flood of clients is after
                return None
            # the context of this very moment, which create_server(ssl=…) could not give
            handshake = Handshake(loop, Conversation(self, loop, proxied, visit), self.certificates.context)
            self._handshakes.add(handshake)
            return handshake, visit.leave

        self._entrances.append(Entrance(listening, receive, self._turn))
        self._addresses.append(address_of(listening))

    def _visit(self, client: socket.socket, proxied: str | None) -> Visit:
        """What counts for the client's address; for those that are trusted, or speak for many, nothing does."""
        if client.family == socket.AF_UNIX:
            return Visit()
        address = proxied or _ip(client.getpeername()[0])
        settings = self.settings
        for_many = settings.forward_from if proxied else (*settings.forward_from, *settings.proxy_from)
        if self.trusts(address) or _is_in(address, for_many):
            return Visit()
        return self.guard.enter(address, must_log_in=settings.auth and not settings.relay_domains)

    async def _proxied(self, client: socket.socket) -> str | None:
        """The client whom a proxy passes on to us; None where none does. ProxyError."""
        if not self.settings.proxy_from or client.family == socket.AF_UNIX:
            return None
        if not _is_in(_ip(client.getpeername()[0]), self.settings.proxy_from):
            return None
        told = await introduced(client)
        return told and _ip(told)


def _client(transport: asyncio.BaseTransport) -> str:
    """The client's IP address; empty on a Unix socket."""
    name = transport.get_extra_info("peername")
    return _ip(name[0]) if isinstance(name, tuple) else ""


def _ip(text: str) -> str:
    """An address without its zone; an IPv4 one in IPv6 clothes is shown as what it is."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


def _is_in(client: str, networks: Sequence[Network]) -> bool:
    if not client:
        return False
    address = ipaddress.ip_address(client)
    return any(address in network for network in networks)
