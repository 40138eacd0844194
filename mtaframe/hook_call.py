"""One call of one plugin's hook: timed, watched, bounded, and its fault contained.

The law: an exception, a late answer and a wrong answer are one thing, a fault. It is logged with the plugin's
name, counted, and never tells what the plugin was working on.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import CoroutineType, coroutine
from typing import Any

from mtaframe.alarms import Alarms
from mtaframe.clock import SystemClock
from mtaframe.hook_answers import WrongAnswer, check_verdict
from mtaframe.settings import PluginSettings
from mtaframe.verdict import Defer, Discard, Reject
from mtaframe.watchdog import Watchdog

log = logging.getLogger("mtaframe.plugins")

FAULTS_IN_A_ROW = 5
BREAKER_REST = 30.0
"""A plugin with this many faults in a row is not called for this many seconds."""
GRACE = 1.0
"""Seconds that a late hook has to clean up after it was cancelled."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One hook call as ``mtaframe explain`` shows it.

    ``subject`` is what the hook may change, as it was before (on_data: envelope and message); ``answer`` is what
    the plugin said; ``fault`` tells why that did not count.
    """

    plugin: str
    hook: str
    subject: object
    answer: object
    fault: str | None
    took: float


@dataclass(slots=True)
class Loaded:
    """One plugin of a generation, with the operator's grants and what its calls have cost."""

    name: str
    instance: Any
    grants: PluginSettings
    calls: int = 0
    faults: int = 0
    seconds: float = 0.0
    faults_in_a_row: int = 0
    closed_until: float = 0.0
    threads: ThreadPoolExecutor | None = None
    hooks: list[str] = field(default_factory=list)
    transports: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Hook:
    """One plugin's implementation of one hook; ``indices`` picks the arguments that it wants of the spec's."""

    name: str
    plugin: Loaded
    function: Callable[..., Any]
    indices: tuple[int, ...]


class Fault(Exception):
    """A plugin failed; it has been logged and counted."""


class Caller:
    """Calls hooks for one generation of plugins."""

    __slots__ = ("_alarms", "_observer", "_watchdog")

    def __init__(self, watchdog: Watchdog, observer: Callable[[Asked], None] | None = None) -> None:
        self._watchdog = watchdog
        self._alarms = Alarms(SystemClock())
        self._observer = observer

    async def answer(
        self,
        hook: Hook,
        arguments: Sequence[Any],
        subject: object = None,
        accept: Callable[[list[Any], object], None] | None = None,
    ) -> Any:
        """What the plugin said: a verdict or None once ``accept`` took a changed value. Fault if it failed.

        A hook that does not suspend costs no task, no timer and no coroutine of ours beside this one.
        """
        plugin = hook.plugin
        began = time.monotonic()
        if plugin.closed_until > began:
            raise Fault
        answer: Any = None
        try:
            if plugin.threads is None:
                answer = self._begun(hook, arguments, began)
                if type(answer) is _Suspended:
                    answer = await _finish(answer.pending, answer.first, plugin, self._watchdog, self._alarms)
            else:
                answer = await _from_thread(hook, arguments, plugin.threads)
            if accept is None:
                return answer
            said = None
            if answer is not None:
                if isinstance(answer, (Reject, Defer, Discard)):
                    check_verdict(answer, hook.name, plugin.grants)
                    said = answer
                else:
                    accept(arguments, answer)  # type: ignore[arg-type]
            plugin.faults_in_a_row = 0
            if self._observer is not None:
                self._observe(hook, subject, answer, None, began)
            return said
        except Exception as error:
            self._observe(hook, subject, answer, fault_text(error), began)
            self._count_fault(hook, error)
            raise Fault from None
        finally:
            plugin.calls += 1
            plugin.seconds += time.monotonic() - began

    def _begun(self, hook: Hook, arguments: Sequence[Any], now: float) -> Any:
        """What the hook answers at once; ``_Suspended`` if it waits for something."""
        watchdog = self._watchdog
        watchdog.since = now
        watchdog.running = hook.plugin.name
        try:
            answer = hook.function(*[arguments[index] for index in hook.indices])
            if not isinstance(answer, CoroutineType):
                return answer
            try:
                return _Suspended(answer, answer.send(None))
            except StopIteration as end:
                return end.value
        finally:
            watchdog.running = None

    def _observe(self, hook: Hook, subject: object, answer: object, fault: str | None, began: float) -> None:
        if self._observer is not None:
            took = time.monotonic() - began
            self._observer(Asked(hook.plugin.name, hook.name, subject, answer, fault, took))

    def _count_fault(self, hook: Hook, error: Exception) -> None:
        plugin = hook.plugin
        log_fault(plugin.name, hook.name, error)
        plugin.faults += 1
        plugin.faults_in_a_row += 1
        if plugin.faults_in_a_row >= FAULTS_IN_A_ROW:
            plugin.closed_until = time.monotonic() + BREAKER_REST
            plugin.faults_in_a_row = FAULTS_IN_A_ROW - 1
            log.error("plugin rests after faults plugin=%s seconds=%g", plugin.name, BREAKER_REST)


