"""One whole configuration at work: its settings, accounts and plugins, which stay together until their last use.

The law: a transaction begins and ends in one generation. A retired generation stops its plugins once nobody
holds a lease of it any more.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mtaframe.accounts import Accounts
from mtaframe.delivery import Limits, Route
from mtaframe.envelope import Envelope, Recipient
from mtaframe.event import Event, EventType, Fact
from mtaframe.lifecycle import Transport
from mtaframe.memory import Place
from mtaframe.plugins import Plugins
from mtaframe.redaction import Private
from mtaframe.resolver import DnsResolver
from mtaframe.settings import Settings

log = logging.getLogger("mtaframe.generation")
seen = logging.getLogger("mtaframe.events")


class Lease:
    """Keeps a generation alive for as long as somebody refers to the lease."""

    __slots__ = ("_released", "generation", "place")

    def __init__(self, generation: "Generation", released: Callable[[], None]) -> None:
        self.generation = generation
        self.place: Place | None = None
        """What its message takes of the memory, for as long."""
        self._released = released

    def __del__(self) -> None:
        self._released()


@dataclass(eq=False)
class Generation:
    """``number`` counts up from 1; ``transports`` are all that a route may name."""

    number: int
    settings: Settings
    accounts: Accounts
    plugins: Plugins
    transports: Mapping[str, Transport]
    hostname: str
    resolver: DnsResolver
    default_route: Route = field(init=False)
    _telling: set[asyncio.Task[None]] = field(default_factory=set)
    _leases: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        route, delivery = self.settings.route, self.settings.delivery
        self.default_route = Route(
            next_hop=route.next_hop,
            port=route.port,
            transport=route.transport,
            tls=route.tls,
            ca_file=route.ca_file,
            limits=Limits(delivery.connections, delivery.recipients),
        )
        self._idle.set()

    def lease(self) -> Lease:
        self._leases += 1
        self._idle.clear()
        return Lease(self, self._release)

    def _release(self) -> None:
        self._leases -= 1
        if self._leases == 0:
            self._idle.set()

    def emit(self, event: Event) -> None:
        """Tell every plugin's on_event, soon; the generation lives until it is told."""
        seen.info("event %s type=%s account=%s message=%s", event.id, event.type.value, event.account or "-",
                  event.message_id or "-")  # fmt: skip
        if not self.plugins.has("on_event"):
            return
        lease = self.lease()

        async def tell() -> None:
            await lease.generation.plugins.on_event(event)

        task = asyncio.get_running_loop().create_task(tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def report(self, kind: EventType, envelope: Envelope, recipient: Recipient, at: datetime, **facts: Fact) -> None:
        """Tell of one recipient of a message what no attempt tells."""
        name, message = os.urandom(8).hex(), envelope.message_id(recipient)
        self.emit(Event(name, kind, at, envelope.account, message, recipient.address, Private(facts)))

    def abandon(self) -> None:
        """Wait for nobody any more: the process ends."""
        self._idle.set()

    async def retire(self, last: Callable[[], Awaitable[None]]) -> None:
        """Wait until nobody uses it, then stop the plugins and do what is left to do."""
        await self._idle.wait()
        await self.plugins.stop()
        await last()
        log.info("generation ended number=%d", self.number)
