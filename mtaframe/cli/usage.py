"""``mtaframe usage``: what each account has sent in a month, as a table, JSON or CSV. The plugin usage counts it."""

import csv
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from mtaframe.cli.options import conf_option, json_option
from mtaframe.cli.plugin_commands import ask_server, main_file
from mtaframe.cli.printing import Failed, print_json, print_table

_NARROW = ("request", "delivered", "deferred", "bounce", "block", "open", "click", "unsubscribe", "spam")


@click.command(short_help="Recipients of each account in a month.")
@conf_option
@click.option("--month", metavar="YYYY-MM", help="Which month (UTC). Default: this one.")
@click.option("--account", metavar="NAME", help="This account and those below it. Default: all.")
@click.option("--by-day", is_flag=True, help="Each day by itself.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, every column with its name.")
@json_option
def usage(folder: Path, month: str | None, account: str | None, by_day: bool, as_csv: bool, as_json: bool) -> None:
    """How many recipients each account had in a month, and what became of them.

    A message to 100 recipients is 100. "charged" is what a bill is about: recipients that the remote side has taken or
    refused for good, once each. A row is about the account by itself, about one of its streams, or about the family:
    the account with all its sub-accounts. The plugin usage must be listed, and the server run.
    """
    if as_csv and as_json:
        raise Failed("choose one of --csv and --json")
    rows = ask_server(folder, "usage.months", {"month": month, "account": account, "by_day": by_day})
    _tell_what_is_missing(folder, month)
    if as_json:
        print_json(rows)
    elif as_csv:
        _print_csv(rows, by_day)
    elif rows:
        print_table([_narrow(row) for row in rows])
    else:
        click.echo("none")


def _tell_what_is_missing(folder: Path, month: str | None) -> None:
    """Whoever writes a bill is to know that a part of its month is forgotten."""
    from mtaframe.quantity import seconds
    from mtaframe.settings import StateSettings

    try:
        first = date.fromisoformat(f"{month}-01")
        written = main_file(folder).get("state", {}).get("counters")
        kept = timedelta(seconds=seconds(written) if written else StateSettings().counters)
        oldest = datetime.now(UTC).date() - kept
    except (ValueError, AttributeError, OverflowError):
        return
    if first <= oldest:
        click.echo(f"mtaframe: counts are kept for {kept.days} days: those before {oldest} are missing", err=True)


def _print_csv(rows: Sequence[Mapping[str, Any]], by_day: bool) -> None:
    from mtaframe.event import EventType

    events = [kind.value for kind in list(EventType)[: list(EventType).index(EventType.SPAMTRAP) + 1]]
    columns = ["day" if by_day else "month", "account", "parent", "of", "stream", "charged", *events, "quota"]
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _narrow(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What fits on a screen: soft and hard together, and what the row is about in one column."""
    about = {"account": "", "stream": f" {row['stream']}", "family": " and sub-accounts"}[row["of"]]
    shown: dict[str, Any] = {key: row[key] for key in ("day", "month") if key in row}
    shown |= {"account": f"{row['account']}{about}", "charged": row["charged"]}
    for name in _NARROW:
        shown[name] = row[name] if name in row else row[f"{name}_soft"] + row[f"{name}_hard"]
    return shown | {"quota": row["quota"]}
