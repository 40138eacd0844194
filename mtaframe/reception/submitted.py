"""What the ledger knows of mail that a program submits, and what it must know once the program has its answer.

The law: that of every door. What comes again joins what is under way, and finds what ended without its being told, or
while others were not final; under an identity that is kept, it finds whatever has ended. Who gives an identity has its
recipients claimed before anything begins: that a client has gone is often heard of after it has come again.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property

from mtaframe.delivery import Result
from mtaframe.envelope import Envelope
from mtaframe.ledger import Entry, Ledger
from mtaframe.lifecycle import Identity
from mtaframe.message import Message

log = logging.getLogger("mtaframe.reception")


class Submitted:
    """Recipients are known by their place in the envelope."""

    def __init__(self, ledger: Ledger, envelope: Envelope, message: Message, identity: Identity | None = None) -> None:
        self._ledger = ledger
        self._envelope = envelope
        self._message = message
        self._identity = identity
        self._is_kept = identity is not None and identity.is_kept
        self._taken: set[bytes] = set()
        self._ended: dict[bytes, tuple[Result, asyncio.Future[Result]]] = {}
        self._keeping: asyncio.Task[None] | None = None
        self.known: dict[int, asyncio.Future[Result]] = {}
        """Results of an earlier try, and attempts of one that are under way."""

    @cached_property
    def _fingerprints(self) -> tuple[bytes, ...]:
        key = self._identity.key if self._identity is not None else None
        return self._ledger.fingerprints(self._envelope, self._message, key)

    async def look_up(self) -> None:
        """Learn what the ledger knows."""
        if self._identity is not None:
            answers = await self._ledger.take(self._fingerprints)
        elif self._ledger.is_empty:
            return
        else:
            answers = await self._ledger.look_up(self._fingerprints)
        for place, found in enumerate(answers):
            if isinstance(found, Entry):
                self.known[place] = asyncio.get_running_loop().create_future()
                self.known[place].set_result(found.result)
            elif found is not None:
                self.known[place] = found
            elif self._identity is not None:
                self._taken.add(self._fingerprints[place])

    def followed(self, attempts: Mapping[int, asyncio.Future[Result]]) -> dict[int, asyncio.Future[Result]]:
        """The attempts; under an identity that is kept, each is done only once its result is safe."""
        if not self._is_kept:
            return dict(attempts)
        safe: dict[int, asyncio.Future[Result]] = {}
        for place, attempt in attempts.items():
            safe[place] = asyncio.get_running_loop().create_future()
            fingerprint = self._fingerprints[place]
            self._taken.discard(fingerprint)
            attempt.add_done_callback(
                lambda done, one=fingerprint, future=safe[place]: self._has_ended(one, done, future)  # type: ignore[misc]
            )
        return safe

    def _has_ended(self, fingerprint: bytes, done: asyncio.Future[Result], safe: asyncio.Future[Result]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._ledger.end(fingerprint)
            safe.cancel()
            return
        self._ended[fingerprint] = done.result(), safe
        if self._keeping is None:
            self._keeping = asyncio.ensure_future(self._keep())

    async def _keep(self) -> None:
        """Write what is final, all that has gathered meanwhile at once, and only then say so."""
        try:
            while self._ended:
                ended, self._ended = self._ended, {}
                final = {one: result for one, (result, _) in ended.items() if result.outcome.is_final}
                try:
                    if final:
                        await self._ledger.write(final)
                except Exception as error:
                    log.error("results told that are not kept count=%d fault=%s", len(final), type(error).__name__)
                for one, (result, safe) in ended.items():
                    self._ledger.end(one)
                    if not safe.done():
                        safe.set_result(result)
        finally:
            self._keeping = None

    async def accepted(self, places: Sequence[int], result: Result) -> None:
        """These are told this result, whatever comes of them: a repeat is to find it."""
        if self._is_kept and places:
            await self._ledger.write({self._fingerprints[place]: result for place in places})

    async def let_go(self, attempts: Mapping[int, asyncio.Future[Result]], *, is_settled: bool) -> None:
        """Follow what goes on. Unless it ``is_settled``, and told, remember what has ended."""
        if self._is_kept:
            self._end({})  # nothing was begun with these
            return
        detached = {self._fingerprints[place]: future for place, future in attempts.items() if not future.done()}
        ended = {place: future.result() for place, future in attempts.items() if _has_result(future)}
        final = {self._fingerprints[place]: result for place, result in ended.items() if result.outcome.is_final}
        told = [self._ledger.write(final)] if final and not is_settled else []
        if detached:
            told.append(self._ledger.detach(detached))
        self._end(final if is_settled else {})
        for each in told:  # all is said before the first answer: a repeat, or the end of this task, may come first
            await each

    def _end(self, told: Mapping[bytes, Result]) -> None:
        """What was taken is over; who has come with the same meanwhile is ``told`` what it came to."""
        for fingerprint in self._taken:
            self._ledger.end(fingerprint, told.get(fingerprint))
        self._taken.clear()

    def proven(self, results: Mapping[int, Result]) -> None:
        """The submitter knows how these ended: what is final of an earlier try need not be remembered."""
        settled = [] if self._is_kept else [place for place in self.known if results[place].outcome.is_final]
        if settled:
            self._ledger.forget([self._fingerprints[place] for place in settled])


def _has_result(attempt: asyncio.Future[Result]) -> bool:
    return attempt.done() and not attempt.cancelled() and attempt.exception() is None
