"""``mtaframe approvals``: accounts of the file, and domains and templates of the HTTP API, that wait for a word.

Accounts are decided in ``accounts.toml``; for the rest the running server is asked, if the plugin http_api is listed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mtaframe.cli.accounts_file import AccountsFile
from mtaframe.cli.options import conf_option, json_option
from mtaframe.cli.plugin_commands import ask_server, main_file
from mtaframe.cli.printing import Failed, Unreachable, print_json, print_table

_KIND = click.Choice(["account", "domain", "template"])
_API = "http_api"


@click.group()
def approvals() -> None:
    """Accounts, domains and templates that wait to be approved."""


@approvals.command("list", short_help="What waits for approval.")
@conf_option
@json_option
def list_(folder: Path, as_json: bool) -> None:
    """What waits for approval: pending accounts, and domains and templates that were made over the HTTP API."""
    rows: list[Mapping[str, Any]] = [
        {"kind": "account", "account": each.get("name"), "name": "", "since": ""}
        for each in AccountsFile(folder).accounts
        if each.get("status") == "pending"
    ]
    if _API in main_file(folder).get("plugins", []):
        try:
            rows += ask_server(folder, f"{_API}.approvals")
        except Unreachable as error:
            click.echo(f"mtaframe: domains and templates are not shown: {error.message}", err=True)
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows)
    else:
        click.echo("none")


@approvals.command("approve", short_help="Approve an account, a domain or a template.")
@click.argument("kind", type=_KIND)
@click.argument("account")
@click.argument("name", required=False)
@conf_option
@json_option
def approve(folder: Path, as_json: bool, kind: str, account: str, name: str | None) -> None:
    """Approve an account, or a domain or template NAME of an account."""
    _decide(folder, as_json, kind, account, name, "approve")


@approvals.command("reject", short_help="Reject an account, a domain or a template.")
@click.argument("kind", type=_KIND)
@click.argument("account")
@click.argument("name", required=False)
@conf_option
@json_option
def reject(folder: Path, as_json: bool, kind: str, account: str, name: str | None) -> None:
    """Reject an account, which is closed then, or a domain or template NAME of an account."""
    _decide(folder, as_json, kind, account, name, "reject")


def _decide(folder: Path, as_json: bool, kind: str, account: str, name: str | None, verdict: str) -> None:
    if (kind == "account") != (name is None):
        raise click.UsageError("an account is named by itself; a domain or a template by its account and its name")
    if kind == "account":
        _decide_account(folder, as_json, account, verdict)
    elif _API not in main_file(folder).get("plugins", []):
        raise Failed(f'domains and templates come by the plugin "{_API}", which is not listed')
    else:
        arguments = {"kind": kind, "account": account, "name": name, "verdict": verdict}
        said = ask_server(folder, f"{_API}.decide", arguments)
        if as_json:
            print_json(arguments)
        else:
            click.echo(said or f"{kind} {name} of {account}: {verdict}")


def _decide_account(folder: Path, as_json: bool, account: str, verdict: str) -> None:
    file = AccountsFile(folder)
    at = file.index(account)
    if file.accounts[at].get("status") != "pending":
        raise Failed(f'"{account}" does not wait for approval')
    file.set(("account", at, "status"), "approved" if verdict == "approve" else "closed")
    file.save(quiet=as_json)
    if as_json:
        print_json({"kind": "account", "account": account, "verdict": verdict})