@dataclass(slots=True)
class _Suspended:
    """A hook that has begun, and what its first step waits for."""

    pending: Coroutine[Any, Any, Any]
    first: Any


async def _finish(
    pending: Coroutine[Any, Any, Any], first: Any, plugin: Loaded, watchdog: Watchdog, alarms: Alarms
) -> Any:
    """The rest of a hook that suspended: only now it costs an alarm. A late one is cancelled, then given up.

    Our own cancellations are taken back; whoever else cancels the task meanwhile is obeyed.
    """
    task = asyncio.current_task()
    assert task is not None
    late: list[float] = []  # since when
    before, ours = task.cancelling(), 0

    def cancel() -> None:
        nonlocal ours
        ours += 1
        task.cancel()

    def ring() -> None:
        now = time.monotonic()
        late.append(now)
        alarms.ring_at(now + GRACE, cancel)
        cancel()

    alarms.ring_at(time.monotonic() + plugin.grants.budget, ring)
    try:
        return await _resumed(pending, first, plugin.name, watchdog, late)
    except asyncio.CancelledError:
        if not late:
            raise
        raise TimeoutError("late") from None
    finally:
        alarms.stop(ring)
        alarms.stop(cancel)
        for _ in range(ours):
            task.uncancel()
        if late and task.cancelling() > before:
            raise asyncio.CancelledError


@coroutine
def _resumed(
    pending: Coroutine[Any, Any, Any], waits_for: Any, name: str, watchdog: Watchdog, late: list[float]
) -> Generator[Any, Any, Any]:
    """Steps a coroutine from inside the task that began it, and says whose code has the loop meanwhile."""
    cancelled_late = False
    while True:
        sent: Any = None
        thrown: BaseException | None = None
        try:
            sent = yield waits_for
        except BaseException as error:
            thrown = error
        if thrown is not None and late and cancelled_late:
            _abandon(pending)
            raise TimeoutError("late, and did not end when cancelled")
        cancelled_late = bool(late)
        watchdog.since = time.monotonic()
        watchdog.running = name
        try:
            waits_for = pending.throw(thrown) if thrown is not None else pending.send(sent)
        except StopIteration as end:
            if late:
                raise TimeoutError("late") from None
            return end.value
        finally:
            watchdog.running = None


def _abandon(pending: Coroutine[Any, Any, Any]) -> None:
    try:
        pending.close()
    except BaseException as error:  # whatever it does now, it is out
        log.debug("a hook resisted its end: %s", type(error).__name__)


async def _from_thread(hook: Hook, arguments: Sequence[Any], threads: ThreadPoolExecutor) -> Any:
    wanted = [arguments[index] for index in hook.indices]
    future = asyncio.get_running_loop().run_in_executor(threads, _in_thread, hook.function, wanted)
    return await asyncio.wait_for(future, hook.plugin.grants.budget)


def _in_thread(function: Callable[..., Any], arguments: list[Any]) -> Any:
    answer = function(*arguments)
    if isinstance(answer, CoroutineType):
        return asyncio.run(answer)
    return answer


def fault_text(error: Exception) -> str:
    """What may be logged of a fault: our own words in full, of a foreign exception its type and place only."""
    if isinstance(error, WrongAnswer):
        return f"wrong answer: {error}"
    if isinstance(error, TimeoutError):
        return "late answer"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def log_fault(plugin: str, hook: str, error: Exception) -> None:
    log.error("plugin fault plugin=%s hook=%s fault=%s", plugin, hook, fault_text(error))
