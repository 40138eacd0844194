"""Counts the octets of the messages in this process, so that they never take more RAM than the operator allows.

The law: who comes when there is no room is told to come again before its message is sent, and one account leaves half
of the room to the others. What is counted is counted until the last attempt with that message has ended.
"""

from collections import Counter


class Memory:
    """``share`` is the part of the limit that is this process's."""

    def __init__(self, share: float = 1.0) -> None:
        self._share = share
        self._limit = 0
        self._promised = 0
        self.used = 0
        self._accounts: Counter[str | None] = Counter()

    def limit_to(self, octets: int) -> None:
        """What all processes together may use, from now on."""
        if octets != self._promised:
            self._promised, self._limit = octets, max(1, round(octets * self._share))

    def has_room(self, octets: int, account: str | None) -> bool:
        """Whether so many more fit in."""
        if self.used + octets > self._limit:
            return False
        of_account = self._accounts.get(account, 0)
        return of_account + octets <= self._limit // 2 or of_account == self.used

    def place(self, account: str | None) -> "Place":
        """For one message."""
        return Place(self, account)

    def change(self, octets: int, account: str | None) -> None:
        """Said by places alone."""
        self.used += octets
        self._accounts[account] += octets
        if not self._accounts[account]:
            del self._accounts[account]


class Place:
    """What one message takes. It is given back when nobody refers to it any more."""

    __slots__ = ("_account", "_memory", "octets")

    def __init__(self, memory: Memory, account: str | None) -> None:
        self._memory = memory
        self._account = account
        self.octets = 0

    def grow_to(self, octets: int) -> bool:
        """Take so much in all, if there is room."""
        more = octets - self.octets
        if more <= 0:
            return True
        if not self._memory.has_room(more, self._account):
            return False
        self.take(more)
        return True

    def take(self, more: int) -> None:
        """Take so much more, come what may: the message is here already."""
        self.octets += more
        self._memory.change(more, self._account)

    def __del__(self) -> None:
        if self.octets:
            self._memory.change(-self.octets, self._account)
