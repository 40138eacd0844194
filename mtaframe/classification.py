"""What an attempt's result is to those who count and report: a bounce, a block, or a passing trouble.

*bounce*: the remote side refused this recipient. *block*: we, or the remote's reputation rules, stopped it for
the sender's or the IP address's sake. This is the one place that decides it.
"""

import re

from mtaframe.delivery import Outcome, Result
from mtaframe.event import EventType

_SOFT = re.compile(r"[45]\.(?:2\.2|2\.3|3\.\d+|4\.\d+|5\.3)")
"""A full mailbox, a message too big, a server or network in trouble: nothing is wrong with the address."""
_POLICY = re.compile(r"[45]\.7\.\d+")
_REPUTATION = re.compile(
    r"\b(?:spam|block(?:ed|list)|blacklist|dnsbl|rbl|reputation|spamhaus|barracuda|policy reasons|rate.?limit)", re.I
)


def event_type(result: Result) -> EventType:
    """The event that tells of this result."""
    if result.outcome is Outcome.DELIVERED:
        return EventType.DELIVERED
    if result.outcome is Outcome.DISCARDED:
        return EventType.BLOCK_HARD
    blocked = not was_tried(result) or _is_policy(result)
    if result.outcome is Outcome.DEFERRED:
        return EventType.BLOCK_SOFT if blocked else EventType.DEFERRED
    if blocked:
        return EventType.BLOCK_HARD
    return EventType.BOUNCE_SOFT if _SOFT.fullmatch(result.reply.status) else EventType.BOUNCE_HARD


def was_tried(result: Result) -> bool:
    """Whether it was tried at all, and no plugin stopped it before."""
    return result.by in ("smtp", "lmtp", "dispatch", "hold") or (
        result.route is not None and result.by == result.route.transport
    )


def _is_policy(result: Result) -> bool:
    """Whether a remote server refused for who sends, not for whom it is."""
    if result.remote is None:
        return False
    return _POLICY.fullmatch(result.reply.status) is not None or _REPUTATION.search(result.reply.text) is not None
