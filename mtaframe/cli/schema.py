"""``mtaframe config schema``: the JSON schema of a configuration file, by which editors help to write it."""

from pathlib import Path

import click

from mtaframe.cli.printing import Failed, print_json


@click.group()
def config() -> None:
    """Facts about the configuration."""


@config.command("schema")
@click.argument("file", default="mtaframe")
def schema(file: str) -> None:
    """Print the JSON schema of FILE: mtaframe (the default), accounts, or an installed plugin's name."""
    from pydantic import BaseModel

    from mtaframe import reference
    from mtaframe.account_settings import AccountsSettings
    from mtaframe.explanation import guess
    from mtaframe.plugins import PluginError, config_class, installed, plugin_class
    from mtaframe.settings import Settings

    name = Path(file).name.removesuffix(".toml")
    try:
        core: dict[str, type[BaseModel]] = {"mtaframe": Settings, "accounts": AccountsSettings}
        model = core.get(name) or config_class(plugin_class(name))
    except PluginError as error:
        near = "" if name in installed() else guess(name, ["mtaframe", "accounts", *installed()])
        raise Failed(f"{error}{near}") from None
    print_json(reference.schema(model, f"{name}.toml"))
