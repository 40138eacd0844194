"""The process that carries no mail: it holds the doors open, keeps the books, and sees to it that workers are at work.

The law: a configuration takes effect in all workers or in none. A worker that dies takes nothing along that was
acknowledged, and no listening socket closes for it.
"""

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtaframe import logs, systemd
from mtaframe.assembly import listening, read
from mtaframe.books import Books
from mtaframe.clock import SystemClock
from mtaframe.config import ConfigError, Configuration, Fault
from mtaframe.control import ControlError, ControlServer, socket_path
from mtaframe.crew import LOOK, STUCK, Deaths, WorkerProcess, everywhere
from mtaframe.link import Handler, LinkError
from mtaframe.page import WORKERS, Page
from mtaframe.plugins import plugin_class
from mtaframe.settings import Settings
from mtaframe.sockets import address_of, closed, closed_new, handed_over, key_of
from mtaframe.tail import Lookers

log = logging.getLogger("mtaframe")

TRIES = 10
"""How often an address is tried that is still in use when the server starts."""
AGAIN = 5.0
"""Seconds until another worker is started, where the last one could not begin."""


class Supervisor:
    """``folder`` is the configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration: Configuration | None = None
        self.number = 0
        """Counts the configurations that were in force."""
        self._clock = SystemClock()
        self._page = Page()
        self._books: Books | None = None
        self._count = 1
        self._workers: list[WorkerProcess] = []
        """Those at work."""
        self._taken: set[int] = set()
        """Places on the page."""
        self._sockets: dict[str, socket.socket] = {}
        self._control: ControlServer | None = None
        self._deaths = Deaths()
        self._changing, self._renewing = asyncio.Lock(), asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._following: dict[WorkerProcess, asyncio.Task[None]] = {}
        """Each process, until what it left is in order."""
        self._lookers = Lookers(self._look)
        self._is_stopping = False

    async def start(self) -> None:
        """Read the folder, open the doors, start the workers. ConfigError if anything stands against it."""
        self._sockets = handed_over()
        configuration = read(self.folder)
        logs.set_up(configuration.settings.logs)
        self._count = _workers(configuration.settings)
        sockets: dict[str, socket.socket] = {}
        try:
            self._books = await Books.opened(configuration, self._clock, self._page)
            sockets = await self._doors(configuration)
            async with self._changing:
                started = await asyncio.gather(*(self._started() for _ in range(self._count)))
                self._workers = [worker for worker in started if worker in self._following]
                await self._put_in_force(configuration, sockets, first=True)
            self._control = ControlServer(socket_path(configuration.settings.control, self.folder), self._call)
            await self._control.start()
        except ControlError as error:
            await self.stop()
            raise ConfigError([Fault(str(self.folder), None, "control", str(error))]) from None
        except BaseException:
            self.kill()
            await self.stop()
            closed_new(sockets, self._sockets)
            raise
        for fault in configuration.warnings:
            log.warning("%s", fault)
        self._background(self._look_after())

    async def _doors(self, configuration: Configuration) -> dict[str, socket.socket]:
        """The sockets; the workers of a server that has just died may hold an address for another moment."""
        for _ in range(TRIES):
            try:
                return listening(configuration, self._sockets)
            except ConfigError:
                await asyncio.sleep(0.2)
        return listening(configuration, self._sockets)

    async def reload(self) -> bool:
        """Read the folder again. False, with the faults in the log, if the running configuration stays."""
        async with self._changing:
            if self._is_stopping:
                return False
            before = self._settings
            systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                configuration = read(self.folder)
                if self.configuration and configuration.source.digest == self.configuration.source.digest:
                    log.info("configuration read again: the files are the same, what they refer to is taken up anew")
                await self._put_in_force(configuration, listening(configuration, self._sockets))
            except ConfigError as error:
                for fault in error.faults:
                    log.error("%s", fault)
                log.error("configuration not changed: mend the faults above; the running one stays")
                return False
            finally:
                systemd.notify("READY=1")
            if _workers(configuration.settings) != self._count or configuration.settings.state != before.state:
                log.warning("workers and [state] stay as they were until the next restart")
        log.info("configuration in force number=%d", self.number)
        return True

    async def restart(self) -> None:
        """Replace the workers one after the other, for new code: one more begins, then an old one finishes."""
        async with self._renewing:  # with two at once there would be more workers than places that are looked at
            for old in list(self._workers):
                async with self._changing:
                    if self._is_stopping:
                        raise ControlError("the server stops")
                    if old not in self._workers:
                        continue  # it has died, and whoever takes its place is new
                    if not await self._manned(await self._started()):
                        raise ControlError("a new worker could not begin, so the others stay; the log says why")
                    if old in self._workers:
                        self._workers.remove(old)
                await old.drain(self._settings.drain)

    async def stop(self) -> None:
        """Have the workers finish what is under way within ``drain``, then end everything."""
        self._is_stopping = True
        systemd.notify("STOPPING=1")
        seconds = self._settings.drain if self.configuration else 0.0
        for task in self._tasks:
            task.cancel()
        for worker in self._following:
            if worker not in self._workers and not worker.is_leaving:
                worker.kill()  # it has not begun
        await asyncio.gather(*(worker.drain(seconds) for worker in self._workers))
        async with self._changing:  # whoever was about to change something finds no worker for it
            while self._following:
                await asyncio.wait(self._following.values())
        if self._control is not None:
            await self._control.close()
        if self._books is not None:
            await self._books.close()
        for one in self._sockets.values():
            closed(one)
        self._sockets.clear()

    def kill(self) -> None:
        """End the workers at once."""
        for worker in self._following:
            worker.kill()

    @property
    def _shared(self) -> Books:
        assert self._books is not None
        return self._books

    @property
    def _settings(self) -> Settings:
        assert self.configuration is not None
        return self.configuration.settings

    # configurations

    async def _put_in_force(
        self, configuration: Configuration, sockets: dict[str, socket.socket], *, first: bool = False
    ) -> None:
        """All prepare, then all switch. ConfigError, and nothing has changed, if one of them can't.

        Who dies of it is replaced, and has no say.
        """
        try:
            await self._prepared(configuration, sockets, first)
        except BaseException:
            closed_new(sockets, self._sockets)
            raise
        await asyncio.gather(*(self._switched(worker) for worker in self._workers))
        for key, one in self._sockets.items():
            if sockets.get(key) is not one:
                closed(one)
        self.configuration, self._sockets = configuration, sockets
        logs.set_up(configuration.settings.logs)
        self.number += 1

    async def _prepared(self, configuration: Configuration, sockets: dict[str, socket.socket], first: bool) -> None:
        answers = await asyncio.gather(
            *(
                worker.begin(self._shared.keys, configuration, sockets)
                if first
                else worker.prepare(configuration, sockets)
                for worker in self._workers
            ),
            return_exceptions=True,
        )
        faults = next((answer for answer in answers if isinstance(answer, list) and answer), None)
        main = str(self.folder / "mtaframe.toml")
        if self._is_stopping:
            faults = [Fault(main, None, "", "the server stops")]
        elif faults is None and any(isinstance(answer, list) for answer in answers):
            return
        for answer in answers:
            if isinstance(answer, BaseException):
                log.error("worker can't take the configuration fault=%s: %s", type(answer).__name__, answer)
        new = [key for key, one in sockets.items() if self._sockets.get(key) is not one]
        await asyncio.gather(*(worker.discard(new) for worker in self._workers), return_exceptions=True)
        raise ConfigError(faults or [Fault(main, None, "workers", "no worker could begin; the log says why")])

    async def _switched(self, worker: WorkerProcess) -> None:
        """A worker that can't do it is replaced: the others are on the new configuration already."""
        try:
            await worker.link.call("switch")
        except LinkError as error:
            log.error("worker can't switch pid=%d fault=%s", worker.pid, error)
            worker.kill()

    # workers

    async def _started(self) -> WorkerProcess:
        """A new process at the first free place of the page."""
        number = next(number for number in range(WORKERS) if number not in self._taken)
        self._taken.add(number)
        try:
            worker = await WorkerProcess.started(number, self._count, self._page, self._handlers)
        except BaseException:
            self._taken.discard(number)
            raise
        self._shared.joined(worker, worker.link)
        self._following[worker] = asyncio.ensure_future(self._followed(worker))
        if self._is_stopping:
            worker.kill()  # nobody will ask it to end
        return worker

    def _handlers(self, worker: WorkerProcess) -> Mapping[str, Handler]:
        asked = lambda name, arguments: everywhere(self._workers, name, arguments)  # noqa: E731
        return {**self._shared.handlers(worker), "seen": self._lookers.seen, "everywhere": asked}

    async def _manned(self, worker: WorkerProcess) -> bool:
        """Whether it is at work with the rest, on the configuration in force."""
        assert self.configuration is not None
        try:
            faults = await worker.begin(self._shared.keys, self.configuration, self._sockets)
            if not faults:
                await worker.link.call("switch")
                if worker not in self._following:
                    return False  # it has died since
                self._workers.append(worker)
                worker.link.tell("tail", bool(self._lookers))
                return True
        except (LinkError, OSError):
            faults = []
        for fault in faults:
            log.error("%s", fault)
        worker.is_leaving = bool(faults)
        worker.kill()
        return False

    async def _followed(self, worker: WorkerProcess) -> None:
        """Until its end; then what it left is put in order, and another one takes its place."""
        status = await worker.ended()
        self._taken.discard(worker.number)
        self._page.left(worker.number)
        await self._shared.left(worker)
        if worker in self._workers:
            self._workers.remove(worker)
        del self._following[worker]
        if not (worker.is_leaving or self._is_stopping):
            log.error("worker died pid=%d status=%d", worker.pid, status)
            self._background(self._replaced(self._deaths.pause(asyncio.get_running_loop().time())))

    async def _replaced(self, pause: float) -> None:
        """Another worker; where it can't begin by the configuration in force, another one after a while."""
        while True:
            await asyncio.sleep(pause)
            async with self._changing:
                if self._is_stopping or len(self._workers) >= self._count:
                    return
                try:
                    worker = await self._started()
                except OSError as error:
                    log.error("no worker can be started reason=%s", error.strerror)
                    pause = AGAIN
                    continue
                if await self._manned(worker):
                    log.info("worker started pid=%d", worker.pid)
                    return
                if not worker.is_leaving:
                    return  # it has died too, and whoever follows it sees to the next one
            pause = AGAIN

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            for worker in self._workers:
                if worker.is_stuck_at_this_look() and not worker.is_leaving:
                    log.error("worker stuck pid=%d seconds=%d: it is replaced", worker.pid, STUCK)
                    worker.kill()

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # what the control socket may ask

    async def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        """``status``, ``reload``, ``restart``, ``tail``, and every plugin's commands."""
        if name == "status":
            return await self.status()
        if name == "reload":
            return {"changed": await self.reload()}
        if name == "restart":
            return await self.restart()
        if name == "drain":
            return os.kill(os.getpid(), signal.SIGTERM)  # as the system would
        if name == "tail":
            return self._lookers.lines()
        if name.startswith("state."):
            return await self._shared.answer(name, arguments)
        return await self._command(name, arguments)

    async def _command(self, name: str, arguments: dict[str, Any]) -> Any:
        """A plugin's command: asked of one worker, or of all where each has something of its own."""
        plugin, _, method = name.partition(".")
        if self.configuration is None or plugin not in self.configuration.plugins:
            raise ControlError(f'the plugin "{plugin}" does not run; is it listed, and the configuration in force?')
        gather = getattr(getattr(plugin_class(plugin), method, None), "_mtaframe_gather", None)
        asked = self._workers if gather is not None else self._workers[:1]
        try:
            answers = await asyncio.gather(*(worker.link.call("command", name, arguments) for worker in asked))
        except LinkError as error:
            raise ControlError(f"a worker did not answer: {error}") from None
        values = [value for kind, value in answers if kind == "value"]
        if not values:
            raise ControlError(answers[0][1] if answers else "no worker is at work; the log says why")
        return gather(values) if gather is not None else values[0]

    async def status(self) -> dict[str, Any]:
        """The state of the server in plain data."""
        workers = list(self._workers)
        answers = await asyncio.gather(*(worker.status() for worker in workers))
        rows = [answer for answer in answers if answer is not None]
        return {
            "hostname": rows[0]["hostname"] if rows else None,
            "generation": self.number,
            "under_way": sum(row["under_way"] for row in rows),
            "in_flight": sum(row["in_flight"] for row in rows),
            "held": sum(row["held"] for row in rows),
            "connections": sum(row["connections"] for row in rows),
            **self._shared.figures,
            "listeners": self._addresses(),
            "workers": [worker.row(answer) for worker, answer in zip(workers, answers, strict=True)],
            "plugins": merged([row["plugins"] for row in rows]),
            "is_trial": any(row["is_trial"] for row in rows),
        }

    def _addresses(self) -> dict[str, list[str]]:
        """Where each listener really listens: a port 0 has become the one that the system chose."""
        return {
            listener.name: [address_of(self._sockets[key_of(listener.name, address)]) for address in listener.addresses]
            for listener in self._settings.listener
        }

    def _look(self, on: bool) -> None:
        for worker in self._workers:
            worker.link.tell("tail", on)


def merged(tables: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """One row per plugin of those of all workers: counts added up, times as the mean of all calls."""
    rows: dict[str, dict[str, Any]] = {}
    for table in tables:
        for row in table:
            known = rows.setdefault(row["name"], dict(row) | {"calls": 0, "faults": 0, "microseconds_per_call": 0})
            spent = [one["calls"] * one["microseconds_per_call"] for one in (known, row)]
            known["calls"] += row["calls"]
            known["faults"] += row["faults"]
            known["microseconds_per_call"] = round(sum(spent) / known["calls"]) if known["calls"] else 0
    return list(rows.values())


def _workers(settings: Settings) -> int:
    if settings.workers != "auto":
        return settings.workers
    return len(os.sched_getaffinity(0))
