"""``mtaframe setup`` writes a configuration from a preset; ``mtaframe setup postfix`` fits Postfix to it.

The rule: nothing is changed without ``--apply``, and nothing that somebody else wrote is overwritten or lost.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import tomlkit
from pydantic import ValidationError

from mtaframe.cli.chains import CHAINS, endpoint_of
from mtaframe.cli.options import SYSTEM_FOLDER
from mtaframe.cli.postfix_files import ENDPOINTS, Files, applied, undone
from mtaframe.cli.setup_exim import exim
from mtaframe.cli.text_files import octets, read, replace, show
from mtaframe.settings import Settings

PRESETS = {"behind": "behind-postfix", "front": "front-of-postfix", "direct": "direct-mx", "api": "api"}
"""The file in ``conf/presets/`` for each answer to "which chain"."""
_CHAINS = """\
  behind   Postfix (or Exim) -> mtaframe -> the world: applications keep talking to Postfix, which has the queue
  front    applications -> mtaframe -> Postfix -> the world: mtaframe changes and signs, Postfix delivers
  direct   applications -> mtaframe -> the world
  api      your own API, which logs in here by SMTP -> mtaframe -> the world"""


@click.group(invoke_without_command=True)
@click.option("--chain", type=click.Choice(list(PRESETS)), help="Where mtaframe stands.")
@click.option("--hostname", help='Our name in EHLO and Received; "auto" is the host\'s own.')
@click.option("--listen", multiple=True, metavar="ADDRESS", help='"127.0.0.1:2525" or a Unix socket; may be repeated.')
@click.option("--smart-host", metavar="HOST:PORT", help="Who takes our mail (front).")
@click.option(
    "--conf",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help=f"The folder to write. Default: {SYSTEM_FOLDER}.",
)
@click.option("--apply", is_flag=True, help="Write; without it, only show what would be written.")
@click.option("--force", is_flag=True, help="Overwrite files that differ.")
@click.pass_context
def setup(
    context: click.Context,
    chain: str | None,
    hostname: str | None,
    listen: tuple[str, ...],
    smart_host: str | None,
    folder: Path | None,
    apply: bool,
    force: bool,
) -> None:
    """Write a configuration: asks what is not said by options, shows it, and with --apply writes it."""
    if context.invoked_subcommand is not None:
        return
    conf: Path = folder or context.find_root().params.get("folder") or SYSTEM_FOLDER
    if chain is None and sys.stdin.isatty():
        click.echo(_CHAINS)
    chain = chain or _asked("Where does mtaframe stand", "behind", click.Choice(list(PRESETS)))
    hostname = hostname or _asked("Our name", "auto")
    preset = _shipped() / "presets" / f"{PRESETS[chain]}.toml"
    document = tomlkit.parse(preset.read_text())
    listen = listen or _asked_listeners(document)
    if chain == "front":
        smart_host = smart_host or _asked("Who takes our mail", str(ENDPOINTS["front"]))
    _fill(document, hostname, listen, smart_host)
    wanted = {"mtaframe.toml": tomlkit.dumps(document), **_others()}
    _write(conf, wanted, apply=apply, force=force)
    click.echo(f"next: mtaframe check --conf {shlex.quote(str(conf))}" + _postfix_hint(chain, listen, smart_host))


@setup.command("postfix")
@click.option("--chain", type=click.Choice(CHAINS), default="behind", show_default=True, help="Where mtaframe stands.")
@click.option("--endpoint", help="Where the other one listens. Default: 127.0.0.1:2424 behind, 127.0.0.1:10026 front.")
@click.option(
    "--config-directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("/etc/postfix"),
    show_default=True,
    help="Postfix's directory.",
)
@click.option("--apply", is_flag=True, help="Write; without it, only show the difference.")
@click.option("--undo", is_flag=True, help="Take out what was put in (with --apply).")
def postfix(chain: str, endpoint: str | None, config_directory: Path, apply: bool, undo: bool) -> None:
    """Fit Postfix's main.cf and master.cf to mtaframe, reversibly.

    behind: Postfix hands all mail for other hosts to mtaframe by LMTP. front: Postfix takes mtaframe's mail
    on a port of its own. Shows the difference; --apply writes it; --undo takes it out again.
    """
    before = Files(read(config_directory / "main.cf"), read(config_directory / "master.cf"))
    try:
        after = undone(before) if undo else applied(before, chain, endpoint_of(endpoint) or ENDPOINTS[chain])
    except ValueError as fault:
        raise click.ClickException(str(fault)) from None
    if after == before:
        click.echo("nothing to change")
        return
    _verify(after)
    for name, old, new in (("main.cf", before.main, after.main), ("master.cf", before.master, after.master)):
        show(config_directory / name, old, new)
        if apply and old != new:
            replace(config_directory / name, new)
    if apply:
        click.echo("written; next: postfix reload")
    else:
        click.echo("nothing is written yet: add --apply", err=True)


setup.add_command(exim)


def _asked(question: str, default: str, kind: click.ParamType[Any] | None = None) -> str:
    """The answer of whoever sits there; the default, if nobody does."""
    if not sys.stdin.isatty():
        return default
    return str(click.prompt(question, default=default, type=kind))


def _asked_listeners(document: tomlkit.TOMLDocument) -> tuple[str, ...]:
    listeners = document.get("listener") or []
    if not listeners:
        return ()
    shipped = " ".join(listeners[0]["addresses"])
    return tuple(_asked(f'Where "{listeners[0]["name"]}" listens', shipped).split())


def _fill(document: tomlkit.TOMLDocument, hostname: str, listen: tuple[str, ...], smart_host: str | None) -> None:
    """Puts the answers into the preset, and checks that the outcome is a valid configuration."""
    document["hostname"] = hostname
    if listen and document.get("listener"):
        document["listener"][0]["addresses"] = list(listen)
    if smart_host:
        host, _, port = smart_host.rpartition(":")
        if not host or not port.isdigit():
            raise click.ClickException('a smart host is written as "127.0.0.1:10026"')
        route: Any = document.setdefault("route", tomlkit.table())
        route["next_hop"], route["port"] = host.strip("[]"), int(port)
    try:
        Settings.model_validate(tomllib.loads(tomlkit.dumps(document)))
    except ValidationError as fault:
        first = fault.errors(include_input=False)[0]
        raise click.ClickException(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None


def _shipped() -> Path:
    """The ``conf/`` that came with mtaframe: in its checkout, else in the installed package."""
    checkout = Path(__file__).parents[2] / "conf"
    if (checkout / "presets").is_dir():
        return checkout
    found = find_spec("mtaframe_conf")
    assert found is not None, "mtaframe's wheel holds its conf/ as mtaframe_conf"
    return Path(next(iter(found.submodule_search_locations or ())))


def _others() -> dict[str, str]:
    """All that is shipped beside mtaframe.toml, by its path within the directory."""
    root = _shipped()
    paths = [*root.glob("*.toml"), *(path for path in root.glob("rules/**/*") if path.is_file())]
    return {str(path.relative_to(root)): path.read_text() for path in sorted(paths) if path.name != "mtaframe.toml"}


def _write(conf: Path, wanted: dict[str, str], *, apply: bool, force: bool) -> None:
    """Shows mtaframe.toml and the names of the others; writes what is new, or with ``force`` what differs."""
    present = {name: read(conf / name) for name in wanted if (conf / name).exists()}
    differing = [name for name, text in present.items() if text != wanted[name]]
    show(conf / "mtaframe.toml", present.get("mtaframe.toml", ""), wanted["mtaframe.toml"])
    for name in sorted(wanted.keys() - present.keys() - {"mtaframe.toml"}):
        click.echo(f"new: {conf / name} (as shipped)")
    kept = [name for name in differing if name != "mtaframe.toml"]
    for name in kept:
        click.echo(f"{'overwritten' if force else 'kept'}: {conf / name}")
    if not apply:
        click.echo("nothing is written yet: add --apply", err=True)
        return
    if "mtaframe.toml" in differing and not force:
        raise click.ClickException(f"{conf / 'mtaframe.toml'} is there and differs: --force overwrites it")
    for name, text in wanted.items():
        if name not in present or (force and name in differing):
            (conf / name).parent.mkdir(parents=True, exist_ok=True)
            replace(conf / name, text)


def _postfix_hint(chain: str, listen: tuple[str, ...], smart_host: str | None) -> str:
    endpoint = smart_host if chain == "front" else next(iter(listen), None)
    if chain not in CHAINS or endpoint is None:
        return ""
    return f"; Postfix's side: mtaframe setup postfix --chain {chain} --endpoint {shlex.quote(endpoint)}"


def _verify(proposed: Files) -> None:
    """Lets Postfix itself read the files, in a directory of their own. Without Postfix here, says so."""
    postconf = shutil.which("postconf", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if postconf is None:
        click.echo("Postfix is not installed here: the files are not checked by it", err=True)
        return
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "main.cf").write_bytes(octets(proposed.main))
        Path(directory, "master.cf").write_bytes(octets(proposed.master))
        os.utime(Path(directory, "main.cf"), (0, 0))  # it waits for a file that is younger than two seconds to settle
        for what in ("-n", "-M"):
            ran = subprocess.run([postconf, "-c", directory, what], capture_output=True, text=True, check=False)
            if ran.returncode or "fatal:" in ran.stderr:
                raise click.ClickException(f"Postfix does not take it: {ran.stderr.strip()}")
