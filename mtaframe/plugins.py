"""Calls the plugins, in the order of the ``plugins`` list, and contains their faults.

pluggy keeps the registry; the call is ours, for pluggy's own lets sync plugins overtake async ones, ends at the
first exception and takes a coroutine for an answer. The law: an exception, a late answer and a wrong answer are
one thing, a fault; it never lets a message pass unseen, unless the operator said ``on_fault = "skip"``.
"""

import asyncio
import importlib
import inspect
import site
import sysconfig
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import pluggy
from pydantic import BaseModel

from mtaframe import hookspecs
from mtaframe.delivery import Delivery, Result, Route
from mtaframe.envelope import Envelope, Recipient, Session
from mtaframe.event import Event
from mtaframe.hook_answers import (
    WrongAnswer,
    fields_on_top,
    is_recipient,
    nothing,
    same_delivery,
    same_envelope,
    same_session,
)
from mtaframe.hook_call import Asked, Caller, Fault, Hook, Loaded, log_fault
from mtaframe.lifecycle import NoConfig, Transport
from mtaframe.message import Message
from mtaframe.question import Question
from mtaframe.serving import HttpRoute, Routes
from mtaframe.settings import PluginSettings
from mtaframe.verdict import Defer, Verdict
from mtaframe.watchdog import Watchdog

HOOKS = tuple(name for name in vars(hookspecs) if hasattr(getattr(hookspecs, name), f"{hookspecs.GROUP}_spec"))
"""The names of the hooks, in the order of the walk."""

TO_START = 60.0
TO_STOP = 300.0
"""Seconds that a plugin has to start or to stop: long enough for every drain, and not for ever."""

T = TypeVar("T")


class PluginError(Exception):
    """A plugin that can't be loaded. The text says which and why, for the operator."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """A verdict, and the plugin that gave it."""

    verdict: Verdict
    by: str


def installed() -> dict[str, str]:
    """Names of all plugins that an entry point offers, and where they are (``module:Class``)."""
    return {point.name: point.value for point in entry_points(group=hookspecs.GROUP)}


def plugin_class(name: str) -> type[Any]:
    """The class behind an entry point. PluginError if there is none or it can't be imported."""
    for point in entry_points(group=hookspecs.GROUP, name=name):
        try:
            found = _loaded(point)
        except Exception as error:
            raise PluginError(f'the plugin "{name}" can\'t be imported: {type(error).__name__}: {error}') from error
        if not isinstance(found, type):
            raise PluginError(f'the plugin "{name}" is not a class ({point.value})')
        return found
    raise PluginError(f'no plugin "{name}" is installed')


def _loaded(point: EntryPoint) -> object:
    """What an entry point names, even if its package was installed after this process began.

    Editable installs are found by .pth files, which Python reads at its start only: they are read once more.
    """
    importlib.invalidate_caches()
    try:
        return point.load()
    except ModuleNotFoundError:
        site.addsitedir(sysconfig.get_path("purelib"))
        return point.load()


def config_class(plugin: type[Any]) -> type[BaseModel]:
    """The model of ``conf/<name>.toml``."""
    return getattr(plugin, "Config", NoConfig)


