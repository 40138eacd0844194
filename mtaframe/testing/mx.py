"""A server that says what a test tells it to: SMTP or LMTP (RFC 5321, RFC 2033) on a real socket.

What is not scripted goes well. The server is strict: what a client does against the RFCs is answered with
5xx where they say so, and stands in ``faults``, so that a test can end with ``assert not mx.faults``.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from mtaframe.testing.conversation import Conversation
from mtaframe.testing.script import Answer, MxSession, Received, Script
from mtaframe.testing.wire import Wire

EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 50000000", "ENHANCEDSTATUSCODES")
STAGES = frozenset(
    ["connect", "ehlo", "helo", "starttls", "auth", "mail", "rcpt", "data", "content", "dot", "rset", "noop", "quit"]
)


class ScriptedMx:
    """A next hop for tests: ``async with ScriptedMx() as mx:`` then deliver to ``mx.host``, ``mx.port``.

    ``tls`` offers STARTTLS, or TLS from the first octet with ``implicit_tls``. ``credentials`` (password by
    user) offers AUTH PLAIN and LOGIN. ``unix`` is the path of a socket to listen on instead of a port.
    ``name`` stands in the banner.
    """

    def __init__(
        self,
        *,
        lmtp: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        unix: str | None = None,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        credentials: dict[str, str] | None = None,
        extensions: Sequence[str] = EXTENSIONS,
        name: str = "mx.test",
    ) -> None:
        self.lmtp, self.host, self.port, self.unix, self.name = lmtp, host, port, unix, name
        self.tls, self.implicit_tls, self.credentials = tls, implicit_tls, credentials
        self.extensions = tuple(extensions)
        self.received: list[Received] = []
        """Transactions that were answered with 2xx at the dot; of LMTP, with the recipients that were."""
        self.arrived: list[Received] = []
        """Transactions whose final dot was read, whatever was answered."""
        self.commands: list[str] = []
        """Every command line, of all connections."""
        self.faults: list[str] = []
        """What clients did against the RFCs."""
        self.sessions: list[MxSession] = []
        self.most_open = 0
        """The most connections that were open at once."""
        self._scripts: list[Script] = []
        self._server: asyncio.Server | None = None
        self._live: dict[asyncio.Task[None], Wire] = {}

    @property
    def connections(self) -> int:
        """How many connections there were so far."""
        return len(self.sessions)

    @property
    def open_connections(self) -> int:
        return sum(session.is_open for session in self.sessions)

    @property
    def messages(self) -> int:
        """How many messages were taken with 2xx."""
        return len(self.received)

    def script(
        self, stage: str, answer: Answer = None, *, to: str | None = None, always: bool = False, delay: float = 0.0
    ) -> None:
        """Queue one answer for a stage; answers are used once, in order, and those of ``always`` when none is left.

        ``answer`` is a reply (several lines with ``\\n``), octets to write as they are, DROP, HANG, RESET, or
        None for the usual answer (with ``delay`` seconds before it). ``to`` limits it to one recipient, for
        rcpt and for the dot of LMTP. The stage "content" comes after the first octets of the message: there,
        HANG stops reading, and a reply makes no sense.
        """
        if stage not in STAGES:
            raise ValueError(f"no such stage: {stage}; there are {', '.join(sorted(STAGES))}")
        self._scripts.append(Script(stage, answer, to, always, delay))

    def unscript(self) -> None:
        """Forget all answers that are still queued."""
        self._scripts.clear()

    async def until(self, condition: Callable[[], bool], timeout: float = 5.0) -> None:
        """Wait until the condition holds. TimeoutError after ``timeout`` seconds."""
        async with asyncio.timeout(timeout):
            while not condition():  # noqa: ASYNC110 - a condition over any of the fields has no event
                await asyncio.sleep(0.005)

    async def __aenter__(self) -> "ScriptedMx":
        loop = asyncio.get_running_loop()
        tls: dict[str, Any] = {}
        if self.implicit_tls:
            tls = {"ssl": self.tls, "ssl_handshake_timeout": 5.0}
        if self.unix is not None:
            self._server = await loop.create_unix_server(self._wire, self.unix, **tls)
        else:
            self._server = await loop.create_server(self._wire, self.host, self.port, **tls)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening and end every connection; calling it early makes further connections be refused."""
        if self._server is None:
            return
        self._server.close()
        live = dict(self._live)
        for task, wire in live.items():
            task.cancel()
            wire.abort()
        await asyncio.gather(*live, return_exceptions=True)
        # Handshakes under way: Python 3.13 can end them; before, they end by themselves.
        getattr(self._server, "abort_clients", lambda: None)()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._server.wait_closed(), 1)
        await asyncio.sleep(0)
        self._server = None

    def _wire(self) -> Wire:
        return Wire(self._opened)

    def _opened(self, wire: Wire) -> None:
        session = MxSession(len(self.sessions) + 1, wire.client, wire.tls)
        self.sessions.append(session)
        self.most_open = max(self.most_open, self.open_connections)
        task = asyncio.get_running_loop().create_task(Conversation(self, wire, session).run())
        self._live[task] = wire
        task.add_done_callback(lambda done: self._live.pop(done, None))

    def next_script(self, stage: str, recipient: str) -> Script | None:
        """The answer that is due, taken off the queue if it is for once."""
        fitting = [s for s in self._scripts if s.stage == stage and s.to in (None, recipient)]
        chosen = next((s for s in fitting if not s.always), fitting[-1] if fitting else None)
        if chosen is not None and not chosen.always:
            self._scripts.remove(chosen)
        return chosen
