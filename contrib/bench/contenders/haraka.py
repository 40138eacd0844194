"""Haraka with two processes, which forwards to the sink while its client waits, with and without signing."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from contrib.bench import programs
from contrib.bench.process import HOST, Kept, free_port
from contrib.bench.row import Place, Running

_HEADERS = "From, To, Cc, Subject, Date, Message-ID, Reply-To, MIME-Version, Content-Type"


@contextmanager
def plain(place: Place) -> Iterator[Running]:
    """smtp_forward alone."""
    with _haraka(place, ["relay", "queue/smtp_forward"]) as running:
        yield running


@contextmanager
def dkim(place: Place) -> Iterator[Running]:
    """The same, signing with RSA-2048."""
    with _haraka(place, ["relay", "dkim", "queue/smtp_forward"]) as running:
        yield running


@contextmanager
def _haraka(place: Place, plugins: Sequence[str]) -> Iterator[Running]:
    port, program = free_port(), programs.needed("haraka")
    config = place.folder / "config"
    shutil.copytree(program.parents[1] / "config", config)  # it does not start without
    (config / "dkim" / "example.com").mkdir(parents=True)
    files = {
        "me": "haraka.example.org\n",
        "plugins": "".join(f"{name}\n" for name in plugins),
        "smtp.ini": f"listen={HOST}:{port}\nnodes=2\n",
        "smtp_forward.ini": f"host={HOST}\nport={place.sink}\nenable_outbound=true\n",
        "relay.ini": "[relay]\nacl=true\nforce_routing=false\n",
        "relay_acl_allow": "127.0.0.0/8\n",
        "dkim.ini": f"[sign]\nenabled=true\nheaders={_HEADERS}\n[canon]\nbody=relaxed\n[verify]\nenabled=false\n",
        "dkim/example.com/selector": "s1\n",
        "dkim/example.com/private": place.key.read_text(),
    }
    for name, text in files.items():
        (config / name).write_text(text)
    with Kept("Haraka", ["node", str(program), "-c", str(place.folder)], place.folder / "log") as server:
        server.until_open(port)
        yield Running(port, [server])
