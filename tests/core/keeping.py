"""What the tests of hand-off, hold and barrier share: a house whose deferrals go somewhere, and who hears of them."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from mtaframe import Delivery, Event, Plugin, Result, hookimpl
from mtaframe.testing import House, ScriptedMx, running

BOB, CAROL, DAVE = "bob@example.net", "carol@example.net", "dave@example.net"

CONF = """
hostname = "mta.example.org"
plugins = {plugins}
drain = "{drain}"
[route]
transport = "{transport}"
next_hop = "127.0.0.1"
port = {mx}
tls = "off"
[hold]
{hold}
{handoff}
{listeners}
{more}
"""
LISTENER = """
[[listener]]
name = "{name}"
kind = "{kind}"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
patience = "{patience}"
on_defer = "{on_defer}"
{terms}
"""


def house(
    folder: Path,
    mx: ScriptedMx,
    smart: ScriptedMx | None = None,
    *,
    on_defer: str = "upstream",
    patience: str = "10s",
    reserve: str = "5s",
    terms: str = "",
    hold: str = "",
    drain: str = "1s",
    transport: str = "smtp",
    plugins: Mapping[str, type[Any]] | None = None,
    more: str = "",
    **files: str,
) -> AbstractAsyncContextManager[House]:
    """Doors "smtp", "app" and "lmtp", mail for ``mx``, and ``smart`` as the host of ``[handoff]``."""
    doors = (("smtp", "mta"), ("app", "application"), ("lmtp", "lmtp"))
    text = CONF.format(
        plugins=str(list(plugins or {})).replace("'", '"'),
        drain=drain,
        transport=transport,
        mx=mx.port,
        hold=hold,
        handoff=f'[handoff]\nnext_hop = "127.0.0.1"\nport = {smart.port}\nreserve = "{reserve}"' if smart else "",
        listeners="".join(
            LISTENER.format(name=name, kind=kind, patience=patience, on_defer=on_defer, terms=terms)
            for name, kind in doors
        ),
        more=more,
    )
    written = {"mtaframe.toml": text, **{f"{name}.toml": content for name, content in files.items()}}
    return running(folder, written, plugins=plugins)


class Ears(Plugin):
    """Hears every result and event."""

    def __init__(self, config: Any, mta: Any) -> None:
        super().__init__(config, mta)
        self.results: list[tuple[str, str, str]] = []
        self.events: list[Event] = []

    @hookimpl
    def on_result(self, delivery: Delivery, result: Result) -> None:
        self.results.append((delivery.recipient.address.local_part, result.outcome.value, result.by))

    @hookimpl
    def on_event(self, event: Event) -> None:
        self.events.append(event)


def ears(running_house: House) -> Ears:
    """Those of the last plugin."""
    assert running_house.mta.generation is not None
    heard = running_house.mta.generation.plugins.loaded[-1].instance
    assert isinstance(heard, Ears)
    return heard


def to(mx: ScriptedMx) -> list[str]:
    """Every recipient of every accepted transaction."""
    return sorted(one for received in mx.received for one in received.recipients)
