"""``mtaframe run`` is the server; ``status``, ``reload``, ``restart``, ``drain`` and ``tail`` talk to it."""

import json
import shutil
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtaframe.cli.options import conf_option, default_folder, json_option
from mtaframe.cli.plugin_commands import ask_server, server_socket
from mtaframe.cli.printing import Failed, Unreachable, faulty, print_json, print_pairs

if TYPE_CHECKING:
    from mtaframe.config import Configuration
    from mtaframe.settings import ListenerSettings

LOOK = 0.5
"""Seconds between two looks at a server that ends."""


@click.command(short_help="Run the server in the foreground.")
@conf_option
def run(folder: Path) -> None:
    """Run the server in the foreground, until SIGTERM or Ctrl-C.

    A change in the folder, or SIGHUP, reloads the configuration; if anything in it is wrong, the running one stays.
    """
    from mtaframe.config import ConfigError
    from mtaframe.service import serve

    def ready(configuration: "Configuration", status: Mapping[str, Any]) -> None:
        click.echo(greeting(configuration, status))

    try:
        serve(folder, ready)
    except ConfigError as error:
        raise faulty(error, folder) from None


@click.command()
@conf_option
@json_option
def status(folder: Path, as_json: bool) -> None:
    """What the running server listens on and is doing."""
    answer = ask_server(folder, "status")
    print_json(answer) if as_json else print_pairs(answer)


@click.command()
@conf_option
@json_option
def reload(folder: Path, as_json: bool) -> None:
    """Have the running server read its configuration again."""
    changed = bool(ask_server(folder, "reload")["changed"])
    if as_json:
        print_json({"changed": changed})
    if not changed:
        raise Failed(f"the running configuration stays, for there are faults: `mtaframe check --conf {folder}`")
    if not as_json:
        click.echo("the configuration is in force")


@click.command(short_help="Replace the worker processes, for new code of plugins.")
@conf_option
def restart(folder: Path) -> None:
    """Replace the worker processes one after the other: for new code of plugins, with no door closed meanwhile."""
    ask_server(folder, "restart")
    click.echo("all workers are new")


@click.command(short_help="End the server once what is under way is done.")
@conf_option
def drain(folder: Path) -> None:
    """Take no more clients, finish what is under way within `drain` of the configuration, and end, as by SIGTERM."""
    from rich.console import Console

    with Console(stderr=True).status("") as shown:
        left = ask_server(folder, "status")["under_way"]
        ask_server(folder, "drain")
        while left is not None:
            shown.update(f"{left} under way")
            time.sleep(LOOK)
            left = _under_way(folder)
    click.echo("the server has ended")


def _under_way(folder: Path) -> int | None:
    """None if the server is gone."""
    try:
        return int(ask_server(folder, "status")["under_way"])
    except click.ClickException:
        return None


@click.command(short_help="Show attempts and events as they happen.")
@conf_option
@json_option
def tail(folder: Path, as_json: bool) -> None:
    """Show attempts and events as they happen, as the log may show them, until Ctrl-C."""
    from mtaframe import control, logs

    try:
        for each in control.stream(server_socket(folder), "tail"):
            if as_json:
                click.echo(json.dumps({"at": logs.iso(each["at"]), **logs.pairs(each["line"])}))
            else:
                click.echo(f"{datetime.fromtimestamp(each['at']):%H:%M:%S} {each['line']}")
    except control.ControlError as error:
        raise Unreachable(str(error)) from None
    except KeyboardInterrupt:
        return


def greeting(configuration: "Configuration", status: Mapping[str, Any]) -> str:
    """Where the server listens and, if mail stays on this machine, what to type next."""
    folder, settings = configuration.folder, configuration.settings
    listeners: dict[str, list[str]] = status["listeners"]
    width = max(map(len, listeners), default=0)
    lines = [
        f"mtaframe runs on the configuration in {folder}; it listens on",
        *(f"  {each.name:<{width}}  {', '.join(listeners[each.name])}  ({each.kind})" for each in settings.listener),
    ]
    if status["is_trial"]:
        transport = settings.route.transport
        lines.append(f'\nMail stays on this machine: the default route is "{transport}".')
        lines.extend(_next_steps(folder, settings.listener, listeners, transport))
    return "\n".join(lines)


def _next_steps(
    folder: Path, settings: tuple["ListenerSettings", ...], listeners: dict[str, list[str]], transport: str
) -> list[str]:
    address = smtp_address(settings, listeners)
    if address is None:
        return []
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    program = _program()
    conf = "" if folder == default_folder() else f" --conf {folder}"
    token = f"  {program}{conf} account add shop --domain example.com"
    by_http = ["or by HTTP, with the token that this prints (docs/migrating.md has programs):", token]
    return [
        "Send some, in another terminal, by one of",
        f"  swaks --server {address} --from alice@example.com --to bob@example.net",
        f'  python3 -c \'import smtplib; s = smtplib.SMTP("{host}", {port}); s.sendmail('
        '"alice@example.com", ["bob@example.net"], "Subject: Hello\\n\\nHello Bob\\n"); s.quit()\'',
        *(by_http if any(listener.kind == "http" for listener in settings) else ()),
        "and look at it:",
        f"  {program}{conf} {transport} list",
        f"  {program}{conf} {transport} show ID",
    ]


def smtp_address(settings: tuple["ListenerSettings", ...], listeners: dict[str, list[str]] | None = None) -> str | None:
    """``host:port`` of the first listener that takes SMTP in clear over TCP, as a client on this machine writes it.

    ``listeners`` are the real addresses by name, where known. None if there is no such listener.
    """
    from mtaframe.notation import Endpoint

    for listener in settings:
        if listener.kind in ("lmtp", "http") or listener.tls == "implicit":
            continue
        for address in map(Endpoint, listeners[listener.name] if listeners else listener.addresses):
            if address.path is None:
                host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
                return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"
    return None


def _program() -> str:
    """How to call this program from the shell."""
    called = Path(sys.argv[0])
    if called.name != "mtaframe":
        return "mtaframe"
    found = shutil.which("mtaframe")
    return "mtaframe" if found and Path(found).samefile(called) else str(called)


def real_addresses(folder: Path) -> dict[str, list[str]] | None:
    """Where the running server listens, by listener; None if none runs."""
    try:
        answer: dict[str, Any] = ask_server(folder, "status")
    except click.ClickException:
        return None
    return dict(answer["listeners"])
