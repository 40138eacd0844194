"""What plugin and core tests build on: a next hop, DNS and a clock that obey the test, and ready-made words."""

from mtaframe.testing.builders import (
    account,
    address,
    deliveries,
    delivery,
    envelope,
    event,
    message,
    recipient,
    reply,
    result,
    route,
    session,
)
from mtaframe.testing.certificates import Authority, authority, self_signed, server_context
from mtaframe.testing.clock import VirtualClock
from mtaframe.testing.dns import ScriptedDns
from mtaframe.testing.house import House, running
from mtaframe.testing.mta import RecordingMta
from mtaframe.testing.mx import ScriptedMx
from mtaframe.testing.script import DROP, HANG, RESET, MxSession, Received

__all__ = [
    "DROP",
    "HANG",
    "RESET",
    "Authority",
    "House",
    "MxSession",
    "Received",
    "RecordingMta",
    "ScriptedDns",
    "ScriptedMx",
    "VirtualClock",
    "account",
    "address",
    "authority",
    "deliveries",
    "delivery",
    "envelope",
    "event",
    "message",
    "recipient",
    "reply",
    "result",
    "route",
    "running",
    "self_signed",
    "server_context",
    "session",
]
