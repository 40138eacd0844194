"""aiosmtplib's protocol with several commands under way at once (PIPELINING, RFC 2920).

The rule: a reply belongs to the oldest command that has none. A reply that nothing asked for spoils the
connection, and so does 421; a spoilt connection gives no further replies.
"""

import asyncio
import math
import re
import ssl
from collections.abc import Callable, Sequence
from typing import cast

from aiosmtplib import SMTPReadTimeoutError, SMTPResponse, SMTPResponseException, SMTPServerDisconnected
from aiosmtplib.protocol import COMMAND_INJECTION_REGEX, MAX_RESPONSE_LENGTH, SMTPProtocol

from mtaframe.smtp_client.trouble import Kind

_PLAIN = re.compile(rb"((?!421)[0-9]{3}) ([!-~](?:[ -~]{0,510}[!-~])?)\r")
"""Nearly every reply: one line of printable ASCII, without CR LF's LF."""
JOINED = 32_768
"""Octets that are joined to be written, which costs less than to write from several places."""
QUIT_TIMEOUT = 2.0
"""Seconds that a server has to answer QUIT before the connection is cut."""


class Wire(SMTPProtocol):
    """One connection's octets. ``fault`` says what spoilt it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection_lost_callback: Callable[[SMTPProtocol], None] | None = None,
    ) -> None:
        super().__init__(loop=loop, connection_lost_callback=connection_lost_callback)
        self.fault: Kind | None = None
        self._rest = b""
        self._lines: list[bytes] = []
        self._octets = 0
        self._replies: list[SMTPResponse] = []
        self._expected = 1  # the banner comes unasked
        self._wanted = 0
        self._waiter: asyncio.Future[None] | None = None
        self._heard = 0.0
        self._silence = 0.0
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf
        self._quitting: asyncio.TimerHandle | None = None
        self._drain_waiters = []  # type: ignore[assignment]  # a deque takes 600 octets

    def detach(self) -> None:
        """aiosmtplib's client is not needed any more."""
        self._connection_lost_callback = self._command_lock = None

    # What comes in

    def data_received(self, data: bytes) -> None:
        if self.fault is not None:
            return
        lines = (self._rest + data if self._rest else data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            plain = None if self._lines else _PLAIN.fullmatch(line)
            if plain is not None and self._expected and self._quitting is None:
                self._expected -= 1
                self._replies.append(SMTPResponse(int(plain[1]), plain[2].decode("ascii")))
                self._heard = self._loop.time()
                continue
            self._take(line)
            if self.fault is not None:
                return
        if self._octets + len(self._rest) > MAX_RESPONSE_LENGTH:
            self.spoil(Kind.GARBLED)
        elif self._replies and len(self._replies) >= self._wanted:
            self._wake()

    def _take(self, line: bytes) -> None:
        line = line.rstrip(b"\r")
        mark = line[3:4]
        self._octets += len(line)
        is_marked = len(line) == 3 or mark in (b" ", b"-")
        if not line[:3].isdigit() or not is_marked or self._octets > MAX_RESPONSE_LENGTH:
            return self.spoil(Kind.GARBLED)
        octets = line[4:].strip()
        if mark == b"-" or self._lines:
            self._lines.append(octets)
            if mark == b"-":
                return None
            octets = b"\n".join(self._lines)
            self._lines.clear()
        code, text = int(line[:3]), octets.decode("utf-8", "surrogateescape")
        self._octets = 0
        if not self._expected:
            return self.spoil(Kind.LOST if code == 421 else Kind.GARBLED)
        self._expected -= 1
        self._heard = self._loop.time()
        self._replies.append(SMTPResponse(code, text))
        if self._quitting is not None:
            return self.abort()
        if code == 421:
            self.spoil(Kind.LOST)
        return None

    def spoil(self, kind: Kind) -> None:
        """No further reply is believed; whoever waits is told."""
        if self.fault is None:
            self.fault = kind
            if self._waiter is None:
                self.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        for waiter in self._drain_waiters:
            if not waiter.done():
                waiter.set_result(None)

    def eof_received(self) -> bool:
        self.spoil(Kind.LOST)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.spoil(Kind.LOST)
        for timer in (self._quitting, self._timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        if not self._closed_future.done():
            self._closed_future.set_result(None)

    # What goes out

    @property
    def is_usable(self) -> bool:
        """Whether another command can be sent: nothing is outstanding and nothing has spoilt it."""
        return self.fault is None and not self._expected and not self._replies and self.transport is not None

    @property
    def was_answered(self) -> bool:
        """Whether a reply, or the end, has come that nobody has taken yet."""
        return bool(self._replies) or self.fault is not None

    @property
    def closed(self) -> "asyncio.Future[None]":
        """Done once the socket is closed."""
        return self._closed_future

    def hold_early(self) -> None:
        """Let ``drain`` wait for the last octet: a slow server holds us up before the final dot, not after it."""
        # 1, not 0: asyncio's TLS transport would then pause with nothing left to write, and never resume.
        cast("asyncio.WriteTransport", self.transport).set_write_buffer_limits(high=1)

    def expect(self, replies: int) -> None:
        """So many more replies are due."""
        self._expected += replies

    def send(self, octets: bytes | memoryview, replies: int = 0) -> None:
        """Hand octets to the transport, after which so many replies are due."""
        self._expected += replies
        transport: asyncio.WriteTransport | None = self.transport  # type: ignore[assignment]
        if transport is None or transport.is_closing():
            self.spoil(Kind.LOST)
        else:
            transport.write(octets)

    def send_all(self, pieces: Sequence[bytes]) -> None:
        """Hand over all of these in one write."""
        if sum(map(len, pieces)) <= JOINED:
            return self.send(b"".join(pieces))
        transport: asyncio.WriteTransport | None = self.transport  # type: ignore[assignment]
        if transport is None or transport.is_closing():
            return self.spoil(Kind.LOST)
        return transport.writelines(pieces)

    async def drain(self, timeout: float) -> None:
        """Wait until the server has taken what was sent, or has answered, or the connection is spoilt."""
        if not self._paused or self.was_answered:
            return
        try:
            async with asyncio.timeout(timeout):
                await self._drain_helper()
        except TimeoutError:
            self.spoil(Kind.LATE)
        except OSError:
            self.spoil(Kind.LOST)

    async def replies(self, count: int, silence: float, limit: float = math.inf) -> list[SMTPResponse]:
        """So many replies, or fewer: then ``fault`` says why.

        ``silence`` is how long the server may say nothing, ``limit`` how long all may take, in seconds.
        """
        if len(self._replies) < count and self.fault is None:
            self._heard = self._loop.time()
            self._silence, self._until, self._wanted = silence, self._heard + limit, count
            self._waiter = self._loop.create_future()
            self._ring_by(self._heard + min(silence, limit))
            try:
                await self._waiter
            finally:
                self._waiter = None
        if len(self._replies) == count:
            got, self._replies = self._replies, []
            return got
        got = self._replies[:count]
        del self._replies[:count]
        return got

    def _ring_by(self, at: float) -> None:
        """One timer serves many waits: it is set anew only where it would ring too late."""
        if at < self._rings_at:
            if self._timer is not None:
                self._timer.cancel()
            self._rings_at = at
            self._timer = self._loop.call_at(at, self._rang)

    def _rang(self) -> None:
        self._timer, self._rings_at = None, math.inf
        if self._waiter is None:
            return
        at = min(self._heard + self._silence, self._until)
        if at - self._loop.time() > 0.001:
            self._ring_by(at)
        else:
            self.spoil(Kind.LATE)

    def quit(self) -> None:
        """Take leave: QUIT, and close at the answer. Nobody needs to wait for it."""
        if self.is_usable and self._quitting is None:
            self._quitting = self._loop.call_later(QUIT_TIMEOUT, self.abort)
            self.send(b"QUIT\r\n", 1)
        elif self._quitting is None:
            self.abort()

    def abort(self) -> None:
        """Close now."""
        if self.fault is None:
            self.fault = Kind.LOST
        if self.transport is not None:
            cast("asyncio.WriteTransport", self.transport).abort()

    # What aiosmtplib's client calls

    async def read_response(self, timeout: float | None = None) -> SMTPResponse:
        got = await self.replies(1, timeout or math.inf)
        if got:
            return got[0]
        if self.fault is Kind.LATE:
            raise SMTPReadTimeoutError("no answer in time")
        if self.fault is Kind.GARBLED:
            raise SMTPResponseException(-1, "protocol error")
        raise SMTPServerDisconnected("connection lost")

    async def execute_command(self, *args: bytes, timeout: float | None = None) -> SMTPResponse:
        line = b" ".join(args)
        if COMMAND_INJECTION_REGEX.search(line):
            raise ValueError("a command holds a control character")
        self.send(line + b"\r\n", 1)
        return await self.read_response(timeout)

    async def start_tls(
        self, tls_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> SMTPResponse:
        """STARTTLS and the handshake. Anything in clear behind the 220 may be an attacker's: it ends the connection."""
        response = await self.execute_command(b"STARTTLS", timeout=timeout)
        if response.code != 220:
            raise SMTPResponseException(response.code, response.message)
        if self._rest or self._lines or self.was_answered:
            self.spoil(Kind.GARBLED)
            self.abort()
            raise SMTPResponseException(-1, "octets behind the answer to STARTTLS")
        self.transport = await self._loop.start_tls(
            cast("asyncio.WriteTransport", self.transport),
            self,
            tls_context,
            server_hostname=server_hostname,
            ssl_handshake_timeout=timeout,
        )
        self._over_ssl = True
        return response
