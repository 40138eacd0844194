"""What the ledger knows of mail that a program submits, and what it must know once the program has its answer.

The law: that of every door. What comes again joins what is under way, and finds what ended without its being told.
"""

import asyncio
from collections.abc import Mapping
from functools import cached_property

from mtaframe.delivery import Result
from mtaframe.envelope import Envelope
from mtaframe.ledger import Entry, Ledger
from mtaframe.message import Message


class Submitted:
    """Recipients are known by their place in the envelope."""

    def __init__(self, ledger: Ledger, envelope: Envelope, message: Message) -> None:
        self._ledger = ledger
        self._envelope = envelope
        self._message = message
        self.known: dict[int, asyncio.Future[Result]] = {}
        """Results of an earlier try, and attempts of one that are under way."""

    @cached_property
    def _fingerprints(self) -> tuple[bytes, ...]:
        return self._ledger.fingerprints(self._envelope, self._message)

    async def look_up(self) -> None:
        """Learn what the ledger knows."""
        if self._ledger.is_empty:
            return
        for place, found in enumerate(await self._ledger.look_up(self._fingerprints)):
            if isinstance(found, Entry):
                self.known[place] = asyncio.get_running_loop().create_future()
                self.known[place].set_result(found.result)
            elif found is not None:
                self.known[place] = found

    async def let_go(self, attempts: Mapping[int, asyncio.Future[Result]], *, is_told: bool) -> None:
        """Follow what goes on. Unless the submitter ``is_told`` of what has ended, remember that."""
        detached = {self._fingerprints[place]: future for place, future in attempts.items() if not future.done()}
        ended = {} if is_told else {place: future.result() for place, future in attempts.items() if future.done()}
        final = {self._fingerprints[place]: result for place, result in ended.items() if result.outcome.is_final}
        if final:
            await self._ledger.write(final)
        if detached:
            await self._ledger.detach(detached)

    def proven(self, results: Mapping[int, Result]) -> None:
        """The submitter knows how these ended: what is final of an earlier try need not be remembered."""
        settled = [place for place in self.known if results[place].outcome.is_final]
        if settled:
            self._ledger.forget([self._fingerprints[place] for place in settled])
