"""One message through the whole chain, by the rooms that real mail walks through, and nothing leaves the house.

The law: no transport is called, and no plugin is told of a result or an event.
"""

import asyncio
import ipaddress
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

from mtaframe.address import Address, dns_name
from mtaframe.assembly import Outbound, built
from mtaframe.clock import SystemClock
from mtaframe.config import Configuration
from mtaframe.copies import Halted, ready
from mtaframe.delivery import Delivery, Outcome, Result, Route
from mtaframe.dispatch import Dispatch, UnderWay, result_of
from mtaframe.envelope import Envelope, Mail, Recipient, Session
from mtaframe.generation import Generation, Lease
from mtaframe.handoff import NO_TERMS, Terms
from mtaframe.hook_call import Asked
from mtaframe.ledger import Ledger
from mtaframe.lifecycle import Clock, DnsError, Resolver
from mtaframe.message import Message
from mtaframe.notation import Endpoint
from mtaframe.plugins import Stopped
from mtaframe.reception import Reception, Transaction
from mtaframe.reply import Reply
from mtaframe.settings import ListenerSettings

NOT_SENT = Reply(451, "4.0.0", "a rehearsal: not sent")
LOOK_UP = 10.0
"""Seconds that finding the hosts of one recipient may take."""


@dataclass(slots=True)
class Copy:
    """What one recipient would get, and where it would go; ``stopped`` if a plugin ended its way."""

    recipient: Address
    delivery: Delivery
    route: Route | None
    stopped: Stopped | None = None
    hosts: list[str] | None = None
    asked: list[Asked] = field(default_factory=list)


@dataclass(slots=True)
class Rehearsed:
    """What every plugin said, in the order of the walk. It may end early: ``reply`` is what the client was told."""

    listener: ListenerSettings
    message: Message
    session: Session
    on_connect: list[Asked] = field(default_factory=list)
    on_rcpt: list[tuple[Address, Reply, list[Asked]]] = field(default_factory=list)
    on_data: list[Asked] = field(default_factory=list)
    envelope: Envelope | None = None
    prepared: Message | None = None
    stopped: Stopped | None = None
    copies: list[Copy] = field(default_factory=list)
    reply: Reply | None = None


class Rehearsal(Dispatch):
    """Stands in the place of dispatch: copies, routes and signatures are made, and nothing is attempted."""

    def __init__(self, clock: Clock, seen: Rehearsed) -> None:
        super().__init__(clock)
        self.asked: list[Asked] = []
        self.envelope_id = ""
        self._seen = seen

    def start(
        self, lease: Lease, envelope: Envelope, message: Message, deadline: float, terms: Terms = NO_TERMS
    ) -> UnderWay:
        under_way = UnderWay(envelope, lease)
        everybody = range(len(under_way.results))
        under_way.preparing = self._task(self._rehearse(under_way, message), under_way, everybody)
        return under_way

    async def refuse(self, lease: Lease, envelope: Envelope, message: Message, stopped: Stopped) -> list[Result]:
        if envelope.id == self.envelope_id:
            self._seen.envelope, self._seen.stopped = envelope, stopped
        return [result_of(stopped) for _ in envelope.recipients]

    async def _rehearse(self, under_way: UnderWay, message: Message) -> None:
        """Prepare each copy; no result is final, so that nobody believes that mail was delivered."""
        try:
            await self._prepare_copies(under_way.lease.generation, under_way.envelope, message)
        finally:
            for future in under_way.results:
                future.set_result(Result(Outcome.DEFERRED, NOT_SENT, "rehearsal"))

    async def _prepare_copies(self, generation: Generation, envelope: Envelope, message: Message) -> None:
        is_ours = envelope.id == self.envelope_id  # a plugin may submit mail of its own
        if is_ours:
            self._seen.envelope, self._seen.prepared = envelope, message
        signed: dict[Hashable, Message | Stopped] = {}
        for index, recipient in enumerate(envelope.recipients):
            before, self.asked = self.asked, []
            made = await ready(generation, envelope, index, message, signed)
            copy = (
                Copy(recipient.address, made.delivery, made.route, made.stopped, asked=self.asked)
                if isinstance(made, Halted)
                else Copy(recipient.address, *made, asked=self.asked)
            )
            self.asked = before
            if is_ours:
                self._seen.copies.append(copy)


