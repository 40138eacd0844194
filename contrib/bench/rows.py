"""Who takes part, in the order of the tables."""

from functools import partial

from contrib.bench.contenders import exim, haraka, mtaframe, postfix
from contrib.bench.contenders.direct import direct
from contrib.bench.process import BenchError
from contrib.bench.row import Row

LIMIT = "direct"
_SIX = partial(mtaframe.with_plugins, mtaframe.MISSION)
ROWS = (
    Row(LIMIT, "nothing between: smtp-source to smtp-sink", direct),
    Row("mtaframe", "mtaframe: core, smart_host", mtaframe.plain),
    Row("mtaframe-dkim", "mtaframe: DKIM, RSA-2048", mtaframe.dkim),
    Row("mtaframe-all", "mtaframe: all six plugins", _SIX, personalised=True),
    Row("postfix-proxy", "Postfix: smtpd_proxy_filter", postfix.proxy, "mtaframe", needs=("root", "postconf")),
    Row("postfix-queue", "Postfix: queue", postfix.queue, "mtaframe", "queue", ("root", "postconf")),
    Row(
        "postfix-opendkim",
        "Postfix: queue, OpenDKIM, RSA-2048",
        postfix.queue_opendkim,
        "mtaframe-dkim",
        "queue",
        ("root", "postconf", "opendkim"),
    ),
    Row("exim-cutthrough", "Exim: cutthrough", exim.cutthrough, "mtaframe", "spool", ("root", "exim4")),
    Row("exim-dkim", "Exim: queue, DKIM, RSA-2048", exim.queue_dkim, "mtaframe-dkim", "queue", ("root", "exim4")),
    Row("haraka", "Haraka: smtp_forward", haraka.plain, "mtaframe", needs=("haraka",)),
    Row("haraka-dkim", "Haraka: smtp_forward, DKIM, RSA-2048", haraka.dkim, "mtaframe-dkim", needs=("haraka",)),
)


def chosen(keys: str, default: tuple[str, ...] = ()) -> list[Row]:
    """The rows with these keys, separated by commas; none: the default ones, or all. BenchError for an unknown one."""
    wanted = [key.strip() for key in keys.split(",") if key.strip()] or list(default) or [row.key for row in ROWS]
    known = {row.key: row for row in ROWS}
    for key in wanted:
        if key not in known:
            raise BenchError(f'there is no row "{key}": take of {", ".join(known)}')
    return [row for row in ROWS if row.key in wanted]
