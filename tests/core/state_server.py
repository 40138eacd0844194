"""A state and the workers that share it: real links, one event loop."""

import asyncio
import socket
from contextlib import asynccontextmanager
from datetime import timedelta

from mtaframe import Counter
from mtaframe.link import Link
from mtaframe.state import MemoryState
from mtaframe.state.desk import StateDesk
from mtaframe.state.remote import RemoteState
from mtaframe.testing import VirtualClock

SENT, BOUNCED, OTHER = Counter("a.sent", "shop"), Counter("a.bounced", "shop"), Counter("b", site="example.net")


class Server:
    """The owner's state, and the workers by number."""

    def __init__(self, clock, state=None):
        self.clock = clock
        self.state = state or MemoryState(clock)
        self.desk = StateDesk(self.state, clock)
        self.workers = {}
        self.links = {}

    async def start(self, number):
        near, far = socket.socketpair()
        link = await Link.over(near, self.desk.handlers(number))
        self.desk.joined(number, link)
        own = await Link.over(far, {})
        worker = RemoteState(own, self.state.keyring)
        own.handlers.update(worker.handlers())
        self.workers[number], self.links[number] = worker, (link, own)
        await worker.begin()
        return worker

    async def kill(self, number):
        for link in self.links.pop(number):
            link.close()
        await asyncio.sleep(0)
        del self.workers[number]
        await self.desk.left(number)

    async def quiet(self):
        """Until everything that was said is known everywhere."""
        for _ in range(2):
            for worker in self.workers.values():
                await worker.counters.sums([SENT], self.clock.now())
        await asyncio.sleep(0)

    async def sum(self, counter=SENT, hours=0):
        [total] = await self.state.counters.sums([counter], self.clock.now() - timedelta(hours=hours))
        return total


@asynccontextmanager
async def serving(count, state=None):
    server = Server(VirtualClock(), state)
    workers = [await server.start(number) for number in range(count)]
    yield server, workers
    for number in list(server.workers):
        await server.workers[number].end()
        await server.kill(number)
    await asyncio.sleep(0.01)
