"""What plugins add to the command line: each method marked ``@command`` is ``mtaframe PLUGIN METHOD``.

A class may choose another word for PLUGIN: its ``command_group``. The plugin's name works as well.

The rule: the classes installed here say how a command looks; it runs inside the running server, which is asked
over the control socket. So it works while the files hold a fault that keeps a new configuration from being used.
"""

import inspect
import re
import sys
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import click

from mtaframe.cli.options import conf_option, json_option
from mtaframe.cli.printing import Failed, Unreachable, print_value

_OPTION_HELP = re.compile(r"^``(\w+)``:?\s+(.+?)(?=\n``|\n\n|\Z)", re.MULTILINE | re.DOTALL)
"""In the docstring of a command: a line that begins with the name of an option says what it is for."""


def main_file(folder: Path) -> dict[str, Any]:
    """``mtaframe.toml`` as it is written, unchecked. Failed if it can't be read."""
    path = folder / "mtaframe.toml"
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise Failed(f"{path} can't be read: {error.strerror}; name the configuration's folder by --conf") from None
    except ValueError as error:
        raise Failed(f"{path} can't be read: {error}") from None


def ask_server(folder: Path, call: str, arguments: dict[str, Any] | None = None) -> Any:
    """What the running server answers. Unreachable if it doesn't run or says no."""
    from mtaframe import control

    try:
        return control.call(server_socket(folder), call, arguments)
    except control.ControlError as error:
        raise Unreachable(str(error)) from None


def server_socket(folder: Path) -> Path:
    """Where the running server is asked."""
    from mtaframe import control

    return control.socket_path(str(main_file(folder).get("control", "auto")), folder)


def groups(folder: Path) -> dict[str, click.Command]:
    """The groups of all listed plugins that have commands. None, if the folder can't be read."""
    try:
        listed = _listed(folder)
    except Failed:
        return {}
    found: dict[str, click.Command] = {}
    for name in listed:
        try:
            kind = _class(name)
        except Failed:
            continue
        if (group := _group(name, kind)).commands:
            found.setdefault(_word(name, kind), group)
    return found


def group_of(folder: Path, name: str, context: click.Context, others: Collection[str]) -> click.Command:
    """The commands of one plugin. A ClickException that says why there are none."""
    from mtaframe.explanation import guess
    from mtaframe.plugins import installed

    try:
        listed = _listed(folder)
    except Failed as error:
        raise Failed(f'"{name}" would be a plugin\'s command, but {error.message}') from None
    if name not in listed and (group := groups(folder).get(name)) is not None:
        return group
    if name not in listed:
        if name in installed():
            raise Failed(f'the plugin "{name}" is not listed in {folder / "mtaframe.toml"}')
        raise click.UsageError(f'there is no command "{name}"{guess(name, [*others, *listed])}', context)
    group = _group(name, _class(name))
    if not group.commands:
        raise Failed(f'the plugin "{name}" has no commands')
    return group


def _listed(folder: Path) -> list[str]:
    listed = main_file(folder).get("plugins", [])
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


def _class(name: str) -> type[Any]:
    from mtaframe.plugins import PluginError, plugin_class

    try:
        return plugin_class(name)
    except PluginError as error:
        raise Failed(str(error)) from None


def _word(name: str, kind: type[Any]) -> str:
    return getattr(kind, "command_group", "") or name


def _group(name: str, kind: type[Any]) -> click.Group:
    group = click.Group(_word(name, kind), help=_purpose(name, kind))
    for method, function in inspect.getmembers(kind, inspect.isfunction):
        if getattr(function, "_mtaframe_command", False):
            group.add_command(_command(name, method, function))
    return group


def _purpose(name: str, kind: type[Any]) -> str:
    """The first sentence of what the class, or else its module, says of itself."""
    own = vars(kind).get("__doc__") or (sys.modules[kind.__module__].__doc__ or "").removeprefix(f"{name}: ")
    sentence = re.split(r"(?<=[.])\s", inspect.cleandoc(own) + "\n", maxsplit=1)[0].strip()
    return sentence[:1].upper() + " ".join(sentence[1:].split()) or f"Commands of the plugin {name}."


def _command(plugin: str, method: str, function: Any) -> click.Command:
    hints = get_type_hints(function)
    text = inspect.getdoc(function) or f"Ask the plugin {plugin}."
    said = {found[1]: " ".join(found[2].split()) for found in _OPTION_HELP.finditer(text)}
    _, *named = inspect.signature(function).parameters.values()
    parameters = [_parameter(parameter, hints.get(parameter.name, str), said) for parameter in named]

    def run(folder: Path, as_json: bool, **arguments: Any) -> None:
        print_value(ask_server(folder, f"{plugin}.{method}", arguments), as_json)

    command = click.Command(method, callback=run, params=parameters, help=_OPTION_HELP.sub("", text).strip())
    return json_option(conf_option(command))


def _parameter(parameter: inspect.Parameter, hint: Any, said: Mapping[str, str]) -> click.Parameter:
    kind = _kind(hint)
    required = parameter.default is parameter.empty
    default = None if required else parameter.default
    if parameter.kind is not parameter.KEYWORD_ONLY:
        return click.Argument([parameter.name], required=required, default=default, type=kind)
    word = parameter.name.rstrip("_")
    name = f"--{word.replace('_', '-')}"
    text = said.get(word, f"{word.replace('_', ' ').capitalize()}.")
    if kind is click.BOOL:
        return click.Option([name, parameter.name], is_flag=True, default=bool(default), help=text)
    return click.Option(
        [name, parameter.name],
        required=required,
        default=default,
        type=kind,
        help=text,
        show_default=default is not None,
    )


def _kind(hint: Any) -> click.ParamType[Any]:
    """How the words of the command line become values of this annotation."""
    if get_origin(hint) in (Union, UnionType):
        hint = next(part for part in get_args(hint) if part is not NoneType)
    if get_origin(hint) is Literal:
        return click.Choice(get_args(hint))
    simple: dict[Any, click.ParamType[Any]] = {int: click.INT, float: click.FLOAT, bool: click.BOOL}
    return simple.get(hint, click.STRING)
