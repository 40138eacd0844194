"""Results as Markdown. Pure."""

from collections.abc import Sequence

from contrib.bench.contest import Standing, Standings

_STORES = {"no": "no", "spool": "a spool file, beside", "queue": "in a queue, before its 250"}


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; all columns but the first are numbers."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(value: float) -> str:
    """With as many digits as mean something: 12,300, 1,230, 123, 12, 1.2; a dash for nothing."""
    if not value:
        return "–"
    if abs(value) < 10:
        return f"{value:.1f}"
    digits = max(0, len(str(int(abs(value)))) - 3)
    return f"{round(value, -digits):,.0f}"


def times(value: float) -> str:
    return f"{value:.1f} ×" if value else "–"


def throughput(standings: Standings) -> str:
    """One line per row: rate, range, ratios, CPU, memory, what is stored; what could not be run stands below."""
    head = [
        f"{standings.load.sessions} sessions, {octets(standings.load.size)}",
        "messages/s",
        "slowest to fastest round",
        "of the limit",
        "mtaframe is",
        "CPU µs/message",
        "peak RSS MB",
        "stores the mail",
    ]
    ran = [one for one in standings.rows.values() if one.runs]
    failed = [f"- {one.row.title}: {one.trouble}" for one in standings.rows.values() if one.trouble]
    table = markdown(head, [_line(standings, one) for one in ran])
    return table + ("\n\nNot measured, or not in all rounds:\n\n" + "\n".join(failed) if failed else "")


def octets(size: int) -> str:
    """10 KB, 10 MB."""
    return f"{size / 1_048_576:g} MB" if size >= 1_048_576 else f"{size / 1024:g} KB"


def _line(standings: Standings, one: Standing) -> list[str]:
    slowest, fastest = one.spread
    share = standings.of_limit(one)
    return [
        one.row.title,
        number(one.rate),
        f"{number(slowest)} to {number(fastest)}",
        f"{share:.0%}" if share else "–",
        times(standings.advantage(one)),
        number(one.cpu),
        number(one.rss / 1_048_576),
        _STORES[one.row.stores],
    ]
