"""Which source a pair of sender and recipient gets: weighted rendezvous hashing, without any memory.

The law: each source draws a number for the pair, whatever other sources there are, and the best draw wins, more often
the greater the weight. So a pair keeps its source; when a source leaves, only its own pairs move, each to its second.
"""

from collections.abc import Sequence
from hashlib import blake2b
from math import inf, log
from struct import Struct
from typing import NamedTuple

from mtaframe import Address

_draw = Struct("<Q").unpack_from
_UNIT = 2.0**-64


class Contender(NamedTuple):
    """A source as it draws: the octets of its name, and one over its weight."""

    name: str
    octets: bytes
    share: float


def contender(name: str, weight: int) -> Contender:
    return Contender(name, name.encode() + b"\0", 1 / weight)


def pair(sender_domain: str, recipient: Address) -> bytes:
    """What a sender and a recipient are hashed to; case does not count, nor who writes at the sender's domain."""
    mailbox = f"{sender_domain}\0{recipient.mailbox}".lower()
    return blake2b(mailbox.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def winner(pair: bytes, contenders: Sequence[Contender]) -> str | None:
    """The source with the best draw; None, if there are none. This is asked for every copy that leaves."""
    best, found = -inf, None
    for name, octets, share in contenders:
        drawn = _draw(blake2b(octets + pair).digest())[0] * _UNIT
        # A logarithm is never above the tangent at 1, so most draws are out without one.
        if (drawn - 1) * share > best and (score := _score(drawn, share)) > best:
            best, found = score, name
    return found


def ranked(pair: bytes, contenders: Sequence[Contender]) -> list[str]:
    """All sources, best draw first: the next one takes over from the one before."""
    scores = {
        name: _score(_draw(blake2b(octets + pair).digest())[0] * _UNIT, share) for name, octets, share in contenders
    }
    return sorted(scores, key=lambda name: -scores[name])


def _score(drawn: float, share: float) -> float:
    """For a number evenly spread over 0 to 1: each one's is the greatest as often as its weight says."""
    return log(drawn or _UNIT) * share
