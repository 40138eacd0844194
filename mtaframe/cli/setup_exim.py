"""``mtaframe setup exim`` fits Exim to mtaframe.

The rule: nothing is changed without ``--apply``, and nothing that somebody else wrote is overwritten or lost.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import click

from mtaframe.cli.chains import CHAINS, endpoint_of
from mtaframe.cli.exim_files import LISTENER, Protocol, additions, applied, places, undone
from mtaframe.cli.text_files import octets, read, replace, show

_DEBIAN = Path("/etc/exim4")
_CONFIGURATIONS = (
    _DEBIAN / "exim4.conf",
    _DEBIAN / "exim4.conf.template",
    Path("/etc/exim/exim.conf"),
    Path("/usr/local/etc/exim/configure"),
)
"""What administrators change, of Debian, Red Hat and FreeBSD. If Debian has the first, it counts alone."""


@click.command()
@click.option("--chain", type=click.Choice(CHAINS), default="behind", show_default=True, help="Where mtaframe stands.")
@click.option("--endpoint", help=f"Where mtaframe listens (behind). Default: {LISTENER}.")
@click.option(
    "--protocol",
    type=click.Choice(["lmtp", "smtp"]),
    default="lmtp",
    show_default=True,
    help='smtp, with PRDR, if that listener is of the kind "mta".',
)
@click.option(
    "--configuration",
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="Exim's configuration file, or Debian's conf.d. Default: what is in use here.",
)
@click.option("--apply", is_flag=True, help="Write; without it, only show the difference.")
@click.option("--undo", is_flag=True, help="Take out what was put in (with --apply).")
def exim(
    chain: str, endpoint: str | None, protocol: Protocol, configuration: Path | None, apply: bool, undo: bool
) -> None:
    """Fit Exim's configuration to mtaframe, reversibly.

    behind: Exim hands all mail for other hosts to mtaframe. front: Exim delivers at once what mtaframe hands
    over. Shows the difference; --apply writes it; --undo takes it out again.
    """
    where = configuration or _configuration()
    before = {path: read(path) if path.exists() else "" for path in places(where)}
    try:
        added = additions(chain, endpoint_of(endpoint) or LISTENER, protocol)
    except ValueError as fault:
        raise click.ClickException(str(fault)) from None
    after = {
        path: undone(before[path]) if undo else applied(before[path], section, added)
        for path, section in places(where).items()
    }
    if after == before:
        click.echo("nothing to change")
        return
    is_generated = where.is_dir() or where.suffix == ".template"
    if not is_generated:  # else update-exim4.conf makes the file that Exim reads, and has Exim check it
        _verify(after[where])
    for path, text in after.items():
        show(path, before[path], text)
        if apply and text != before[path]:
            replace(path, text) if text else path.unlink()
    if apply:
        click.echo(f"written; next: {'update-exim4.conf; ' if is_generated else ''}systemctl reload exim4")
    else:
        click.echo("nothing is written yet: add --apply", err=True)


def _configuration() -> Path:
    """What the administrator of this host changes."""
    switches = _DEBIAN / "update-exim4.conf.conf"
    is_split = switches.exists() and "dc_use_split_config='true'" in read(switches)
    if is_split and not _CONFIGURATIONS[0].exists():
        return _DEBIAN / "conf.d"
    for path in _CONFIGURATIONS:
        if path.exists():
            return path
    raise click.ClickException("Exim's configuration is not where it usually is: name it with --configuration")


def _verify(proposed: str) -> None:
    """Lets Exim itself read the file. Without Exim here, says so."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    program = shutil.which("exim4", path=search) or shutil.which("exim", path=search)
    if program is None:
        click.echo("Exim is not installed here: the file is not checked by it", err=True)
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(octets(proposed))
        file.flush()
        ran = subprocess.run([program, "-C", file.name, "-bV"], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise click.ClickException(f"Exim does not take it: {ran.stderr.strip()}")
