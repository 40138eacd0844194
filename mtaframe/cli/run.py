"""``mtaframe run`` is the server; ``status`` and ``reload`` talk to it."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtaframe.cli.options import conf_option, default_folder, json_option
from mtaframe.cli.plugin_commands import ask_server
from mtaframe.cli.printing import Failed, faulty, print_json, print_pairs

if TYPE_CHECKING:
    from mtaframe.mta import Mta
    from mtaframe.settings import ListenerSettings


@click.command(short_help="Run the server in the foreground.")
@conf_option
def run(folder: Path) -> None:
    """Run the server in the foreground, until SIGTERM or Ctrl-C.

    A change in the folder, or SIGHUP, reloads the configuration; if anything in it is wrong, the running one stays.
    """
    from mtaframe.config import ConfigError
    from mtaframe.service import serve

    def ready(mta: "Mta") -> None:
        click.echo(greeting(mta))

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


def greeting(mta: "Mta") -> str:
    """Where the server listens and, if mail stays on this machine, what to type next."""
    assert mta.configuration is not None
    assert mta.generation is not None
    settings = mta.configuration.settings
    listeners: dict[str, list[str]] = mta.status()["listeners"]
    width = max(map(len, listeners), default=0)
    lines = [
        f"mtaframe runs on the configuration in {mta.folder}; it listens on",
        *(f"  {each.name:<{width}}  {', '.join(listeners[each.name])}  ({each.kind})" for each in settings.listener),
    ]
    transport = settings.route.transport
    if mta.generation.transports[transport].test_only:
        lines.append(f'\nMail stays on this machine: the default route is "{transport}".')
        lines.extend(_next_steps(mta.folder, settings.listener, listeners, transport))
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
    return [
        "Send some, in another terminal, by one of",
        f"  swaks --server {address} --from alice@example.com --to bob@example.net",
        f'  python3 -c \'import smtplib; s = smtplib.SMTP("{host}", {port}); s.sendmail('
        '"alice@example.com", ["bob@example.net"], "Subject: Hello\\n\\nHello Bob\\n"); s.quit()\'',
        "and look at it:",
        f"  {program}{conf} {transport} list",
        f"  {program}{conf} {transport} show ID",
    ]


def smtp_address(settings: tuple["ListenerSettings", ...], listeners: dict[str, list[str]] | None = None) -> str | None:
    """``host:port`` of the first listener that takes SMTP in clear over TCP, as a client on this machine writes it.

    ``listeners`` are the real addresses by name, where known. None if there is no such listener.
    """
    from mtaframe.settings import Endpoint

    for listener in settings:
        if listener.kind == "lmtp" or listener.tls == "implicit":
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