class Plugins:
    """The plugins of one generation: typed calls of every hook, questions, transports."""

    def __init__(
        self,
        plugins: Sequence[tuple[str, Any, PluginSettings]],
        watchdog: Watchdog | None = None,
        observer: Callable[[Asked], None] | None = None,
    ) -> None:
        self.loaded = tuple(Loaded(name, instance, grants) for name, instance, grants in plugins)
        self.transports: dict[str, Transport] = {}
        self._answers: dict[type[Question[Any]], tuple[Loaded, Callable[[Any], Awaitable[Any]]]] = {}
        self._caller = Caller(watchdog or Watchdog(), observer)
        self._hooks = self._registered()
        served: list[HttpRoute] = []
        for plugin in self.loaded:
            self._serve(plugin)
            served += getattr(plugin.instance, "http_routes", tuple)()
        try:
            self.routes = Routes(served)
        except ValueError as error:
            raise PluginError(f"two plugins serve the same: {error}") from None

    def _registered(self) -> dict[str, tuple[Hook, ...]]:
        registry = pluggy.PluginManager(hookspecs.GROUP)
        registry.add_hookspecs(hookspecs)
        for plugin in self.loaded:
            for name in HOOKS:
                method = getattr(type(plugin.instance), name, None)
                if method is not None and not hasattr(method, f"{hookspecs.GROUP}_impl"):
                    raise PluginError(f'the plugin "{plugin.name}" has {name} without @hookimpl')
            try:
                registry.register(plugin.instance, plugin.name)
                registry.check_pending()
            except pluggy.PluginValidationError as error:
                raise PluginError(f'the plugin "{plugin.name}": {" ".join(str(error).split())}') from None
        hooks: dict[str, tuple[Hook, ...]] = {}
        for name in HOOKS:
            parameters = list(inspect.signature(getattr(hookspecs, name)).parameters)
            found = {h.plugin_name: h for h in getattr(registry.hook, name).get_hookimpls()}
            present = [p for p in self.loaded if p.name in found]
            hooks[name] = tuple(
                Hook(name, p, found[p.name].function, tuple(map(parameters.index, found[p.name].argnames)))
                for p in present
            )
            for plugin in present:
                plugin.hooks.append(name)
        return hooks

    def _serve(self, plugin: Loaded) -> None:
        for name, transport in getattr(plugin.instance, "transports", dict)().items():
            if name in self.transports or name in ("smtp", "lmtp"):
                raise PluginError(f'the plugin "{plugin.name}" offers the transport "{name}", which exists already')
            self.transports[name] = transport
            plugin.transports.append(name)
        for question, answer in getattr(plugin.instance, "answers", dict)().items():
            if question in self._answers:
                raise PluginError(f'the plugins "{self._answers[question][0].name}" and "{plugin.name}" both answer '
                                  f"{question.__name__}")  # fmt: skip
            self._answers[question] = (plugin, answer)

    async def start(self) -> None:
        """Start every plugin, in order. PluginError if one refuses; those already started are stopped again."""
        for index, plugin in enumerate(self.loaded):
            if plugin.grants.blocking:
                plugin.threads = ThreadPoolExecutor(8, f"plugin-{plugin.name}")
            if not hasattr(plugin.instance, "start"):
                continue
            try:
                async with asyncio.timeout(TO_START):
                    await plugin.instance.start()
            except TimeoutError:
                await self._stop_first(index)
                raise PluginError(f'the plugin "{plugin.name}" does not start within {TO_START:g} s') from None
            except Exception as error:
                await self._stop_first(index)
                raise PluginError(f'the plugin "{plugin.name}" does not start: {error}') from error

    async def _stop_first(self, count: int) -> None:
        for started in reversed(self.loaded[:count]):
            await _stop(started)

    async def stop(self) -> None:
        """Stop every plugin, last one first; a fault in one does not keep the others from stopping."""
        for plugin in reversed(self.loaded):
            await _stop(plugin)

    def adopt(self, old: "Plugins") -> None:
        """Let each plugin take over what the one of its name and class before held in RAM."""
        before = {plugin.name: plugin for plugin in old.loaded}
        for plugin in self.loaded:
            if (predecessor := before.get(plugin.name)) is None:
                continue
            plugin.closed_until = predecessor.closed_until if plugin.grants == predecessor.grants else 0.0
            if type(plugin.instance) is type(predecessor.instance) and hasattr(plugin.instance, "adopt"):
                try:
                    plugin.instance.adopt(predecessor.instance)
                except Exception as error:
                    log_fault(plugin.name, "adopt", error)

    def keep_silent(self) -> None:
        """From now on tell no plugin of results and events: those of a rehearsal did not happen."""
        self._hooks |= {"on_result": (), "on_event": ()}

    def has(self, hook: str) -> bool:
        """Whether anybody is asked."""
        return bool(self._hooks[hook])

    # The hooks, in the order of the walk.

    async def on_connect(self, session: Session) -> Session | Stopped:
        arguments: list[Any] = [session]
        return await self._chain("on_connect", arguments, 0, same_session) or arguments[0]

    async def on_rcpt(self, session: Session, envelope: Envelope, recipient: Recipient) -> Recipient | Stopped:
        arguments: list[Any] = [session, envelope, recipient]
        return await self._chain("on_rcpt", arguments, 2, is_recipient) or arguments[2]

    async def on_data(
        self, session: Session, envelope: Envelope, message: Message
    ) -> tuple[Envelope, Message] | Stopped:
        arguments: list[Any] = [session, envelope, message]
        stopped = await self._chain("on_data", arguments, slice(1, 3), same_envelope)
        return stopped or (arguments[1], arguments[2])

    async def before_sign(self, delivery: Delivery) -> Delivery | Stopped:
        arguments: list[Any] = [delivery]
        return await self._chain("before_sign", arguments, 0, same_delivery) or arguments[0]

    async def route(self, delivery: Delivery, route: Route) -> Route | Stopped:
        arguments: list[Any] = [delivery, route]
        return await self._chain("route", arguments, 1, self._known_route) or arguments[1]

    async def sign(self, envelope: Envelope, message: Message, route: Route) -> Message | Stopped:
        arguments: list[Any] = [envelope, message, route]
        return await self._chain("sign", arguments, 1, fields_on_top) or arguments[1]

    async def on_result(self, delivery: Delivery, result: Result) -> None:
        await self._tell("on_result", (delivery, result))

    async def on_event(self, event: Event) -> None:
        await self._tell("on_event", (event,))

    async def ask(self, question: Question[T]) -> T:
        """The answer of the plugin that registered for this question; its default if none did, or at a fault."""
        if (found := self._answers.get(type(question))) is None:
            return question.default
        plugin, answer = found
        hook = Hook("ask", plugin, answer, (0,))
        try:
            return await self._caller.answer(hook, (question,))  # type: ignore[no-any-return]
        except Fault:
            return question.default

    def _known_route(self, arguments: list[Any], answer: object) -> None:
        if not isinstance(answer, Route):
            raise WrongAnswer("neither a Route nor a verdict")
        if answer.transport not in ("smtp", "lmtp") and answer.transport not in self.transports:
            raise WrongAnswer("a route with a transport that nobody registered")
        arguments[1] = answer

    # The call.

    async def _chain(
        self, name: str, arguments: list[Any], subject: int | slice, accept: Callable[[list[Any], object], None]
    ) -> Stopped | None:
        for hook in self._hooks[name]:
            try:
                answer = await self._caller.answer(hook, arguments, arguments[subject], accept)
            except Fault:
                if hook.plugin.grants.on_fault == "skip":
                    continue
                return Stopped(Defer("temporary trouble while processing, try again later", "4.3.0"), hook.plugin.name)
            if answer is not None:
                return Stopped(answer, hook.plugin.name)
        return None

    async def _tell(self, name: str, arguments: Sequence[Any]) -> None:
        for hook in self._hooks[name]:
            try:
                await self._caller.answer(hook, arguments, arguments[-1], nothing)
            except Fault:
                continue


async def _stop(plugin: Loaded) -> None:
    if plugin.threads is not None:
        plugin.threads.shutdown(wait=False, cancel_futures=True)
    if hasattr(plugin.instance, "stop"):
        try:
            async with asyncio.timeout(TO_STOP):
                await plugin.instance.stop()
        except Exception as error:
            log_fault(plugin.name, "stop", error)
