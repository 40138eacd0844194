"""Holds the final dots of one message back until every next hop has said whom of its recipients it takes.

The law: as long as no dot is out, one temporary refusal keeps all of them in, for what nobody got can be sent again as
a whole. Refusals for good keep nothing in: trying again would not help those recipients.
"""

import asyncio
from collections.abc import Collection, Hashable


class Barrier:
    """``parties`` are the transactions of one message; the first that is ready waits ``seconds`` for the others."""

    def __init__(self, parties: Collection[Hashable], seconds: float) -> None:
        self._awaited = set(parties)
        self._seconds = seconds
        self._is_open: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def answered(self, party: Hashable, is_refused: bool) -> None:
        """A next hop has given its answers, or none is to come; ``is_refused``: someone can't be served now."""
        self._awaited.discard(party)
        if is_refused:
            self._decide(False)
        elif not self._awaited:
            self._decide(True)

    async def passed(self, party: Hashable, is_refused: bool) -> bool:
        """Wait for the others. Whether this party's final dot may go out."""
        self.answered(party, is_refused)
        await asyncio.wait((self._is_open,), timeout=self._seconds)
        self._decide(True)
        return self._is_open.result()

    def _decide(self, is_open: bool) -> None:
        if not self._is_open.done():
            self._is_open.set_result(is_open)
