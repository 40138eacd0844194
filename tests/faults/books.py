"""The books that are kept outside the product: what was submitted, where it ended, what the upstream was told of it.

The law: a recipient's mail has one end, a copy that a next hop took or a report that it failed. None at all is a
loss. A second one needs an excuse that is the first one's: its next hop took it and did not say so (RFC 1047), or a
process died after the next hop took it and before anybody else could know.
"""

import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

LAG = 0.25
"""Seconds after a process's death in which others still read what it had written."""
NEAR = 10.0
"""Seconds around a second end in which a kill may tell the reader something."""

Way = tuple[int, str]


@dataclass(frozen=True, slots=True)
class End:
    """What became of one recipient's mail, once. Times are monotonic seconds; ``at`` is when the final dot was read.

    ``answered``: when the next hop said so; infinite if it never did, and then it is ``in_doubt``. ``to`` was in RCPT:
    the recipient, or who had to be told of it. ``way``: the client's port and
    the next hop's address, by which one knows whose connection it came on.
    """

    recipient: str
    to: str
    at: float
    answered: float
    way: Way = (0, "")
    in_doubt: bool = False


@dataclass(frozen=True, slots=True)
class Kill:
    """Somebody died. ``until``: when the last process that died of it was gone.

    ``spared`` are the connections of those who lived on.
    """

    what: str
    at: float
    until: float
    spared: frozenset[Way] = frozenset()


@dataclass(frozen=True, slots=True)
class Telling:
    """A reply after the final dot that the upstream has read, or what stands for one in its log.

    ``since``: when that try began, where it is known. A reply to a later try, which another process may have given,
    says nothing of who knew of an earlier end.
    """

    at: float
    code: int
    since: float = -math.inf


@dataclass(slots=True)
class Balance:
    """``lost``: recipients. ``twice``: how many second ends each kill has on its conscience, counted from 1."""

    lost: list[str] = field(default_factory=list)
    twice: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    in_doubt: int = 0
    unexplained: list[str] = field(default_factory=list)


class Books:
    """Written by the sites, the upstream and who kills; read at the end."""

    def __init__(self) -> None:
        self.submitted: dict[str, str] = {}
        """The reverse-path by recipient: no mailbox is in two messages."""
        self.written: dict[str, bytes] = {}
        """The body by recipient, also of what was not taken."""
        self.ends: dict[str, list[End]] = defaultdict(list)
        self.told: dict[str, list[Telling]] = defaultdict(list)
        self.kills: list[Kill] = []
        self.faults: list[str] = []
        """Mail that was changed or got lost on a wrong way."""
        self._reported: dict[str, set[str]] = {}
        """Whose mail, or report, went to a mailbox, as the balance has found it."""

    def tell(self, mailbox: str, code: int, since: float = -math.inf) -> None:
        """The upstream was answered."""
        self.told[mailbox].append(Telling(time.monotonic(), code, since))

    def bounced_upstream(self, recipient: str) -> None:
        """The upstream was told 5xx, and its own report is as good as sent."""
        now = time.monotonic()
        self.ends[recipient].append(End(recipient, recipient, now, now))

    def acknowledged_for_nothing(self) -> list[str]:
        """Who was told 250 and has no end so far: what would be lost if nothing came any more."""
        return [one for one in self.submitted if not self.ends[one] and any(t.code < 300 for t in self.told[one])]

    def open_at(self, kill: Kill) -> list[End]:
        """Ends that only the dead can have known: between the remote dot and the entry or the answer."""
        return [end for ends in self.ends.values() for end in ends if self._is_open(end, kill)]

    def _is_open(self, end: End, kill: Kill) -> bool:
        if end.in_doubt or end.at > kill.until + LAG or end.way in kill.spared:
            return False
        again = min((other.at for other in self.ends[end.recipient] if other.at > end.at), default=math.inf)
        last = min(kill.until + LAG, again)
        tellings = list(self.told.get(end.recipient, ()))
        if end.to != end.recipient and not self._has_other_reports(end):
            tellings += self.told.get(end.to, ())
        return not any(
            (told.since <= end.at and end.answered <= told.at <= kill.at)
            or (told.code < 400 and end.at <= told.at < last)
            for told in tellings
        )

    def _has_other_reports(self, end: End) -> bool:
        """Whether what was told of the sender's mailbox may have been said of a report on somebody else."""
        return len(self._reported.get(end.to, ())) > 1

    def balance(self) -> Balance:
        """What is lost, and who is to blame for what came twice."""
        found = Balance()
        self._reported = defaultdict(set)
        for recipient, all_ends in self.ends.items():
            for end in all_ends:
                self._reported[end.to].add(recipient)
        for recipient in self.submitted:
            ends = sorted(self.ends[recipient], key=lambda end: end.at)
            if not ends:
                found.lost.append(recipient)
            for earlier, later in pairwise(ends):
                self._excuse(earlier, later, found)
        return found

    def _excuse(self, earlier: End, later: End, found: Balance) -> None:
        if earlier.in_doubt:
            found.in_doubt += 1
            return
        for number, kill in enumerate(self.kills, 1):
            if kill.at <= later.at and self._is_open(earlier, kill):
                found.twice[number] += 1
                return
        kills = ", ".join(
            f"{kill.what} {kill.at - earlier.at:.3f} s{' (spared)' * (earlier.way in kill.spared)}"
            for kill in self.kills
            if abs(kill.at - later.at) < NEAR
        )
        told = ", ".join(
            f"{mailbox} {told.code} {told.at - earlier.at:.3f} s (since {told.since - earlier.at:.3f} s)"
            for mailbox in {later.recipient, later.to}
            for told in self.told[mailbox]
        )
        found.unexplained.append(
            f"{later.recipient} came again {later.at - earlier.at:.3f} s after an end that was answered after "
            f"{earlier.answered - earlier.at:.3f} s (told: {told}; kills: {kills})"
        )

    def report(self, balance: Balance) -> str:
        """A line for each kill, and the sum."""
        began = min((kill.at for kill in self.kills), default=0.0)
        lines = [
            f"{number:4d} {kill.at - began:7.2f} s  {kill.what:<24} between dot and entry {len(self.open_at(kill)):3d}"
            f"  came twice {balance.twice.get(number, 0):3d}  lost so far {self._lost_by(kill, balance)}"
            for number, kill in enumerate(self.kills, 1)
        ]
        lines.append(
            f"recipients {len(self.submitted)}  kills {len(self.kills)}  lost {len(balance.lost)}  twice by kills "
            f"{sum(balance.twice.values())}  twice in doubt {balance.in_doubt}  unexplained {len(balance.unexplained)}"
        )
        return "\n".join([*lines, *balance.unexplained])

    def _lost_by(self, kill: Kill, balance: Balance) -> int:
        """How many of the lost had been acknowledged by then."""
        told = (min((t.at for t in self.told[one] if t.code < 300), default=math.inf) for one in balance.lost)
        return sum(at <= kill.until + LAG for at in told)


def reports(raw: bytes) -> list[str]:
    """The recipients that a DSN is about (RFC 3464 §2.3.2)."""
    marked = (line.partition(b";")[2].strip() for line in raw.splitlines() if line.startswith(b"Final-Recipient:"))
    return [mailbox.decode() for mailbox in marked]
