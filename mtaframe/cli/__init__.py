"""The command line ``mtaframe``. A command's module is imported only once the command is asked for."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from mtaframe.cli.options import chosen_folder, folder_among

COMMANDS = {
    "run": "mtaframe.cli.run:run",
    "check": "mtaframe.cli.check:check",
    "explain": "mtaframe.cli.explain:explain",
    "send": "mtaframe.cli.send:send",
    "status": "mtaframe.cli.run:status",
    "reload": "mtaframe.cli.run:reload",
    "restart": "mtaframe.cli.run:restart",
    "drain": "mtaframe.cli.run:drain",
    "tail": "mtaframe.cli.run:tail",
    "state": "mtaframe.cli.state:state",
    "plugins": "mtaframe.cli.plugins:plugins",
    "plugin": "mtaframe.cli.plugin:plugin",
    "setup": "mtaframe.cli.setup:setup",
    "keygen": "mtaframe.cli.keygen:keygen",
    "account": "mtaframe.cli.account:account",
    "approvals": "mtaframe.cli.approvals:approvals",
    "usage": "mtaframe.cli.usage:usage",
    "config": "mtaframe.cli.schema:config",
}
"""Where each command is, in the order of the help."""

EXIT_CODES = """\b
Exit codes:
  0  done
  1  the configuration or the mail is at fault
  2  the command line itself is wrong
  3  the running server can't be reached, or said no"""


class LazyGroup(click.Group):
    """The commands of ``COMMANDS`` and of the plugins that the configuration lists; every error is one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *self._of_plugins(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (place := COMMANDS.get(cmd_name)) is not None:
            return _imported(place)
        return self._of_plugins(ctx).get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in COMMANDS or name.startswith("-"):
            return super().resolve_command(ctx, args)
        from mtaframe.cli.plugin_commands import group_of

        ctx.params["folder"] = folder_among(args) or ctx.params.get("folder")
        return name, group_of(chosen_folder(ctx), name, ctx, COMMANDS), args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        ours = {name: command for name in COMMANDS if (command := self.get_command(ctx, name)) is not None}
        for title, commands in (("Commands", ours), ("Commands of plugins", self._of_plugins(ctx))):
            if commands:
                with formatter.section(title):
                    limit = formatter.width - 6 - max(map(len, commands))
                    formatter.write_dl([(name, each.get_short_help_str(limit)) for name, each in commands.items()])

    def _of_plugins(self, ctx: click.Context) -> dict[str, click.Command]:
        from mtaframe.cli.plugin_commands import groups

        found = groups(chosen_folder(ctx))
        return {name: group for name, group in found.items() if name not in COMMANDS}

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else "mtaframe"
            click.echo(f"mtaframe: {error.format_message().rstrip('.')}; see `{path} --help`", err=True)
            sys.exit(error.exit_code)
        except click.ClickException as error:
            click.echo(f"mtaframe: {error.format_message()}", err=True)
            sys.exit(error.exit_code)
        except click.Abort:
            click.echo("mtaframe: broken off", err=True)
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)


def _imported(place: str) -> click.Command | None:
    """The command at ``module:name``; None if this installation has no such module."""
    module, _, name = place.partition(":")
    try:
        command = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return None
    return command if isinstance(command, click.Command) else None


@click.group("mtaframe", cls=LazyGroup, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--conf",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The configuration's folder. Default: $MTAFRAME_CONF, else ./conf if it holds mtaframe.toml, "
    "else /etc/mtaframe.",
)
@click.version_option(package_name="mtaframe", message="mtaframe %(version)s", help="Show the version and exit.")
def main(folder: Path | None) -> None:
    """An MTA that takes mail in, processes it by plugins, delivers it at once, and stores nothing."""
