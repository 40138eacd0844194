"""Counts the octets of the messages in this process, so that they never take more RAM than the operator allows.

The law: who comes when there is no room is told to come again before its message is sent, and one account leaves half
of the room to the others. What is counted is counted until the last attempt with that message has ended.
"""


class Memory:
    """``share`` is the part of the limit that is this process's."""

    def __init__(self, share: float = 1.0) -> None:
        self._share = share
        self._promised = 0
        self.limit = self.half = 0
        self.used = 0
        self.accounts: dict[str | None, int] = {}

    def limit_to(self, octets: int) -> None:
        """What all processes together may use, from now on."""
        if octets != self._promised:
            self._promised, self.limit = octets, max(1, round(octets * self._share))
            self.half = self.limit // 2

    def place(self, account: str | None) -> "Place":
        """For one message."""
        return Place(self, account)


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
        memory = self._memory
        used, of_account = memory.used + more, memory.accounts.get(self._account, 0) + more
        if used > memory.limit or (of_account > memory.half and of_account != used):
            return False
        self.take(more)
        return True

    def take(self, more: int) -> None:
        """Take so much more, come what may: the message is here already."""
        memory = self._memory
        self.octets += more
        memory.used += more
        memory.accounts[self._account] = memory.accounts.get(self._account, 0) + more

    def __del__(self) -> None:
        if self.octets:
            memory = self._memory
            memory.used -= self.octets
            memory.accounts[self._account] -= self.octets
