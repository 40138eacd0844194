"""``python -m contrib.bench``: one command for each question, see docs/benchmarks.md."""

import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from contrib.bench import contest, held, latency, machine, merge, page, plot, plugins, programs, stall, table
from contrib.bench.contest import Standings
from contrib.bench.process import ROOT, BenchError
from contrib.bench.rows import LIMIT, ROWS, chosen
from contrib.bench.trial import Load

_LARGE = (LIMIT, "mtaframe", "mtaframe-dkim", "postfix-proxy", "exim-cutthrough", "haraka")
_HELD = ("mtaframe", "mtaframe-dkim")

Told = Callable[[str], None]


@contextmanager
def _progress(total: int) -> Iterator[Told]:
    """A bar on stderr; what it gives is told what comes next, before each step."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("", total=total)
        done = -1

        def told(step: str) -> None:
            nonlocal done
            done += 1
            progress.update(task, completed=done, description=step)

        yield told
        progress.update(task, completed=total, description="done")


def _written(name: str, text: str, results: Any, options: dict[str, Any], picture: str = "") -> None:
    """To stdout, and where the options say: the page, the JSON file."""
    about = machine.described()
    click.echo(f"\n{text}\n\n{machine.sentence(about)}")
    if options["file"]:
        whole = {"benchmark": name, "machine": about, "results": results}
        options["file"].write_text(json.dumps(whole, indent=1) + "\n")
    if options["docs"]:
        page.write(name, f"{text}\n\n{machine.sentence(about)}.", picture)
        click.echo(f"written to {page.PAGE.relative_to(ROOT)}", err=True)


def _output(command: Callable[..., None]) -> Callable[..., None]:
    """The options that all commands have."""
    for option in (
        click.option("--docs/--no-docs", default=True, help="Write docs/benchmarks.md.", show_default=True),
        click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Raw results to a file."),
    ):
        command = option(command)
    return command


def _rows(default: Sequence[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    text = f"Separated by commas; {'default ' + ','.join(default) if default else 'default all'}."
    return click.option("--rows", default="", help=text)


@click.group()
@click.pass_context
def main(context: click.Context) -> None:
    """How fast mtaframe is on this machine, side by side with other mail servers. Loopback only."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all that was started is ended
    trouble = programs.lack(("smtp-source", "smtp-sink"))
    if trouble and context.invoked_subcommand not in ("rows", "merge"):
        raise BenchError(trouble)


@main.command()
def rows() -> None:
    """List the rows, and why some can't run here."""
    for row in ROWS:
        click.echo(f"{row.key:18}{row.title:38}{programs.lack(row.needs)}")


@main.command()
@_rows()
@click.option("--rounds", default=5, type=click.IntRange(1), show_default=True)
@click.option("--sessions", default="20,100", show_default=True, help="Loads, separated by commas.")
@click.option("--seconds", default=5.0, show_default=True, help="Of load, for each run.")
@click.option("--count", default=0, help="Messages for each run, instead.")
@click.option("--size", default=10_240, show_default=True, help="Octets of text of a message.")
@_output
def throughput(rows: str, rounds: int, sessions: str, seconds: float, count: int, size: int, **options: Any) -> None:
    """Messages per second, CPU and memory, for each row."""
    taking_part = chosen(rows)
    try:
        loads = [Load(int(each), size, seconds, count) for each in sessions.split(",")]
    except ValueError:
        raise BenchError(f'--sessions takes numbers, as "20,100", not "{sessions}"') from None
    with _progress(rounds * len(loads) * len(taking_part)) as told:
        standings = contest.results(taking_part, loads, rounds, told)
    _written(
        "throughput",
        f"Medians of {rounds} interleaved rounds.\n\n" + "\n\n".join(map(table.throughput, standings)),
        [each.as_json() for each in standings],
        options,
        plot.bars([_bars(each) for each in standings]),
    )


def _bars(standings: Standings) -> tuple[str, list[tuple[str, float, bool]]]:
    lines = [(one.row.title, one.rate, one.row.key.startswith("mtaframe")) for one in standings.rows.values()]
    head = f"messages per second, {standings.load.sessions} sessions, {table.octets(standings.load.size)}"
    return head, [line for line in lines if line[1]]


