"""One listener: its sockets, who is connected, and how it stops."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from math import ceil

from mtaframe.entrance import Certificates, Doorway, client_of, is_in
from mtaframe.envelope import Session
from mtaframe.guard import Guard, Visit
from mtaframe.lifecycle import Clock
from mtaframe.reception import Reception
from mtaframe.settings import ListenerSettings
from mtaframe.smtp_server.conversation import Conversation
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
        self.reception = reception
        self.hostname = hostname
        self.is_draining = False
        self._turn = turn or Turn()
        self.guard = guard or Guard(clock, turn)
        self._doorway = Doorway(listener, clock, self._turn, self.guard, self._received)
        self._connections: set[Conversation] = set()
        self._nobody = asyncio.Event()
        self._nobody.set()

    @property
    def settings(self) -> ListenerSettings:
        return self._doorway.settings

    @property
    def certificates(self) -> Certificates | None:
        return self._doorway.certificates

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it really listens: a port 0 has become the one that the system chose."""
        return tuple(self._doorway.addresses)

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
        self._doorway.open(sockets)

    def adopt(self, listener: ListenerSettings) -> None:
        """From the next transaction on these settings hold; ``trusted`` and time limits from the next session on.

        OSError if the certificate can't be loaded: then nothing has changed. Addresses and kind don't change.
        """
        self._doorway.adopt(listener)

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
        self._doorway.turn_away()
        for connection in tuple(self._connections):
            if connection.transport is not None:
                connection.transport.abort()
        await self._nobody.wait()

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
            client, encrypted = proxied or client_of(transport), transport.get_extra_info("ssl_object")
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
        return self._doorway.trusts(client)

    def believes(self, client: str) -> bool:
        """Whether this address may tell by XCLIENT and XFORWARD whom it speaks for."""
        return is_in(client, self.settings.forward_from)

    def stop_listening(self) -> None:
        """Take no more clients; those that are here go on."""
        self._doorway.close()

    def _received(self, proxied: str | None, visit: Visit) -> tuple[Conversation, Callable[[], bool]]:
        conversation = Conversation(self, asyncio.get_running_loop(), proxied, visit)
        return conversation, lambda: conversation.task is not None
