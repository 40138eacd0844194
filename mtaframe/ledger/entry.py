"""One line of the ledger: how a recipient ended, in one integer and a time. There is no room for text."""

from dataclasses import dataclass

from mtaframe.delivery import Outcome, Result
from mtaframe.reply import Reply

_OUTCOMES = tuple(Outcome)


@dataclass(frozen=True, slots=True)
class Entry:
    """``since``: when this recipient was first seen to be final (seconds since 1970)."""

    outcome: Outcome
    code: int
    status: str
    since: float

    @classmethod
    def of(cls, result: Result, since: float) -> "Entry":
        return cls(result.outcome, result.reply.code, result.reply.status, since)

    @classmethod
    def unpacked(cls, packed: int, since: float) -> "Entry":
        """ValueError unless ``packed`` made it."""
        parts = [packed >> shift & 0x3FF for shift in (20, 10, 0)]
        status = ".".join(map(str, parts)) if parts[0] else ""
        outcome = packed >> 40
        if not 0 <= outcome < len(_OUTCOMES):
            raise ValueError("no entry of the ledger")
        return cls(_OUTCOMES[outcome], packed >> 30 & 0x3FF, status, since)

    @property
    def packed(self) -> int:
        """Outcome, code and enhanced status as an integer of 48 bits."""
        number = _OUTCOMES.index(self.outcome) << 10 | self.code
        for part in (self.status or "0.0.0").split("."):
            number = number << 10 | min(int(part), 0x3FF)
        return number

    @property
    def result(self) -> Result:
        words = "delivered before" if self.outcome is not Outcome.FAILED else "failed before"
        return Result(self.outcome, Reply(self.code, self.status, words), "ledger")
