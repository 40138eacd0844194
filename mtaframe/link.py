"""The line between the supervisor and a worker: calls with an answer, and words without one.

The law: what was said first is heard first; an ``async`` handler begins a moment after the others. Only plain data
crosses (numbers, text, octets, None, lists, tuples, dictionaries), written by ``marshal``, for both ends are the same
Python on one machine.
"""

import asyncio
import logging
import marshal
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

log = logging.getLogger("mtaframe.link")

Handler = Callable[..., Any]
"""Takes the plain arguments of a call; its plain answer, or an awaitable of it, goes back."""

_LENGTH = 4
_CALL, _WORD, _ANSWER, _FAULT = range(4)


class LinkError(Exception):
    """The other end is gone, or its handler has failed; the text holds no data of mail."""


class Link(asyncio.Protocol):
    """One end. ``handlers`` answer by name; ``lost`` is called once when the other end is gone."""

    def __init__(self, handlers: Mapping[str, Handler], lost: Callable[[], None] = lambda: None) -> None:
        self.handlers = dict(handlers)
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._input = bytearray()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._last = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_lost = False

    @classmethod
    async def over(
        cls, end: socket.socket, handlers: Mapping[str, Handler], lost: Callable[[], None] = lambda: None
    ) -> "Link":
        """A link over one end of a socket pair, which is its own from now on."""
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(lambda: cls(handlers, lost), sock=end)
        return link

    async def call(self, name: str, *arguments: Any) -> Any:
        """What the other end's handler answers. LinkError if it fails, or is gone before it has answered."""
        return await self.asked(name, *arguments)

    def asked(self, name: str, *arguments: Any) -> asyncio.Future[Any]:
        """The same, said at once; its answer is there to be awaited, or not."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_looked_at)
        if self.is_lost:
            future.set_exception(LinkError(f"{name}: the other end is gone"))
            return future
        self._last += 1
        self._waiting[self._last] = future
        self._write((_CALL, self._last, name, arguments))
        return future

    def tell(self, name: str, *arguments: Any) -> None:
        """Say something that has no answer."""
        if not self.is_lost:
            self._write((_WORD, 0, name, arguments))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _write(self, frame: tuple[int, int, Any, Any]) -> None:
        assert self._transport is not None
        octets = marshal.dumps(frame)
        self._transport.write(len(octets).to_bytes(_LENGTH, "big") + octets)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        self._input += data
        start = 0
        while len(self._input) - start >= _LENGTH:
            end = start + _LENGTH + int.from_bytes(self._input[start : start + _LENGTH], "big")
            if len(self._input) < end:
                break
            self._hear(*marshal.loads(memoryview(self._input)[start + _LENGTH : end]))  # noqa: S302
            start = end
        if start:
            del self._input[:start]

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(LinkError("the other end is gone"))
        self._lost()

    def _hear(self, kind: int, number: int, name: Any, content: Any) -> None:
        if kind in (_ANSWER, _FAULT):
            future = self._waiting.pop(number, None)
            if future is not None and not future.done():
                future.set_result(content) if kind == _ANSWER else future.set_exception(LinkError(content))
            return
        try:
            answer = self.handlers[name](*content)
        except Exception as error:
            self._failed(number, name, error)
            return
        if isinstance(answer, Awaitable):
            task = asyncio.ensure_future(self._answered(number, name, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._answer(number, name, answer)

    async def _answered(self, number: int, name: str, answer: Awaitable[Any]) -> None:
        try:
            content = await answer
        except Exception as error:
            self._failed(number, name, error)
            return
        self._answer(number, name, content)

    def _answer(self, number: int, name: str, content: Any) -> None:
        if number and not self.is_lost:
            try:
                self._write((_ANSWER, number, None, content))
            except ValueError as error:  # it is no plain data
                self._failed(number, name, error)

    def _failed(self, number: int, name: str, error: Exception) -> None:
        """Tell the caller what it may know: the text of a LinkError, of any other the type alone."""
        text = str(error) if isinstance(error, LinkError) else f"{name}: {type(error).__name__}"
        if not isinstance(error, LinkError):
            log.error("call failed name=%s fault=%s", name, type(error).__name__, exc_info=error)
        if number and not self.is_lost:
            self._write((_FAULT, number, None, text))


def _looked_at(future: asyncio.Future[Any]) -> None:
    """An answer that nobody waits for may be a fault."""
    if not future.cancelled():
        future.exception()
