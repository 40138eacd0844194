"""An event loop in which nothing happens, for parsers that are coroutines or protocols: they run at full speed."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class _Handle:
    def cancel(self) -> None:
        pass


_HANDLE = _Handle()


class StillLoop:
    """Time stands still, timers never ring. What is read comes from the connection itself, at once."""

    def time(self) -> float:
        return 0.0

    def get_debug(self) -> bool:
        return False

    def call_soon(self, *arguments: Any, **more: Any) -> _Handle:
        return _HANDLE

    call_at = call_later = call_soon

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)  # type: ignore[arg-type]

    async def sock_recv(self, connection: Any, size: int) -> bytes:
        received: bytes = connection.recv(size)
        return received


class StillTask:
    """As much of a task as ``asyncio.timeout`` asks for."""

    def cancelling(self) -> int:
        return 0

    uncancel = cancelling


LOOP = StillLoop()
_TASK = StillTask()


@contextmanager
def running() -> Iterator[None]:
    """What asks for the running loop or task gets the still one."""
    before = asyncio._get_running_loop()
    loop: Any = LOOP
    task: Any = _TASK
    asyncio._set_running_loop(loop)
    asyncio.tasks._enter_task(loop, task)
    try:
        yield
    finally:
        asyncio.tasks._leave_task(loop, task)
        asyncio._set_running_loop(before)


class Transport:
    """Keeps what is written; ``is_closed`` after close and abort."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_closed = False

    def write(self, octets: bytes) -> None:
        self.written += octets

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_closed

    def get_extra_info(self, name: str) -> None:
        return None


def finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """The outcome of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        outcome: T = stop.value
        return outcome
    coroutine.close()
    raise AssertionError("it waits for something")
