"""``mtaframe plugins``: which plugins are at work, in which order, with which rights and at what cost."""

import asyncio
from pathlib import Path
from typing import Any

import click

from mtaframe.cli.options import conf_option, json_option
from mtaframe.cli.plugin_commands import ask_server
from mtaframe.cli.printing import faulty, log_kept, print_json, print_table


@click.command(short_help="The plugins in their order, and what they cost.")
@conf_option
@json_option
def plugins(folder: Path, as_json: bool) -> None:
    """The plugins in the order they are asked, and those that are installed but not listed.

    If the server runs: how often each was called, its faults, and the microseconds that a call took.
    """
    from mtaframe.config import ConfigError
    from mtaframe.plugins import installed

    try:
        with log_kept():
            listed = asyncio.run(_listed(folder))
    except ConfigError as error:
        raise faulty(error, folder) from None
    measured = _measured(folder)
    for plugin in listed:
        plugin.update(measured.get(plugin["name"], {}))
    names = {plugin["name"] for plugin in listed}
    others = {name: place for name, place in sorted(installed().items()) if name not in names}
    if as_json:
        print_json({"plugins": listed, "not_listed": others})
        return
    if listed:
        print_table([_row(plugin) for plugin in listed])
    if others:
        click.echo(f"{'' if not listed else chr(10)}installed, but not listed in {folder / 'mtaframe.toml'}:")
        print_table([{"name": name, "class": place} for name, place in others.items()])


async def _listed(folder: Path) -> list[dict[str, Any]]:
    """What the configuration and the classes say of each plugin."""
    from mtaframe.assembly import Outbound, built, read
    from mtaframe.clock import SystemClock

    configuration = read(folder)
    clock = SystemClock()
    outbound = Outbound(configuration.settings, clock)
    try:
        generation = await built(configuration, 1, outbound, clock, None)
        await generation.plugins.stop()
    finally:
        await outbound.close()
    return [
        {
            "name": plugin.name,
            "hooks": plugin.hooks,
            "transports": plugin.transports,
            "on_fault": plugin.grants.on_fault,
            "budget": f"{plugin.grants.budget:g}s",
            "blocking": plugin.grants.blocking,
            "allow_discard": plugin.grants.allow_discard,
        }
        for plugin in generation.plugins.loaded
    ]


def _row(plugin: dict[str, Any]) -> dict[str, Any]:
    """The same for a table that fits a terminal."""
    grants = [f"on_fault {plugin['on_fault']}", plugin["budget"]]
    grants += [name for name in ("blocking", "allow_discard") if plugin[name]]
    row = {name: plugin[name] for name in ("name", "hooks", "transports")} | {"grants": grants}
    if "calls" in plugin:
        row |= {"calls": plugin["calls"], "faults": plugin["faults"], "µs/call": plugin["microseconds_per_call"]}
    return row


def _measured(folder: Path) -> dict[str, dict[str, Any]]:
    """What the running server counted, by plugin; nothing if none runs."""
    try:
        answer = ask_server(folder, "status")
    except click.ClickException:
        return {}
    return {
        plugin["name"]: {
            "calls": plugin["calls"],
            "faults": plugin["faults"],
            "microseconds_per_call": plugin["microseconds_per_call"],
        }
        for plugin in answer["plugins"]
    }
