"""The hook points, in the order of a message's walk. A plugin implements those it needs, marked ``@hookimpl``.

A hook may be ``def`` or ``async def`` and names only the arguments that it wants. It has three answers:
nothing (go on), the changed value (go on with this), a verdict (stop). An exception, a late answer or any
other answer is a fault: the message is deferred (451 4.3.0), unless the operator said ``on_fault = "skip"``.
"""

import pluggy

from mtaframe.delivery import Delivery, Result, Route
from mtaframe.envelope import Envelope, Recipient, Session
from mtaframe.event import Event
from mtaframe.message import Message
from mtaframe.verdict import Verdict

GROUP = "mtaframe"
"""The name of the entry point group and of the pluggy project."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def on_connect(session: Session) -> Session | Verdict | None:
    """A client has connected; nothing has been said yet.

    A verdict is the banner (554 or 421) and ends the session. Never refuse here because of one destination
    or account: an upstream suspends the whole next hop after a few refused connections.
    """


@hookspec
def on_rcpt(session: Session, envelope: Envelope, recipient: Recipient) -> Recipient | Verdict | None:
    """One more recipient wants to join the envelope, which holds those accepted before.

    A verdict refuses this recipient alone. On application listeners a Defer is told at DATA for the
    whole transaction, for many client libraries pass over a single refused recipient in silence.
    """


@hookspec
def on_data(
    session: Session, envelope: Envelope, message: Message
) -> Message | Envelope | tuple[Envelope, Message] | Verdict | None:
    """The whole message is here, in RAM; nothing has been sent.

    A changed envelope keeps its id, its session and its recipients' addresses, in the same order.
    """


@hookspec
def before_sign(delivery: Delivery) -> Delivery | Verdict | None:
    """Each recipient's own copy: the last chance to change header fields or body. A verdict stops this copy only."""


@hookspec
def route(delivery: Delivery, route: Route) -> Route | Verdict | None:
    """Where the copy goes: each plugin refines the route of the one before; it starts as the default route."""


@hookspec
def sign(envelope: Envelope, message: Message, route: Route) -> Message | Verdict | None:
    """Once per distinct copy and route. Only adds header fields on top; the core checks it."""


@hookspec
def on_result(delivery: Delivery, result: Result) -> None:
    """How the attempt for one recipient ended. All plugins are told, whatever another one does."""


@hookspec
def on_event(event: Event) -> None:
    """Something became known that is no attempt: a complaint, a click, a late bounce. All plugins are told."""
