"""``mtaframe account suspend``, ``resume``, ``close``, ``prune``: which accounts may send, written into their file."""

import re
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from mtaframe.cli.accounts_file import AccountsFile
from mtaframe.cli.options import conf_option, json_option
from mtaframe.cli.plugin_commands import ask_server
from mtaframe.cli.printing import Failed, print_json, print_table

_SPAN = re.compile(r"(\d{1,4})(d|w|mo|y)")


@click.command(short_help="Refuse an account's mail until it is resumed.")
@click.argument("name")
@conf_option
@json_option
def suspend(folder: Path, as_json: bool, name: str) -> None:
    """Refuse the mail of an account, and of all accounts below it, until it is resumed.

    What was accepted before goes its way. A closed account stays closed, and a pending one waits for
    `mtaframe approvals`.
    """
    file = AccountsFile(folder)
    status = file.accounts[file.index(name)].get("status")
    if status == "closed":
        raise Failed(f'"{name}" is closed: its mail is refused already, and its passwords and tokens prove nothing')
    if status == "pending":
        raise Failed(f'"{name}" waits for approval: `mtaframe approvals reject account {name}` closes it')
    _set_status(folder, name, "suspended", as_json)


@click.command(short_help="Let an account send again.")
@click.argument("name")
@conf_option
@json_option
def resume(folder: Path, as_json: bool, name: str) -> None:
    """Let an account send again that was suspended, limited or closed.

    One that the plugin thresholds has suspended needs `mtaframe thresholds resume`, a pending one `mtaframe approvals`.
    """
    file = AccountsFile(folder)
    if file.accounts[file.index(name)].get("status") == "pending":
        raise Failed(f'"{name}" waits for approval: `mtaframe approvals approve account {name}`')
    _set_status(folder, name, "approved", as_json)


@click.command(short_help="Close an account for good.")
@click.argument("name")
@conf_option
@json_option
def close(folder: Path, as_json: bool, name: str) -> None:
    """Close an account, and with it all accounts below it: their passwords and tokens prove nothing any more.

    It stays in the file, so that its name and its domains go to nobody else; `mtaframe state purge` erases what is kept
    of it.
    """
    _set_status(folder, name, "closed", as_json)


@click.command(short_help="Close accounts that nobody uses.")
@click.option("--inactive", required=True, metavar="TIME", help='For how long: "12mo", "26w", "400d" or "2y".')
@click.option("--yes", is_flag=True, help="Do not ask.")
@conf_option
@json_option
def prune(folder: Path, as_json: bool, inactive: str, yes: bool) -> None:
    """Close the accounts that had no mail for so long, as the plugin usage knows it.

    An account of which nothing is known is left alone: it may be new. So is one with a sub-account that stays.
    """
    since = before(inactive, datetime.now(UTC).date())
    file = AccountsFile(folder)
    last = last_days(folder)
    idle = idle_accounts(file.accounts, last, since)
    rows = [{"account": name, "last": last[name].isoformat()} for name in idle]
    if rows and not as_json:
        print_table(rows)
    elif not as_json:
        click.echo("none")
    if idle and not yes:
        if as_json or not sys.stdin.isatty():
            raise Failed("nothing is closed yet: add --yes")
        click.confirm(f"Close {len(idle)}?", abort=True, err=True)
    for name in idle:
        file.set(("account", file.index(name), "status"), "closed")
    file.save(quiet=as_json)
    if as_json:
        print_json({"closed": idle})


def last_days(folder: Path) -> Mapping[str, date]:
    """When each account last had anything, by the running server."""
    days: dict[str, str] = ask_server(folder, "usage.last")
    return {name: date.fromisoformat(day) for name, day in days.items()}


def idle_accounts(accounts: list[dict[str, Any]], last: Mapping[str, date], since: date) -> list[str]:
    """Those that are open, and of which it is known that they and all below them had nothing since that day."""
    open_ones = {str(each.get("name")): each.get("parent") for each in accounts if each.get("status") != "closed"}
    idle = {name for name in open_ones if name in last and last[name] < since}
    for name in open_ones:
        if name not in idle:  # neither is anybody above it
            above, seen = open_ones[name], {name}
            while above in open_ones and above not in seen:
                idle.discard(above)
                seen.add(above)
                above = open_ones[above]
    return [name for name in open_ones if name in idle]


def before(span: str, today: date) -> date:
    """The day so long ago. A month is one of the calendar."""
    found = _SPAN.fullmatch(span)
    if found is None or int(found[1]) == 0:
        raise click.UsageError('a time is written as "12mo", "26w", "400d" or "2y"')
    count, unit = int(found[1]), found[2]
    if unit in "dw":
        return today - timedelta(days=count * (7 if unit == "w" else 1))
    months = today.year * 12 + today.month - 1 - count * (12 if unit == "y" else 1)
    if months < 12:
        raise click.UsageError("so long ago there was no mail")
    first = date(months // 12, months % 12 + 1, 1)
    following = (first + timedelta(days=31)).replace(day=1)
    return min(first + timedelta(days=today.day - 1), following - timedelta(days=1))


def _set_status(folder: Path, name: str, status: str, as_json: bool) -> None:
    file = AccountsFile(folder)
    at = file.index(name)
    account = file.accounts[at]
    is_changed = account.get("status", "approved") != status
    if is_changed:
        file.set(("account", at, "status"), status)
        file.save(quiet=as_json)
    if as_json:
        print_json({"account": name, "status": status, "changed": is_changed})
    elif not is_changed:
        click.echo(f"{name} is {status} already")
    if status == "approved":
        file.tell_who_bars(name)
