"""``mtaframe account``: what there is in ``accounts.toml``, and the commands that change it.

``account hash`` prints the hash of a password; the password itself is never shown.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mtaframe.cli.account_changes import close, last_days, prune, resume, suspend
from mtaframe.cli.account_making import add, rotate
from mtaframe.cli.options import conf_option, json_option
from mtaframe.cli.printing import Failed, Unreachable, faulty, print_json, print_table


@click.group()
def account() -> None:
    """Accounts and their credentials."""


for _command in (add, rotate, suspend, resume, close, prune):
    account.add_command(_command)


@account.command("list", short_help="All accounts.")
@conf_option
@json_option
def list_(folder: Path, as_json: bool) -> None:
    """All accounts: status, parent, domains, users, tokens, and the day of their last mail, if the server runs.

    The status is what holds: the worst of an account's own and those above it.
    """
    from mtaframe.accounts import Accounts
    from mtaframe.assembly import read
    from mtaframe.config import ConfigError

    try:
        accounts = Accounts(read(folder).accounts)
    except ConfigError as error:
        raise faulty(error, folder) from None
    last: Mapping[str, Any] = {}
    try:
        last = last_days(folder)
    except Unreachable as error:
        click.echo(f"mtaframe: the last days are not known: {error.message}", err=True)
    rows: list[dict[str, Any]] = [
        {
            "account": each.name,
            "status": accounts.status_of(each.name).value,
            "parent": each.parent,
            "domains": sorted(each.domains),
            "streams": sorted(each.streams),
            "users": [credential.user for credential in each.credentials],
            "tokens": [token.name for token in each.tokens],
            "last": last[each.name].isoformat() if each.name in last else None,
        }
        for each in accounts.values()
    ]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows)
    else:
        click.echo("none")


@account.command("hash", short_help="Hash a password for accounts.toml.")
@click.option("--user", default="user@example.com", show_default=True, help="The user name to write beside the hash.")
@json_option
def hash_(user: str, as_json: bool) -> None:
    """Hash a password (argon2id) and print what to paste below an [[account]] of accounts.toml.

    Asks for the password twice; without a terminal, the first line of the standard input is the password.
    """
    from mtaframe.accounts import hash_password

    if sys.stdin.isatty():
        password = str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise Failed("an empty password is none: type one, or give it as the first line of the standard input")
    hashed = hash_password(password)
    if as_json:
        print_json({"user": user, "hash": hashed})
    else:
        text = json.dumps(user, ensure_ascii=False)
        click.echo(f'[[account.credential]]\nuser = {text}\nhash = "{hashed}"')
