"""How much of a session a client may waste before it ends. Who is trusted or has logged in is borne with longer.

The law: while mail flows, only integers are compared; the time is looked at when a timer rings anyway.
"""

import asyncio

from mtaframe.guard import Visit
from mtaframe.reply import Reply
from mtaframe.smtp_server import replies
from mtaframe.smtp_server.wire import Wire

_MOST_ERRORS = 20
_MOST_IDLE_COMMANDS = 100
"""NOOP, RSET, EHLO and their like, since the last message."""
_LONGEST_WITHOUT_MESSAGE = 4
"""Times the idle timeout."""
_MOST_REFUSALS = 1000
"""Of recipients, in a session; one for good counts as fifty for now, for those are guesses of addresses."""
_FOR_GOOD = 50
_BORNE_REFUSALS = 5 * _FOR_GOOD
_REST = 1.0
"""Seconds of rest behind each refusal beyond those."""
_SMALL_CHUNK = 1024
_LEAST_RATE = 1000
"""Octets of a chunked message for which its client gets another second, once its idle time is up."""


class Tolerance(Wire):
    """``visit`` is how the connection counts among others."""

    _is_over = False
    _errors = _idle_commands = _refusals = 0
    _chunks_since = 0.0

    __slots__ = ("_brought_at", "_came_at", "visit")

    def __init__(self, loop: asyncio.AbstractEventLoop, visit: Visit) -> None:
        super().__init__(loop)
        self.visit = visit
        self._came_at = self._brought_at = loop.time()  # the last message, or the beginning

    @property
    def _is_stranger(self) -> bool:
        """Neither trusted nor logged in, nor a server that may speak for others."""
        raise NotImplementedError

    def _end(self, reply: Reply) -> None:
        self.say(reply)
        self._is_over = True

    def _complain(self, reply: Reply) -> None:
        """The client did what it should not have done."""
        self.say(reply)
        self._errors += 1
        if self._errors >= _MOST_ERRORS:
            self._end(replies.TOO_MANY_ERRORS)

    def _idle(self, reply: Reply) -> None:
        """The answer to a command that brings no message nearer."""
        self.say(reply)
        self._count_idle()

    def _count_idle(self) -> None:
        self._idle_commands += 1
        if self._idle_commands >= _MOST_IDLE_COMMANDS and self._is_stranger:
            self._end(replies.TOO_MANY_COMMANDS)

    async def _refuse_recipient(self, reply: Reply) -> None:
        self.say(reply)
        if not self._is_stranger:
            return
        self._refusals += _FOR_GOOD if reply.is_permanent else 1
        if self._refusals >= _MOST_REFUSALS:
            self._end(replies.TOO_MANY_REFUSALS)
        elif reply.is_permanent and self._refusals > _BORNE_REFUSALS:
            await self._rest(_REST)

    async def _rest(self, seconds: float) -> None:
        """Makes a client wait. If it goes meanwhile, aiosmtpd cancels the session."""
        self.flush()
        await asyncio.sleep(seconds)

    def _took_chunk(self, size: int, taken: int) -> None:
        """A chunk of a message that has ``taken`` octets by now, and goes on. Chunk by chunk, time is one."""
        if self.loop.time() - self._chunks_since > self._timeout_duration + taken / _LEAST_RATE:
            self._end(replies.TOO_SLOW)
        elif size < _SMALL_CHUNK:
            self._count_idle()

    def _overstays(self) -> bool:
        is_long = self.loop.time() - self._brought_at > _LONGEST_WITHOUT_MESSAGE * self._timeout_duration
        return is_long and self._is_stranger and not self.framing.is_bulk