async def rehearsed(
    configuration: Configuration,
    listener: ListenerSettings,
    octets: bytes,
    reverse_path: Address | None,
    recipients: Sequence[Address],
    *,
    account: str | None = None,
    client: str = "127.0.0.1",
) -> Rehearsed:
    """What would become of the message. ConfigError if a plugin can't be built."""
    clock = SystemClock()
    session = _session(listener, account, client)
    seen = Rehearsed(listener, Message.parse(octets), session)
    stage = Rehearsal(clock, seen)
    at_work: list[Generation] = []
    reception = Reception(lambda: at_work[0], stage, Ledger(clock), clock)
    outbound = Outbound(configuration.settings, clock)
    try:
        generation = await built(
            configuration, 1, outbound, clock, reception, observer=lambda asked: stage.asked.append(asked)
        )
        generation.plugins.keep_silent()
        at_work.append(generation)
        try:
            await _walk(reception, stage, seen, octets, reverse_path, recipients)
            for copy in seen.copies:
                copy.hosts = await hosts(copy, outbound.resolver)
                if copy.hosts is not None and copy.route is not None:
                    domain, delivery = copy.delivery.recipient.address.domain, configuration.settings.delivery
                    copy.route = replace(copy.route, tls=delivery.tls_for(domain, copy.route.tls))
        finally:
            await generation.plugins.stop()
    finally:
        await outbound.close()
    return seen


async def _walk(
    reception: Reception,
    stage: Rehearsal,
    seen: Rehearsed,
    octets: bytes,
    reverse_path: Address | None,
    recipients: Sequence[Address],
) -> None:
    """What the SMTP server does with a client that sends one message."""
    stage.asked = seen.on_connect
    session = await reception.connect(seen.session)
    if isinstance(session, Reply):
        seen.reply = session
        return
    seen.session = session
    everyone = [address for address in (reverse_path, *recipients) if address is not None]
    mail = Mail(
        reverse_path,
        len(octets),
        "7BIT" if octets.isascii() else "8BITMIME",
        smtputf8=not all(address.is_ascii for address in everyone),
    )
    transaction = await reception.begin(session, seen.listener, mail)
    if isinstance(transaction, Reply):
        seen.reply = transaction
        return
    stage.envelope_id = transaction.id
    await _complete(transaction, stage, seen, octets, recipients)


async def _complete(
    transaction: Transaction, stage: Rehearsal, seen: Rehearsed, octets: bytes, recipients: Sequence[Address]
) -> None:
    for address in recipients:
        stage.asked = []
        reply = await transaction.add(Recipient(address))
        seen.on_rcpt.append((address, reply, stage.asked))
    if not transaction.accepted:
        return
    stage.asked = seen.on_data

    def say(reply: Reply) -> None:
        seen.reply = reply if reply is not NOT_SENT else None

    await transaction.complete(octets, say)
    transaction.proven()


def _session(listener: ListenerSettings, account: str | None, client: str) -> Session:
    """A client as this listener would see it; with an account, one that has logged in."""
    local = all(Endpoint(address).path is not None for address in listener.addresses)
    client = "" if local else client
    trusted = not client or any(ipaddress.ip_address(client) in network for network in listener.trusted)
    protocol = "LMTP" if listener.kind == "lmtp" else "ESMTP"
    return Session(
        id="rehearsal",
        client=client,
        listener=listener.name,
        ehlo="localhost",
        protocol=f"{protocol}A" if account else protocol,
        account=account,
        trusted=trusted,
    )


async def hosts(copy: Copy, resolver: Resolver) -> list[str] | None:
    """The MX hosts that the copy would be offered to, best first, with their addresses; None if DNS has no say."""
    route = copy.route
    if copy.stopped or route is None or route.next_hop is not None or route.transport not in ("smtp", "lmtp"):
        return None
    domain = copy.delivery.recipient.address.domain
    if domain.startswith("["):
        return [domain]
    try:
        async with asyncio.timeout(LOOK_UP):
            records = sorted(await resolver.mx(dns_name(domain)))
            if records and not any(name for _, name in records):
                return ["null MX: the domain accepts no mail (RFC 7505)"]
            return [await _host(name, resolver, f"MX {preference} ") for preference, name in records] or [
                await _host(domain, resolver, "no MX; ")
            ]
    except (DnsError, TimeoutError):
        return ["no answer from DNS now"]
    except UnicodeError:
        return ["not a domain that DNS can know"]


async def _host(name: str, resolver: Resolver, how: str) -> str:
    try:
        addresses = ", ".join(await resolver.addresses(name)) or "no address"
    except DnsError:
        addresses = "no answer from DNS now"
    return f"{how}{name} ({addresses})"
