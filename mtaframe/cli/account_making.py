"""``mtaframe account add`` and ``rotate``: new accounts and new secrets, which are shown once and nowhere kept."""

import re
import secrets
from pathlib import Path
from typing import Any

import click

from mtaframe.cli.accounts_file import AccountsFile
from mtaframe.cli.options import conf_option, json_option
from mtaframe.cli.printing import Failed, print_json


@click.command(short_help="Add an account, with a token and a password.")
@click.argument("name")
@click.option("--parent", metavar="ACCOUNT", help="The account that it belongs to.")
@click.option("--domain", "domains", multiple=True, metavar="DOMAIN", help="A domain of its own; may be repeated.")
@click.option("--stream", "streams", multiple=True, metavar="NAME", help="A kind of mail; may be repeated.")
@click.option("--user", metavar="NAME", help="A user name for AUTH; its password is made up and shown once.")
@click.option("--token", default="default", show_default=True, metavar="NAME", help="What its token is called.")
@click.option("--no-token", is_flag=True, help="Without a token for the HTTP API.")
@click.option("--pending", is_flag=True, help="It is still to be approved: see `mtaframe approvals`.")
@click.option("--pool", metavar="NAME", help="The pool of ip_pools.toml that its mail leaves by.")
@click.option("--per-hour", type=click.IntRange(1), metavar="N", help="Recipients an hour.")
@click.option("--per-day", type=click.IntRange(1), metavar="N", help="Recipients a day.")
@click.option("--quota", type=click.IntRange(1), metavar="N", help="Recipients a month.")
@conf_option
@json_option
def add(
    folder: Path, as_json: bool, name: str, user: str | None, token: str, no_token: bool, pending: bool, **keys: Any
) -> None:
    """Add an account to accounts.toml, behind the others.

    Its token, and with --user its password, are made up and printed once: only their hashes are kept. A running server
    takes the account by itself.
    """
    file = AccountsFile(folder)
    if any(account.get("name") == name for account in file.accounts):
        raise Failed(f'{file.path} has an account "{name}" already; `mtaframe account rotate` makes new secrets')
    fields: dict[str, Any] = {"name": name, **({"status": "pending"} if pending else {})}
    fields |= {key: list(value) if isinstance(value, tuple) else value for key, value in keys.items() if value}
    tables: dict[str, dict[str, str]] = {}
    told: dict[str, Any] = {"account": name}
    if user is not None:
        tables["credential"], told["user"], told["password"] = _credential(user)
    if not no_token:
        tables["token"], told["token"] = _token(token)
    file.add(fields, tables)
    file.save(quiet=as_json)
    _tell(told, as_json)


@click.command(short_help="Make a new token or password.")
@click.argument("name")
@click.option("--token", metavar="NAME", help="The token to renew. Default: the only one.")
@click.option("--user", metavar="NAME", help="The user name whose password is to be renewed.")
@click.option("--now", is_flag=True, help="In place of the old one, which works no more.")
@conf_option
@json_option
def rotate(folder: Path, as_json: bool, name: str, token: str | None, user: str | None, now: bool) -> None:
    """Make a new secret for an account, and print it once.

    It stands beside the old one, under a name of its own, so that programs can move without a gap; what is printed says
    where the old one is to be taken out. With --now the new secret takes the old one's place and name at once.
    """
    if token is not None and user is not None:
        raise Failed("choose one of --token and --user")
    file = AccountsFile(folder)
    at = file.index(name)
    kind, key = ("credential", "user") if user is not None else ("token", "name")
    written = [one for one in file.accounts[at].get(kind, []) if isinstance(one, dict)]
    known = [str(one.get(key)) for one in written]
    wanted = user or token or (known[0] if len(known) == 1 else None)
    if wanted is None and not known:
        wanted = "default"
    if wanted is None or (known and wanted not in known):
        raise Failed(f'say which {kind} of "{name}" by --{"user" if user else "token"}: {", ".join(known)}')
    told = {"account": name, **_renewed(file, at, kind, wanted, known, now)}
    file.save(quiet=as_json)
    _tell(told, as_json)


def _renewed(file: AccountsFile, at: int, kind: str, wanted: str, known: list[str], now: bool) -> dict[str, Any]:
    """The secret is in the file; what is to be told."""
    old = known.index(wanted) if wanted in known else None
    is_beside = old is not None and not now
    called = _another(wanted, _taken(file, kind)) if is_beside else wanted
    told: dict[str, Any] = {}
    if kind == "credential":
        fields, told["user"], told["password"] = _credential(called)
    else:
        fields, told["token"] = _token(called)
    if old is not None and now:
        for key in fields.keys() - {"user", "name"}:
            file.set(("account", at, kind, old, key), fields[key])
    else:
        before = file.accounts[at][kind][old] if old is not None else {}
        file.add_below(at, kind, fields | {key: before[key] for key in ("dialect",) if key in before})
    if is_beside and old is not None:
        told["old"] = {"name": wanted, "at": file.line("account", at, kind, old)}
    return told


def _taken(file: AccountsFile, kind: str) -> set[str]:
    """Names that another secret has: user names are one for all accounts."""
    tables = [one for account in file.accounts for one in account.get(kind, []) if isinstance(one, dict)]
    return {str(one.get("user" if kind == "credential" else "name")) for one in tables}


def _another(name: str, taken: set[str]) -> str:
    """The name with the next free number: "website-2", "shop-2@example.com"."""
    local, at, domain = name.partition("@")
    base = re.sub(r"-\d+$", "", local)
    number = 2
    while f"{base}-{number}{at}{domain}" in taken:
        number += 1
    return f"{base}-{number}{at}{domain}"


def _credential(user: str) -> tuple[dict[str, str], str, str]:
    """What is written of a new password; the user name, and the password."""
    from mtaframe.accounts import hash_password

    password = secrets.token_urlsafe(18)
    return {"user": user, "hash": hash_password(password)}, user, password


def _token(name: str) -> tuple[dict[str, str], dict[str, str]]:
    """What is written of a new token, and what is told of it."""
    from mtaframe.tokens import new_token

    text, token_id, hashed = new_token()
    return {"name": name, "id": token_id, "hash": hashed}, {"name": name, "text": text}


def _tell(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    click.echo()
    if "password" in told:
        click.echo(f"user {told['user']}, password: {told['password']}")
    if "token" in told:
        click.echo(f"token {told['token']['name']}: {told['token']['text']}")
    if "password" in told or "token" in told:
        click.echo("This is shown once: only a hash is kept.")
    if "old" in told:
        old = told["old"]
        click.echo(f'Once the programs use it, take "{old["name"]}" out of {old["at"]}.')
