"""mtaframe with two workers, as an operator starts it, with other sets of plugins."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from contrib.bench.neighbours import Neighbours
from contrib.bench.process import HOST, Kept, free_port
from contrib.bench.row import Place, Running

_PROGRAM = (sys.executable, "-P", "-c", "from mtaframe.cli import main; main()")
_MAIN = """\
hostname = "mta.example.org"
plugins = {plugins}
control = "{folder}/control.sock"
workers = 2
[route]
transport = "smtp"
[delivery]
connections = {connections}
[state]
folder = "{folder}/state"
[[listener]]
name = "bench"
kind = "application"
addresses = ["{host}:{port}"]
trusted = ["127.0.0.0/8"]
max_connections = {transactions}
max_transactions = {shares}
"""
_HOST = """
[[host]]
name = "sink{number}"
next_hop = "127.0.0.{address}"
port = {port}
tls = "off"
domains = {domains}
"""
_DKIM = '[[key]]\ndomain = "example.com"\nselector = "s1"\nfile = "{key}"\nalgorithm = "rsa-sha256"\n'
MISSION = ("webhooks", "thresholds", "merge_tags", "spam_filter", "dkim", "smart_host", "ip_pools")
"""The six plugins of the mission, and the transport."""
BUNDLED = ("webhooks", "usage", "admission", "thresholds", "merge_tags", "http_api", *MISSION[3:])
"""All that come with mtaframe, as its configuration has them, but for the sandbox, which keeps the mail."""
_ACCOUNTS = '[[account]]\nname = "shop"\ndomains = ["example.com"]\n'
_POOLS = """\
default_pool = "shared"
[[source]]
name = "one"
address = "127.0.3.1"
ehlo = "one.example.org"
[[source]]
name = "two"
address = "127.0.3.2"
ehlo = "two.example.org"
[[pool]]
name = "shared"
sources = { one = 1, two = 1 }
"""
_LIMITS = (
    '[[limit]]\nper_hour = 1000000000\n[[policy]]\nname = "bounces"\nof = "bounce"\nat_most = "5 %"\nagainst = "sent"\n'
)
_WEBHOOKS = """\
[[endpoint]]
url = "{url}/events"
accounts = ["shop"]
secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
private = true
"""


@contextmanager
def plain(place: Place) -> Iterator[Running]:
    """The core alone; smart_host relays to the sink."""
    with _mtaframe(place, ["smart_host"], {}) as program:
        yield program


@contextmanager
def dkim(place: Place) -> Iterator[Running]:
    """The same, and signs with RSA-2048."""
    with _mtaframe(place, ["dkim", "smart_host"], {"dkim": _DKIM.format(key=place.key)}) as program:
        yield program


@contextmanager
def with_plugins(plugins: Sequence[str], place: Place) -> Iterator[Running]:
    """These plugins at work, with an HTTP server that stands in for rspamd and takes the events."""
    with ExitStack() as stack:
        neighbours = stack.enter_context(Neighbours(place.folder))
        files = {
            "accounts": _ACCOUNTS,
            "dkim": _DKIM.format(key=place.key),
            "ip_pools": _POOLS,
            "spam_filter": f'url = "{neighbours.url}"\n',
            "thresholds": _LIMITS,
            "webhooks": _WEBHOOKS.format(url=neighbours.url),
        }
        files = {name: text for name, text in files.items() if name == "accounts" or name in plugins}
        running = stack.enter_context(_mtaframe(place, plugins, files))
        yield Running(running.port, running.programs, neighbours.remark)


@contextmanager
def _mtaframe(place: Place, plugins: Sequence[str], files: dict[str, str]) -> Iterator[Running]:
    conf, port = place.folder / "conf", free_port()
    conf.mkdir()
    settings = _MAIN.format(
        plugins=str(list(plugins)).replace("'", '"'),
        folder=place.folder,
        connections=max(place.sessions, 20),
        host=HOST,
        port=port,
        transactions=place.transactions,
        shares=place.transactions * 4,  # one site and one account may have a part of them only
    )
    for name, text in {"mtaframe": settings, "smart_host": _hosts(place), **files}.items():
        (conf / f"{name}.toml").write_text(text)
    command = [*_PROGRAM, "run", "--conf", str(conf)]
    with Kept("mtaframe", command, place.folder / "log") as program:
        program.until_open(port)
        program.until(lambda: b"mtaframe runs" in (place.folder / "log").read_bytes())
        yield Running(port, [program])


def _hosts(place: Place) -> str:
    """The sink, as one smart host or, for very many connections, as several."""
    domains = [[f"hop{number}.example"] for number in range(place.hops)] if place.hops > 1 else [[]]
    return "".join(
        _HOST.format(number=number, address=number + 1, port=place.sink, domains=str(names).replace("'", '"'))
        for number, names in enumerate(domains)
    )
