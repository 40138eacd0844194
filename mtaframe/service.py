"""Runs the server as a service: signals, reloads, signs of life to systemd, on uvloop."""

import asyncio
import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from mtaframe import systemd
from mtaframe.config import Configuration
from mtaframe.reload import watch
from mtaframe.supervisor import Supervisor

log = logging.getLogger("mtaframe")


def serve(folder: Path, ready: Callable[[Configuration, dict[str, Any]], None]) -> None:
    """Run until SIGTERM or SIGINT. SIGHUP and every change in the folder reload. ConfigError if it can't start.

    ``ready`` gets the configuration and the server's status once it is at work. A second signal ends it without
    waiting for anything.
    """
    uvloop.run(_serve(folder, ready))


async def _serve(folder: Path, ready: Callable[[Configuration, dict[str, Any]], None]) -> None:
    supervisor = Supervisor(folder)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        if stop.is_set():
            supervisor.kill()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    reloads: set[asyncio.Task[bool]] = set()

    def hang_up() -> None:
        if supervisor.configuration is None or len(reloads) > 1:
            return  # one that has yet to begin will read what is there now
        task = loop.create_task(supervisor.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    async def changed() -> None:
        await supervisor.reload()

    loop.add_signal_handler(signal.SIGHUP, hang_up)
    if not await _started(supervisor, stop):
        return
    assert supervisor.configuration is not None
    watching = loop.create_task(watch(folder, changed, stop, known=supervisor.configuration.source.digest))
    alive = loop.create_task(_sign_of_life())
    systemd.notify("READY=1")
    ready(supervisor.configuration, await supervisor.status())
    await stop.wait()
    log.info("stopping")
    await asyncio.wait([watching], timeout=2)
    await supervisor.stop()
    alive.cancel()


async def _started(supervisor: Supervisor, stop: asyncio.Event) -> bool:
    """False if it is to stop before it has begun."""
    starting, stopping = asyncio.ensure_future(supervisor.start()), asyncio.ensure_future(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait((starting,))
    stopping.cancel()
    if starting.cancelled():
        return False
    await starting
    return True


async def _sign_of_life() -> None:
    interval = systemd.watchdog_interval()
    while interval is not None:
        systemd.notify("WATCHDOG=1")
        await asyncio.sleep(interval)
