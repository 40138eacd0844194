"""The copy for each recipient: changed by plugins, routed, signed; and which of them can travel together.

The law: copies that are alike are signed once and sent once, and no more different ones are made than are sent soon.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from mtaframe.delivery import Delivery, Route
from mtaframe.envelope import Envelope
from mtaframe.generation import Generation
from mtaframe.message import Message
from mtaframe.mime import seven_bit
from mtaframe.plugins import Stopped

COPIES = 50
"""Different copies of one message that are in RAM before the first of them are on their way."""

Group = Sequence[tuple[int, Delivery]]
"""Copies that can travel in one transaction, each with its recipient's place in the envelope."""


@dataclass(frozen=True, slots=True)
class Halted:
    """A copy that a plugin stopped, as it was then; ``route`` is None if it had none yet."""

    delivery: Delivery
    stopped: Stopped
    route: Route | None = None


class Batch:
    """Copies that are ready, by what they have in common."""

    def __init__(self, is_alone: bool) -> None:
        self._is_alone = is_alone
        self.signed: dict[Hashable, Message | Stopped] | None = None if is_alone else {}
        """What equal copies share."""
        self._groups: dict[Hashable, tuple[Route, list[tuple[int, Delivery]]]] = {}

    @property
    def is_full(self) -> bool:
        return self.signed is not None and len(self.signed) >= COPIES

    @property
    def groups(self) -> Sequence[tuple[Route, Group]]:
        return list(self._groups.values())

    def add(self, index: int, delivery: Delivery, route: Route) -> None:
        way = None if self._is_alone else _way(delivery, route)
        self._groups.setdefault(way, (route, []))[1].append((index, delivery))


async def ready(
    generation: Generation,
    envelope: Envelope,
    index: int,
    message: Message,
    signed: dict[Hashable, Message | Stopped] | None,
    way: Route | None = None,
) -> tuple[Delivery, Route] | Halted:
    """The signed copy for one recipient, and its route. ``signed`` keeps what equal copies share, if there are more.

    With a ``way``, nobody is asked for a route.
    """
    plugins = generation.plugins
    first = Delivery(f"{envelope.id}-{index}", envelope, envelope.recipients[index], envelope.reverse_path, message)
    delivery = first
    if plugins.has("before_sign"):
        answer = await plugins.before_sign(first)
        if isinstance(answer, Stopped):
            return Halted(first, answer)
        delivery = answer
    route = way or await plugins.route(delivery, generation.default_route)
    if isinstance(route, Stopped):
        return Halted(delivery, route)
    key = (delivery.message, route) if signed is not None else None
    copy = signed.get(key) if signed is not None else None
    if copy is None:
        whole = seven_bit(delivery.message)
        copy = await plugins.sign(envelope, whole, route) if plugins.has("sign") else whole
        if signed is not None:
            signed[key] = copy
    if isinstance(copy, Stopped):
        return Halted(delivery, copy, route)
    return (delivery if copy is delivery.message else delivery.with_message(copy)), route


def _way(delivery: Delivery, route: Route) -> Hashable:
    """Copies that have it in common can travel together."""
    site = None if route.next_hop or own_way(route) else delivery.recipient.address.domain
    return delivery.message, delivery.reverse_path, route, site


def own_way(route: Route) -> bool:
    """Whether the transport is a plugin's, which finds its own next hops."""
    return route.transport not in ("smtp", "lmtp")
