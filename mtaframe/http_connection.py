"""One connection to an HTTP server: a request goes out, its answer comes back, then the next (RFC 9112).

The law: a connection is used again only where request and answer ended cleanly. Anything else ends it.
"""

import asyncio
from collections.abc import Sequence
from typing import cast

from mtaframe.alarms import Alarms
from mtaframe.http_answer import Answer, BadAnswerError

SMALL = 65_536
"""Octets that are rather copied once than written from two places."""


class HttpConnection(asyncio.Protocol):
    """``is_open``: another request may be made. ``used_at`` is when the last one ended, in the loop's time."""

    def __init__(self, alarms: Alarms) -> None:
        self.is_open = False
        self.used_at = 0.0
        self._alarms = alarms
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._ended: asyncio.Future[None] | None = None

    async def exchange(self, octets: Sequence[bytes], answer: Answer, deadline: float) -> None:
        """Send a request and read its answer to the end. TimeoutError, OSError or BadAnswerError if there is none
        by the deadline, in the loop's time.

        There is no task and no ``asyncio.timeout``, which costs twenty times what an alarm does.
        """
        assert self._transport is not None
        assert self._ended is None
        self._answer, self._ended = answer, self._loop.create_future()
        self._alarms.ring_at(deadline, self._late)
        if sum(map(len, octets)) <= SMALL:
            self._transport.write(b"".join(octets))
        else:
            self._transport.writelines(octets)
        try:
            await self._ended
        except BaseException:
            self.close()
            raise
        finally:
            self._alarms.stop(self._late)
            self._answer = self._ended = None
        # An answer that came before all was sent: what is still on its way would be taken for the next request.
        if answer.is_last or self._transport.get_write_buffer_size():
            self.close()
        self.used_at = self._loop.time()

    def close(self) -> None:
        """End it now."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def _late(self) -> None:
        self._fail(TimeoutError())

    def _fail(self, error: Exception) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._ended is None or self._ended.done():
            self.close()  # nobody has asked
            return
        try:
            if self._answer.feed(data):
                self._ended.set_result(None)
        except BadAnswerError as error:
            self._fail(error)

    def eof_received(self) -> None:
        """The transport ends itself now; ``connection_lost`` comes a moment later."""
        self.is_open = False

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._answer is None or self._ended is None or self._ended.done():
            return
        if error is not None:
            self._fail(error if isinstance(error, OSError) else ConnectionResetError())
            return
        try:
            self._answer.end()
        except BadAnswerError as cut:
            self._fail(cut)
        else:
            self._ended.set_result(None)
