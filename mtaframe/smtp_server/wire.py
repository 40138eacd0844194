"""One connection, in and out, with TLS and the idle timer; `framing` takes its octets apart, `conversation` obeys them.

The law: a client that does not read is not heard, and one that sends more than we can use has to wait. This is where
aiosmtpd is: its STARTTLS is used, its command loop is not (it ends lines at a bare LF, and waits for each line of a
message), nor are its streams (they take more memory than a message waiting for its answer).
"""

import asyncio
import fcntl
import logging
import socket
import sys
import termios
from collections.abc import Awaitable
from typing import cast

from aiosmtpd.smtp import SMTP, TLSSetupException

from mtaframe.entrance import Certificates
from mtaframe.reply import Reply
from mtaframe.smtp_server.framing import CRLF, Framing

log = logging.getLogger("mtaframe.smtp_server")

_HELD_INPUT = 65_536
"""Octets that wait for a busy server before the client is made to wait."""
_LEAST_RATE = 1000
"""Octets of a message for which its client gets another second, once the first idle time is up."""
_HELD_REPLIES = 500


class Ended(Exception):
    """Nothing more will come from this client."""


class Wire(SMTP):
    """``framing`` holds what was received and not taken yet; ``say`` gathers replies, ``flush`` writes them.

    A subclass is told by ``_vanished`` that the client has gone while we were working, and implements
    ``_conversation``.
    """

    longest_line = 512

    # what few connections have anything to say of is no attribute of each: thousands may be held
    tls_context = _tls_protocol = None
    _original_transport: asyncio.Transport | None = None
    is_secured = False
    _is_held = False
    _room: "asyncio.Future[None] | None" = None  # while the client does not read what we write
    _has_ended = False

    __slots__ = (
        "_arrived", "_data_since", "_expected", "_line_was_early", "_output", "_timeout_duration",
        "_timeout_handle", "_waiter", "_waits_since", "framing", "loop", "task", "transport",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # not aiosmtpd's own __init__: it inspects all of its members for every connection, and makes streams
        self.loop = loop
        self.transport: asyncio.Transport | None = None
        self.task: asyncio.Task[None] | None = None
        self._timeout_handle: asyncio.TimerHandle | None = None
        self._timeout_duration = 300.0

        self.framing = Framing(self.longest_line)
        self._line_was_early = False
        self._waiter: asyncio.Future[bool] | None = None
        self._waits_since: float | None = None
        self._data_since = 0.0
        self._arrived = 0
        self._expected = 0  # octets of a message that there is room for
        self._output: list[bytes] = []

    async def _conversation(self) -> None:
        raise NotImplementedError

    def _grows(self) -> None:
        """More of a message has come than was expected."""
        raise NotImplementedError

    def _vanished(self, *, in_order: bool) -> None:
        """The client has closed its end (in order), or the connection was lost."""
        raise NotImplementedError

    def _overstays(self) -> bool:
        """Whether the client is no more welcome, though it is not silent; asked from time to time."""
        return False

    # what aiosmtpd and asyncio call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once more when STARTTLS is done: what came in clear is forgotten (RFC 3207 §5)."""
        self.framing.forget()
        self.is_secured = transport.get_extra_info("ssl_object") is not None
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._reset_timeout()
        if self.task is None:
            self.task = self.loop.create_task(self._handle_client())

    def data_received(self, data: bytes) -> None:
        framing, waiter = self.framing, self._waiter
        framing.input += data
        if waiter is None or waiter.done():
            if len(framing.input) > _HELD_INPUT and not self._is_held and self.transport is not None:
                self._is_held = True
                self.transport.pause_reading()
        elif framing.is_there():
            self._waiter = self._waits_since = None
            waiter.set_result(True)
        elif framing.is_bulk:
            self._arrived += len(data)
            if self._arrived > self._expected:
                self._grows()
            self._waits_since = min(self.loop.time(), self._data_since + self._arrived / _LEAST_RATE)

    def eof_received(self) -> bool:
        """What was received before is still obeyed; TLS can't stay half open."""
        self._has_ended = True
        self._vanished(in_order=True)
        self._wake()
        return not self.is_secured

    def connection_lost(self, error: Exception | None) -> None:
        self._has_ended = True
        self._vanished(in_order=False)
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        if self._original_transport is not None:
            self._original_transport.close()
        self.resume_writing()
        if self.task is not None:
            self.task.cancel()
        self.transport = None

    def pause_writing(self) -> None:
        self._room = self.loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

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
        if left > 0.001 and not (self._waits_since is not None and self._overstays()):
            self._reset_timeout(left)
        else:
            self._reset_timeout()
            self.dismiss(Reply(421, "4.4.2", "silent for too long"))

    # input

    async def _come(self, is_there: bool) -> None:
        """Waits until what the framing expects is there, if it is not. Ended, if it will never be."""
        framing = self.framing
        if is_there and len(self._output) < _HELD_REPLIES:
            return
        self.flush()
        transport = self.transport
        if transport is None or transport.is_closing() or self._has_ended:
            raise Ended
        if self._room is not None:
            self._waits_since = self.loop.time()
            try:
                await self._room
            finally:
                self._waits_since = None
            if self._has_ended:
                raise Ended
            is_there = is_there or framing.is_there()
        elif is_there:
            await asyncio.sleep(0)  # a flood of commands: it is the others' turn
        if not is_there:
            silence = self._silence()
            if self._is_held:
                self._read_on()
            if self._has_ended or not await silence:
                raise Ended

    def _silence(self) -> asyncio.Future[bool]:
        """Whether what the framing expects has come; False if the client has ended. Waiting, it must not take long."""
        self._waits_since = self.loop.time()
        self._waiter = self.loop.create_future()
        return self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(False)
        self._waiter = self._waits_since = None

    def _read_on(self) -> None:
        """If only to notice that the client has gone."""
        is_short = len(self.framing.input) <= _HELD_INPUT or self._waiter is not None
        if is_short and self._is_held and self.transport is not None and not self.transport.is_closing():
            self._is_held = False
            self.transport.resume_reading()

    async def _line(self) -> bytes | None:
        """The next line without its CR LF; None if it was longer than any may be."""
        framing = self.framing
        is_there = bool(framing.input) and framing.is_there()
        if not is_there or len(self._output) >= _HELD_REPLIES:
            await self._come(is_there)
        self._line_was_early = framing.early > 0
        line = framing.take_line()
        if self._is_held:
            self._read_on()
        return line

    def _bulk(self) -> Awaitable[None]:
        """Waits for a message, or a part of one, at whatever pace is fast enough."""
        self._data_since, self._arrived = self.loop.time(), 0
        return self._come(self.framing.is_there())

    # output

    def say(self, reply: Reply) -> None:
        self._output.append(reply.octets)

    def say_text(self, text: str) -> None:
        self._output.append(text.encode("ascii") + CRLF)

    def flush(self) -> None:
        """Writes what was said, at once."""
        if not self._output:
            return
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"".join(self._output) if len(self._output) > 1 else self._output[0])
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
