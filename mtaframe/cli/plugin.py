"""``mtaframe plugin new NAME`` writes a complete plugin package, with a test that passes right away."""

import re
import sys
from importlib.resources import files
from pathlib import Path

import click

from mtaframe.plugins import installed

_SHAPE = {
    "pyproject.toml": "pyproject.toml.tmpl",
    "README.md": "README.md.tmpl",
    "@module@.py": "plugin.py.tmpl",
    "conf/@name@.toml": "conf.toml.tmpl",
    "docs/@name@.md": "docs.md.tmpl",
    "tests/test_@name@.py": "test_plugin.py.tmpl",
}
"""Where each template goes."""
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


@click.group("plugin")
def plugin() -> None:
    """Write plugins."""


@plugin.command()
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="Where to put the package's folder. Default: here.",
)
def new(name: str, into: Path) -> None:
    """Write the package mtaframe-NAME: code, configuration, docs page and a test that passes."""
    if not _NAME.fullmatch(name):
        raise click.ClickException('a plugin\'s name is in lower case, as "list_help"')
    if name in installed():
        raise click.ClickException(f'a plugin "{name}" is installed already')
    folder = into / f"mtaframe-{name.replace('_', '-')}"
    if folder.exists():
        raise click.ClickException(f"{folder} exists already")
    for path, text in package(name).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
        click.echo(folder / path)
    here = folder if folder.is_absolute() else f"./{folder}"  # else pip takes it for a name on an index
    python = _python()
    click.echo(f"next: {python} -m pip install -e '{here}[dev]' && {python} -m pytest {folder}")
    click.echo(f'then: copy {folder}/conf/{name}.toml beside mtaframe.toml, and list "{name}" in its plugins')


def _python() -> Path:
    """The interpreter that mtaframe runs in, where the plugin has to be installed; as short as it can be written."""
    python, here = Path(sys.executable), Path.cwd()
    return python.relative_to(here) if python.is_relative_to(here) else python


def package(name: str) -> dict[str, str]:
    """The files of a new plugin by their path in the package."""
    words = name.split("_")
    names = {
        "@name@": name,
        "@project@": f"mtaframe-{name.replace('_', '-')}",
        "@module@": f"mtaframe_{name}",
        "@class@": "".join(word.capitalize() for word in words),
        "@dashed@": "-".join(word.capitalize() for word in words),
    }

    def filled(text: str) -> str:
        for mark, word in names.items():
            text = text.replace(mark, word)
        return text

    templates = files("mtaframe.cli") / "skeleton"
    return {filled(path): filled((templates / template).read_text()) for path, template in _SHAPE.items()}
