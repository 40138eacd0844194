"""``mtaframe account hash``: the hash of a password, as ``accounts.toml`` wants it. The password is never shown."""

import json
import sys

import click

from mtaframe.cli.options import json_option
from mtaframe.cli.printing import Failed, print_json


@click.group()
def account() -> None:
    """Accounts and their credentials."""


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
