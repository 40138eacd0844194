"""What each plugin that comes with mtaframe adds to a message: the core and smart_host, and it beside them."""

from collections.abc import Sequence
from functools import partial

from contrib.bench.contenders import mtaframe
from contrib.bench.contest import Standings
from contrib.bench.row import Row
from contrib.bench.table import markdown, number, octets

_ALONE = "alone"


def rows() -> list[Row]:
    """The core, each plugin beside it, the six of the mission, all; their messages carry merge variables."""
    sets = {_ALONE: ("smart_host",)}
    sets |= {name: (name, "smart_host") for name in mtaframe.BUNDLED if name != "smart_host"}
    sets |= {"the six of the mission": mtaframe.MISSION, "all": mtaframe.BUNDLED}
    return [
        Row(name, name, partial(mtaframe.with_plugins, plugins), personalised=True) for name, plugins in sets.items()
    ]


def table(standings: Standings) -> str:
    """One line per row, in the order of the configuration; what each adds to the first."""
    load = standings.load
    head = [f"{load.sessions} sessions, {octets(load.size)}", "messages/s", "CPU µs/message", "adds µs"]
    alone = standings.rows[_ALONE].cpu
    lines: list[Sequence[str]] = [
        [
            "core, smart_host" if one.row.key == _ALONE else one.row.title,
            number(one.rate),
            number(one.cpu),
            "–" if one.row.key == _ALONE or not alone else f"{one.cpu - alone:,.0f}",
        ]
        for one in standings.rows.values()
        if one.runs
    ]
    failed = [f"- {one.row.title}: {one.trouble}" for one in standings.rows.values() if one.trouble]
    return markdown(head, lines) + ("\n\nNot measured:\n\n" + "\n".join(failed) if failed else "")
