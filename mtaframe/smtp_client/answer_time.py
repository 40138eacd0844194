"""How long each host usually takes to answer the final dot, so that none goes out whose answer would come too late."""

from collections import OrderedDict

FLOOR = 5.0
"""Seconds that must be left even for a host that answers at once, or that nobody knows."""
FADES = 0.02
"""How much of the way from the peak to the last answer the peak goes down: half of it after 35 answers."""
HOSTS = 10_000
"""That are remembered; who has not answered for longest goes first."""


class AnswerTimes:
    """A fading peak for each host: nearly all answers come sooner."""

    def __init__(self) -> None:
        self._peaks: OrderedDict[str, float] = OrderedDict()

    def note(self, address: str, seconds: float) -> None:
        """The host has answered after so long."""
        peak = self._peaks.get(address, 0.0)
        self._peaks[address] = max(seconds, peak - (peak - seconds) * FADES)
        self._peaks.move_to_end(address)
        if len(self._peaks) > HOSTS:
            self._peaks.popitem(last=False)

    def needed(self, address: str, patience: float) -> float:
        """Seconds that must be left before the final dot.

        Half of ``patience`` at most: else a host that is always slower than our clients' patience never got a mail.
        Its answer then goes to the ledger, and the client's repeat finds it.
        """
        return min(max(FLOOR, self._peaks.get(address, 0.0)), patience / 2)
