"""What a smart host with a queue of its own is asked to take, and what its answer makes of a deferral.

The law: what may have been delivered is never handed off, and only a yes of that host changes anything: its no says
nothing of the recipient, whose own host has said "later".
"""

from dataclasses import dataclass, replace

from mtaframe.classification import was_tried
from mtaframe.delivery import Limits, Outcome, Result, Route
from mtaframe.reply import Reply
from mtaframe.settings import Settings

NAME = "handoff"
"""What results of a hand-off name as ``by``."""


@dataclass(frozen=True, slots=True)
class Handoff:
    """The way to the host, and the seconds that are kept for it at the end of a client's patience."""

    route: Route
    reserve: float


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for the attempts of one message beside their deadline.

    ``barrier`` is how many seconds final dots may wait for each other; ``handoff`` takes what is deferred;
    ``straight``: without a try at the recipients' own hosts.
    """

    barrier: float = 0.0
    handoff: Handoff | None = None
    straight: bool = False

    @property
    def way(self) -> Route | None:
        """The only route that there is to be, if there is one."""
        return self.handoff.route if self.straight and self.handoff is not None else None

    def first_deadline(self, deadline: float) -> float:
        """When the first try ends, so that there is time for the hand-off."""
        return deadline if self.handoff is None else deadline - self.handoff.reserve


NO_TERMS = Terms()


def handoff_of(settings: Settings) -> Handoff | None:
    """The hand-off that ``[handoff]`` describes, if it is there."""
    host = settings.handoff
    if host is None:
        return None
    limits = Limits(settings.delivery.connections, settings.delivery.recipients)
    return Handoff(Route(host.next_hop, host.port, host.transport, tls=host.tls, limits=limits), host.reserve)


def may_be_kept(result: Result) -> bool:
    """Whether somebody else than the client may keep it: tried, deferred, and nobody else may have it."""
    return result.outcome is Outcome.DEFERRED and not result.in_doubt and was_tried(result)


def final(deferral: Result, answer: Result) -> Result:
    """What a deferral has become by the smart host's answer."""
    if answer.outcome is Outcome.DELIVERED:
        text = f"handed off to {answer.remote or 'the smart host'}, which keeps it until it is delivered: "
        return replace(answer, reply=Reply(250, answer.reply.status, text + answer.reply.text), by=NAME)
    return replace(answer, by=NAME) if answer.in_doubt else deferral
