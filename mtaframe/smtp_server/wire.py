"""The octets of one connection, in and out, with TLS and the idle timer; what they mean is for `conversation`.

The law: only CR LF ends a line, and only CR LF . CR LF ends a message. Never more than the limit is kept,
however much a client sends. This is where aiosmtpd is: its connection and its STARTTLS are used, its command
loop is not (it ends lines at a bare LF).
"""

import asyncio
import fcntl
import logging
import socket
import sys
import termios
from typing import Any

from aiosmtpd.smtp import SMTP, TLSSetupException

from mtaframe.reply import Reply
from mtaframe.smtp_server.certificates import Certificates

log = logging.getLogger("mtaframe.smtp_server")

CRLF = b"\r\n"
END_OF_DATA = b"\r\n.\r\n"

_HELD_INPUT = 65_536
"""Octets that wait for a busy server before the client is made to wait."""
_LEAST_RATE = 1000
"""Octets of a message for which its client gets another second, once the first idle time is up."""
_HELD_OUTPUT = 65_536
_HELD_REPLIES = 500


class Ended(Exception):
    """Nothing more will come from this client."""


class Wire(SMTP):
    """``input`` holds what was received and not consumed yet; ``say`` gathers replies, ``flush`` writes them.

    A subclass is told by ``_vanished`` that the client has gone while we were working, and implements
    ``_conversation``.
    """

    longest_line = 512

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # not aiosmtpd's own __init__, which inspects all members of itself for every connection
        asyncio.StreamReaderProtocol.__init__(
            self, asyncio.StreamReader(loop=loop), client_connected_cb=self._cb_client_connected, loop=loop
        )
        self.loop = loop
        self.transport: asyncio.Transport | None = None
        self.session = None
        self.envelope = None
        self.tls_context = None
        self.task: asyncio.Task[None] | None = None
        self.is_secured = False
        self._handler_coroutine = None
        self._handle_hooks: dict[str, Any] = {}
        self._original_transport = None
        self._tls_protocol = None
        self._tls_handshake_okay = True
        self._timeout_handle: asyncio.TimerHandle | None = None
        self._timeout_duration = 300.0

        self.input = bytearray()
        self._early = 0  # octets of input that came before our last answer was written
        self._line_was_early = False
        self._at = -1
        self._wanted = CRLF
        self._searched = 0
        self._limit = 0
        self._dots = 0
        self._dots_counted = 0
        self._overflowed = False
        self._waiter: asyncio.Future[None] | None = None
        self._waits_since: float | None = None
        self._data_since = 0.0
        self._arrived = 0
        self._is_held = False
        self._has_ended = False
        self._output: list[bytes] = []

    async def _conversation(self) -> None:
        raise NotImplementedError

    def _vanished(self, *, in_order: bool) -> None:
        """The client has closed its end (in order), or the connection was lost."""
        raise NotImplementedError

    # what aiosmtpd and asyncio call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once more when STARTTLS is done: what came in clear is forgotten (RFC 3207 §5)."""
        self.input.clear()
        self._early = self._searched = 0
        self.is_secured = transport.get_extra_info("ssl_object") is not None
        super().connection_made(transport)
        self.task = self._handler_coroutine

    def data_received(self, data: bytes) -> None:
        self.input += data
        if self._waiter is not None and not self._waiter.done():
            if self._search():
                self._wake()
            elif self._wanted is END_OF_DATA:
                self._arrived += len(data)
                self._waits_since = min(self.loop.time(), self._data_since + self._arrived / _LEAST_RATE)
        elif len(self.input) > _HELD_INPUT and not self._is_held and self.transport is not None:
            self._is_held = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """What was received before is still obeyed; TLS can't stay half open."""
        self._has_ended = True
        self._vanished(in_order=True)
        self._wake()
        return not self.is_secured

    def connection_lost(self, error: Exception | None) -> None:
        self._has_ended = True
        self._vanished(in_order=False)
        super().connection_lost(error)

    async def _handle_client(self) -> None:
        try:
            await self._conversation()
        except (Ended, asyncio.CancelledError):
            pass  # kept in the task, a cancellation's traceback would keep the message until some garbage collection
        finally:
            self.flush()
            self._waits_since = self.loop.time()
            if self.transport is not None:
                self.transport.close()

    async def push(self, status: object) -> None:
        """aiosmtpd's own replies: the 220 of STARTTLS, which we have said already."""

    def _reset_timeout(self, duration: float | None = None) -> None:
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        self._timeout_handle = self.loop.call_later(duration or self._timeout_duration, self._timeout_cb)

    def _timeout_cb(self) -> None:
        """Only a client that we wait for can be late; our own work is bounded elsewhere."""
        left = self._timeout_duration
        if self._waits_since is not None:
            left -= self.loop.time() - self._waits_since
        if left > 0.001:
            self._reset_timeout(left)
        else:
            self._reset_timeout()
            self.dismiss(Reply(421, "4.4.2", "silent for too long"))

    # input

    async def _receive(self, wanted: bytes, limit: int) -> None:
        """Waits until ``wanted`` is in the input, at ``_at``. Beyond ``limit`` octets are dropped: ``_overflowed``."""
        self._wanted, self._limit = wanted, limit
        self._searched = self._dots = self._dots_counted = 0
        self._overflowed = False
        if self._search() and len(self._output) < _HELD_REPLIES:
            return
        self.flush()
        if self.transport is None or self.transport.is_closing() or self._has_ended:
            raise Ended
        if self.transport.get_write_buffer_size() > _HELD_OUTPUT:
            self._waits_since = self.loop.time()
            try:
                await self._writer.drain()
            except ConnectionError:
                raise Ended from None
            finally:
                self._waits_since = None
        if self._at >= 0 or self._search():
            return
        self._read_on()
        await self._wait()
        if self._at < 0:
            raise Ended

    async def _wait(self) -> None:
        if self._has_ended:
            return
        self._waiter = self.loop.create_future()
        self._waits_since = self.loop.time()
        try:
            await self._waiter
        finally:
            self._waiter = self._waits_since = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _search(self) -> bool:
        self._at = self.input.find(self._wanted, self._searched)
        if self._at >= 0:
            return True
        self._searched = max(0, len(self.input) - len(self._wanted) + 1)
        if self._overflowed or (len(self.input) > self._limit + self._dots and self._exceeds()):
            self._overflowed = True
            self._consume(len(self.input) - len(self._wanted) + 1)
        return False

    def _exceeds(self) -> bool:
        """Whether the input is too long; the dots that stuffing put into a message don't count (RFC 5321 §4.5.2)."""
        if self._wanted is END_OF_DATA:
            self._dots += self.input.count(b"\r\n.", self._dots_counted)
            self._dots_counted = max(0, len(self.input) - 2)
        return len(self.input) > self._limit + self._dots

    def _consume(self, size: int) -> None:
        del self.input[:size]
        self._early = max(0, self._early - size)
        self._searched = max(0, self._searched - size)
        if len(self.input) <= _HELD_INPUT:
            self._read_on()  # if only to notice that the client has gone

    def _read_on(self) -> None:
        if self._is_held and self.transport is not None and not self.transport.is_closing():
            self._is_held = False
            self.transport.resume_reading()

    async def _line(self) -> bytes | None:
        """The next line without its CR LF; None if it was longer than any may be."""
        await self._receive(CRLF, self.longest_line)
        line = bytes(self.input[: self._at])
        self._line_was_early = self._early > 0
        self._consume(self._at + 2)
        return None if self._overflowed or len(line) + 2 > self.longest_line else line

    async def _data(self, max_size: int) -> bytes | None:
        """The message behind DATA, dots unstuffed; None if it was bigger than ``max_size``."""
        self._data_since, self._arrived = self.loop.time(), 0
        # with the CR LF of the command, an empty message and a dot in the first line are nothing special
        self.input[:0] = CRLF
        self._early += 2
        await self._receive(END_OF_DATA, max_size + len(END_OF_DATA))
        octets = b"" if self._overflowed else bytes(memoryview(self.input)[: self._at + 2])
        self._consume(self._at + len(END_OF_DATA))
        if self._overflowed:
            return None
        octets = octets.replace(b"\r\n.", CRLF)[2:]
        return octets if len(octets) <= max_size else None

    # output

    def say(self, reply: Reply) -> None:
        self.say_text(reply.line)

    def say_text(self, text: str) -> None:
        self._output.append(text.encode("ascii") + CRLF)

    def flush(self) -> None:
        """Writes what was said, at once."""
        if self._output and self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"".join(self._output))
        self._output.clear()

    def dismiss(self, reply: Reply) -> None:
        """Says why and closes; the conversation ends because the connection does."""
        if self.transport is None:
            return
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # a client that doesn't read would keep the connection open for ever
            return
        self.say(reply)
        self.flush()
        self.transport.close()

    async def _secure(self, certificates: Certificates) -> None:
        """The handshake of STARTTLS; the 220 has been said. Ended, if it fails."""
        self.flush()
        self.tls_context = certificates.context
        self._waits_since = self.loop.time()
        try:
            await super().smtp_STARTTLS("")
        except TLSSetupException:
            pass
        finally:
            self._waits_since = None
        if not self.is_secured:
            # SSLProtocol tells us nothing of a connection that is lost during the handshake
            if self.transport is not None:
                self.transport.abort()
                self.connection_lost(None)
            raise Ended

    def _all_was_read(self) -> bool:
        """Of a client that closes in order: whether it has read every octet that we wrote.

        Closing with something unread is a reset, and what we wrote to a closed connection is never acknowledged.
        """
        if self.transport is None or self.transport.get_write_buffer_size():
            return False
        connection: socket.socket = self.transport.get_extra_info("socket")
        try:
            unacknowledged = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            return False
        return int.from_bytes(unacknowledged, sys.byteorder) == 0
