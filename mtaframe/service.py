"""Runs the house as a service: signals, reloads, signs of life to systemd, on uvloop."""

import asyncio
import logging
import signal
from collections.abc import Callable
from pathlib import Path

import uvloop

from mtaframe import logs, systemd
from mtaframe.mta import Mta
from mtaframe.reload import watch

log = logging.getLogger("mtaframe")


def serve(folder: Path, ready: Callable[[Mta], None]) -> None:
    """Run until SIGTERM or SIGINT. SIGHUP and every change in the folder reload. ConfigError if it can't start."""
    uvloop.run(_serve(folder, ready))


async def _serve(folder: Path, ready: Callable[[Mta], None]) -> None:
    mta = Mta(folder)
    await mta.start()
    assert mta.configuration is not None
    logs.set_up(mta.configuration.settings.logs)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    reloads: set[asyncio.Task[bool]] = set()

    def hang_up() -> None:
        task = loop.create_task(mta.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    async def changed() -> None:
        await mta.reload()

    loop.add_signal_handler(signal.SIGHUP, hang_up)
    watching = loop.create_task(watch(folder, changed, stop, known=mta.configuration.source.digest))
    alive = loop.create_task(_sign_of_life())
    systemd.notify("READY=1")
    ready(mta)
    await stop.wait()
    log.info("stopping")
    alive.cancel()
    await asyncio.wait([alive, watching], timeout=2)
    await mta.stop()


async def _sign_of_life() -> None:
    interval = systemd.watchdog_interval()
    while interval is not None:
        systemd.notify("WATCHDOG=1")
        await asyncio.sleep(interval)
