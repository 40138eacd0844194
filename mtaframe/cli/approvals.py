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
from mtaframe.cli.printing import Failed, Unreachable, print_json, print_pairs, print_table, printable

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


@approvals.command("show", short_help="A domain or a template, to look at.")
@click.argument("kind", type=click.Choice(["domain", "template"]))
@click.argument("account")
@click.argument("name")
@conf_option
@json_option
def show(folder: Path, as_json: bool, kind: str, account: str, name: str) -> None:
    """A domain or template NAME of an account, to look at before it is approved."""
    found = _ask(folder, "show", {"kind": kind, "account": account, "name": name})
    if as_json:
        print_json(found)
        return
    texts = {part: found.pop(part, "") for part in ("text", "html")}
    print_pairs(found)
    for part, text in texts.items():
        if text:
            click.echo(f"\n{part}:\n{printable(text)}")
    if "version" in found:
        click.echo(f"\nmtaframe approvals approve template {account} {found['name']} --seen {found['version']}")


@approvals.command("approve", short_help="Approve an account, a domain or a template.")
@click.argument("kind", type=_KIND)
@click.argument("account")
@click.argument("name", required=False)
@click.option("--seen", metavar="VERSION", default="", help="Only the version of a template that `show` has shown.")
@conf_option
@json_option
def approve(folder: Path, as_json: bool, kind: str, account: str, name: str | None, seen: str) -> None:
    """Approve an account, or a domain or template NAME of an account."""
    _decide(folder, as_json, kind, account, name, "approve", {"seen": seen} if seen else {})


@approvals.command("reject", short_help="Reject an account, a domain or a template.")
@click.argument("kind", type=_KIND)
@click.argument("account")
@click.argument("name", required=False)
@click.option("--reason", metavar="TEXT", default="", help="Why, for the holder of a domain or a template to read.")
@conf_option
@json_option
def reject(folder: Path, as_json: bool, kind: str, account: str, name: str | None, reason: str) -> None:
    """Reject an account, which is closed then, or a domain or template NAME of an account."""
    _decide(folder, as_json, kind, account, name, "reject", {"reason": reason} if reason else {})


def _decide(
    folder: Path, as_json: bool, kind: str, account: str, name: str | None, verdict: str, more: Mapping[str, str]
) -> None:
    if (kind == "account") != (name is None):
        raise click.UsageError("an account is named by itself; a domain or a template by its account and its name")
    if kind == "account":
        if more:
            raise click.UsageError(f"--{next(iter(more))} is for domains and templates")
        _decide_account(folder, as_json, account, verdict)
        return
    arguments = {"kind": kind, "account": account, "name": name, "verdict": verdict, **more}
    said = _ask(folder, "decide", arguments)
    if as_json:
        print_json(arguments)
    else:
        click.echo(said or f"{kind} {name} of {account}: {verdict}")


def _ask(folder: Path, call: str, arguments: dict[str, Any]) -> Any:
    if _API not in main_file(folder).get("plugins", []):
        raise Failed(f'domains and templates come by the plugin "{_API}", which is not listed')
    return ask_server(folder, f"{_API}.{call}", arguments)


def _decide_account(folder: Path, as_json: bool, account: str, verdict: str) -> None:
    file = AccountsFile(folder)
    at = file.index(account)
    if file.accounts[at].get("status") != "pending":
        raise Failed(f'"{account}" does not wait for approval')
    file.set(("account", at, "status"), "approved" if verdict == "approve" else "closed")
    file.save(quiet=as_json)
    if as_json:
        print_json({"kind": "account", "account": account, "verdict": verdict})
    if verdict == "approve":
        file.tell_who_bars(account)
