"""The transports ``smtp`` and ``lmtp``: hosts in order, connections from the pool, a result for each delivery.

The policy of docs/delivery.md: before the final dot another try is safe, after it none is.
"""

import logging
import traceback
from collections import OrderedDict
from collections.abc import Sequence

from mtaframe.delivery import Delivery, Result, Route, Tls
from mtaframe.lifecycle import Attempt, Clock, Resolver
from mtaframe.settings import DeliverySettings
from mtaframe.smtp_client.answer_time import AnswerTimes
from mtaframe.smtp_client.connection import Budget, Connection, Target
from mtaframe.smtp_client.errand import Errand
from mtaframe.smtp_client.mx import Hops, literal
from mtaframe.smtp_client.opening import Trust, opened
from mtaframe.smtp_client.pool import Pool
from mtaframe.smtp_client.transaction import Transaction
from mtaframe.smtp_client.trouble import Kind, Trouble, TroubleError

log = logging.getLogger("mtaframe.smtp_client")

TARGETS = 1000
"""That are remembered."""


class SmtpClient:
    """Delivers by SMTP, or by LMTP where the route says so. One per generation of the configuration."""

    test_only = False

    def __init__(self, hostname: str, resolver: Resolver, clock: Clock, settings: DeliverySettings) -> None:
        self._hostname = hostname
        self._resolver = resolver
        self._clock = clock
        self._settings = settings
        self._trust = Trust()
        self._pool = Pool(settings.idle_timeout, settings.max_uses)
        self._answer_times = AnswerTimes()
        self._targets: OrderedDict[tuple[str, str, Tls, int], tuple[Route, Target]] = OrderedDict()

    async def close(self) -> None:
        """Take leave of every idle connection; returns when their sockets are closed."""
        await self._pool.close()

    async def deliver(self, deliveries: Sequence[Delivery], route: Route, attempt: Attempt) -> Sequence[Result]:
        """One result per delivery, in order. Trouble is a result, never an exception; only cancellation passes."""
        errand, budget, next_hop = Errand(deliveries, route, self._clock), Budget(attempt, self._clock), route.next_hop
        try:
            if next_hop is not None and (address := literal(next_hop)) is not None:
                await self._visit(self._target(next_hop, address, route, route.tls), errand, route, attempt, budget)
            else:
                await self._look_round(errand, deliveries[0].recipient.address.domain, route, attempt, budget)
        except TroubleError as error:
            errand.stop(errand.unsettled(), error.trouble)
        except Exception as error:
            _report(error)
            kind = Kind.IN_DOUBT if attempt.dot_sent else Kind.BROKEN
            errand.stop(errand.unsettled(), Trouble(kind))
        return errand.results()

    async def _look_round(self, errand: Errand, domain: str, route: Route, attempt: Attempt, budget: Budget) -> None:
        """Host after host, in the order of DNS, until all is settled."""
        tls = self._settings.tls_for(domain, route.tls) if route.next_hop is None else route.tls
        hops = Hops(self._hostname, self._resolver, route.source, self._settings.ipv6)
        await hops.find(route, domain, budget)
        while level := await hops.more(budget):
            for name, address in level:
                await self._visit(self._target(name, address, route, tls), errand, route, attempt, budget)
                if not errand.unsettled() or attempt.is_held_back:
                    return

    def _target(self, name: str, address: str, route: Route, tls: Tls) -> Target:
        """One and the same for one and the same route, as a plugin gives it for message after message."""
        key = (name, address, tls, id(route))
        known, target = self._targets.get(key, (None, None))
        if known is not route or target is None:
            target = self._new_target(name, address, route, tls)
            self._targets[key] = (route, target)
            if len(self._targets) > TARGETS:
                self._targets.popitem(last=False)
        return target

    def _new_target(self, name: str, address: str, route: Route, tls: Tls) -> Target:
        source = route.source
        return Target(
            name=name,
            verified_name=name if tls is Tls.VERIFIED else None,
            address=address,
            port=0 if address.startswith("/") else route.port,
            source=source.address if source else None,
            ehlo=source.ehlo if source else self._hostname,
            tls=tls,
            ca_file=route.ca_file,
            credentials=route.credentials,
            lmtp=route.transport == "lmtp",
        )

    async def _visit(self, target: Target, errand: Errand, route: Route, attempt: Attempt, budget: Budget) -> None:
        """All that one address can settle."""
        connection: Connection | None = None
        todo = errand.unsettled()
        try:
            connection = await self._pool.acquire(target, route.limits.connections, budget)
        except TroubleError as error:
            return errand.stop(todo, error.trouble)
        may_replace = True
        try:
            while todo:
                if connection is None:
                    connection = await opened(target, self._trust, budget, self._settings)
                was_used = connection.uses > 0
                batch = _fitting(connection, errand, todo, route.limits.recipients)
                rest = [place for place in todo if place not in batch] if batch is not todo else []
                if not batch:  # this session has had all the domains that it may have
                    self._pool.retire(connection)
                    connection = None
                    continue
                if budget.left < self._answer_times.needed(target.address, budget.total):
                    return errand.stop(todo, Trouble(Kind.LATE))
                if not await attempt.may_begin():
                    return errand.stop(todo, Trouble(Kind.RESTS))
                transaction = Transaction(
                    connection, errand, batch, attempt, budget, self._settings, self._answer_times
                )
                trouble = await transaction.begin()
                if transaction.accepted:
                    trouble = await transaction.transmit()
                todo = transaction.again + rest
                if todo and not self._pool.is_good(connection):
                    self._pool.retire(connection)
                    connection = None
                if trouble is not None and not (was_used and may_replace and trouble.is_loss):
                    return errand.stop(todo, trouble, target.name)
                may_replace = may_replace and trouble is None
        except TroubleError as error:
            if connection is not None:
                connection.drop()  # the time is up in the middle of something
            errand.stop(todo, error.trouble, target.name if error.trouble.reply else None)
        except BaseException:
            if connection is not None:
                connection.drop()
            raise
        finally:
            self._pool.release(target, connection)
        return None


def _fitting(connection: Connection, errand: Errand, todo: list[int], most: int) -> list[int]:
    """Those of ``todo`` that one transaction on this connection may carry; itself, if it may carry all."""
    if not connection.limits and len(todo) <= most:
        return todo
    fitting = connection.fitting([errand.recipient(place).address.domain for place in todo], most)
    return [todo[fit] for fit in fitting] if len(fitting) < len(todo) else todo


def _report(error: Exception) -> None:
    """A fault of our own, told without its text, which may hold an address."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    log.error("%s in %s line %d", type(error).__name__, where.name, where.lineno)