@main.command("latency")
@_rows(latency.ROWS)
@click.option("--rounds", default=3, type=click.IntRange(1), show_default=True)
@click.option("--rate", default=50.0, show_default=True, help="Messages per second.")
@click.option("--sessions", default=5, show_default=True)
@click.option("--seconds", default=10.0, show_default=True, help="Of load, for each run.")
@_output
def added_latency(rows: str, rounds: int, rate: float, sessions: int, seconds: float, **options: Any) -> None:
    """The time that each row adds to a transaction while there is little to do."""
    taking_part = chosen(rows, latency.ROWS)
    pace = latency.Pace(rate, sessions, seconds)
    with _progress(rounds * len(taking_part)) as told:
        found = latency.taken(taking_part, pace, rounds, told)
    head = f"{rate:g} messages of {table.octets(pace.size)} per second over {sessions} sessions, {rounds} rounds."
    _written("latency", f"{head}\n\n{latency.table(found)}", [each.as_json() for each in found], options)


@main.command("held")
@_rows(_HELD)
@click.option("--count", default=5000, type=click.IntRange(1), show_default=True, help="Sessions.")
@click.option("--delay", default=5.0, show_default=True, help="Seconds until the sink answers the final dot.")
@click.option("--size", default=1024, show_default=True, help="Octets of text of a message.")
@_output
def held_open(rows: str, count: int, delay: float, size: int, **options: Any) -> None:
    """Transactions held open by a slow sink: messages per second, and memory for each."""
    taking_part = [row for row in chosen(rows, _HELD) if row.key in _HELD]
    if not taking_part:
        raise BenchError(f"only these can be held: {', '.join(_HELD)}")
    with _progress(2 * len(taking_part)) as told:
        found = [held.held(row, count, delay, size, told) for row in taking_part]
    _written("held", held.table(found, size, delay), [each.as_json() for each in found], options)


@main.command("merge")
@click.option("--recipients", default=1000, type=click.IntRange(1), show_default=True)
@click.option("--size", default=10_240, show_default=True, help="Octets of text of a message.")
@click.option("--seconds", default=5.0, show_default=True, help="Of CPU, for each dialect.")
@_output
def merged(recipients: int, size: int, seconds: float, **options: Any) -> None:
    """Personalised copies per second of one core, before they are signed."""
    found = []
    with _progress(len(merge.DIALECTS)) as told:
        for dialect in merge.DIALECTS:
            told(f"{dialect}, {recipients} recipients")
            found.append(merge.merged(dialect, recipients, size, seconds))
    _written("merge", merge.table(found), [each.as_json() for each in found], options)


@main.command("plugins")
@click.option("--rounds", default=3, type=click.IntRange(1), show_default=True)
@click.option("--sessions", default=20, show_default=True)
@click.option("--seconds", default=3.0, show_default=True, help="Of load, for each run.")
@click.option("--size", default=10_240, show_default=True, help="Octets of text of a message.")
@_output
def shares(rounds: int, sessions: int, seconds: float, size: int, **options: Any) -> None:
    """What each plugin adds to a message."""
    taking_part = plugins.rows()
    with _progress(rounds * len(taking_part)) as told:
        [standings] = contest.results(taking_part, [Load(sessions, size, seconds)], rounds, told)
    _written("plugins", plugins.table(standings), standings.as_json(), options)


@main.command("large")
@_rows(_LARGE)
@click.option("--rounds", default=3, type=click.IntRange(1), show_default=True)
@click.option("--sessions", default=20, show_default=True)
@click.option("--seconds", default=5.0, show_default=True, help="Of load, for each run.")
@click.option("--size", default=102_400, show_default=True, help="Octets of text of the large messages.")
@click.option("--huge", default=10_485_760, show_default=True, help="Of those that other sessions wait for.")
@_output
def large_messages(rows: str, rounds: int, sessions: int, seconds: float, size: int, huge: int, **options: Any) -> None:
    """Large messages: how many per second, and how long very large ones hold others up."""
    taking_part = chosen(rows, _LARGE)
    with _progress((rounds + 1) * len(taking_part)) as told:
        [standings] = contest.results(taking_part, [Load(sessions, size, seconds)], rounds, told)
        found = stall.stalls(taking_part, huge, seconds, told)
    results = {"throughput": standings.as_json(), "stall": [each.as_json() for each in found]}
    _written("large", f"{table.throughput(standings)}\n\n{stall.table(found, huge)}", results, options)


if __name__ == "__main__":
    try:
        main(prog_name="make bench")
    except BenchError as error:
        sys.exit(f"bench: {error}")
