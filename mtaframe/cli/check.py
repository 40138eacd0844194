"""``mtaframe check``: everything that stands against a configuration, at once, without touching the running server."""

import asyncio
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtaframe.cli.options import conf_option, json_option
from mtaframe.cli.printing import Failed, log_kept, print_json

if TYPE_CHECKING:
    from mtaframe.config import Fault, Source


@click.command(short_help="Every fault and warning of the configuration.")
@conf_option
@json_option
def check(folder: Path, as_json: bool) -> None:
    """Check the whole configuration: every fault and warning, with file, line and key.

    Files are read and plugins are built, started and stopped, so that missing keys show; no listener is opened.
    Warnings do not make it fail.
    """
    faults = asyncio.run(faults_of(folder))
    errors = sum(fault.kind == "error" for fault in faults)
    warnings = len(faults) - errors
    if as_json:
        print_json({"good": not errors, "faults": [dataclasses.asdict(fault) for fault in faults]})
    else:
        for fault in faults:
            click.echo(str(fault))
    if errors:
        raise Failed(f"{_count(errors, 'fault')} in {folder}, {_count(warnings, 'warning')}")
    if not as_json:
        click.echo(f"{folder} is good, {_count(warnings, 'warning')}")


async def faults_of(folder: Path) -> list["Fault"]:
    """All faults and warnings, also those that only a built plugin can find."""
    from mtaframe.config import ConfigError, snapshot

    try:
        source = snapshot(folder)
    except ConfigError as error:
        return list(error.faults)
    return await faults_of_source(source)


async def faults_of_source(source: "Source") -> list["Fault"]:
    """The same of files as they are, or as they might be written."""
    from mtaframe.assembly import Outbound, built, checked
    from mtaframe.clock import SystemClock
    from mtaframe.config import ConfigError, Fault, plugin_warnings

    try:
        configuration = checked(source)
    except ConfigError as error:
        return list(error.faults)
    faults = list(configuration.warnings)
    clock = SystemClock()
    outbound = Outbound(configuration.settings, clock)
    try:
        with log_kept() as said:
            generation = await built(configuration, 1, outbound, clock, None)
            await generation.plugins.stop()
        loaded = generation.plugins.loaded
        behind = {plugin.name: getattr(plugin.instance, "behind", ()) for plugin in loaded}
        hooks = {plugin.name: plugin.hooks for plugin in loaded}
        serving = [plugin.name for plugin in loaded if getattr(plugin.instance, "http_routes", tuple)()]
        faults.extend(plugin_warnings(configuration, hooks, behind, serving))
    except ConfigError as error:
        faults.extend(error.faults)
    finally:
        await outbound.close()
    for record in said:
        place = record.name.removeprefix("mtaframe.")
        faults.append(Fault(str(source.folder), None, place, record.getMessage(), "warning"))
    return faults


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
