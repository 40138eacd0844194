"""What this process asks the ledger: fingerprints, look-ups, and attempts that outlived their client's patience."""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Iterable, Mapping, Sequence

from mtaframe.delivery import Outcome, Result
from mtaframe.envelope import Envelope
from mtaframe.ledger.book import CLAIMED, Book, Found, LocalBook
from mtaframe.ledger.entry import Entry
from mtaframe.lifecycle import Clock
from mtaframe.message import Message
from mtaframe.reply import Reply

_CHANGE_FROM_TRY_TO_TRY = (
    "Received",
    "Return-Path",
    "Delivered-To",
    "X-Original-To",
    "Envelope-To",
    "Delivery-Date",
    "DKIM-Signature",
    "ARC-Seal",
    "ARC-Message-Signature",
    "ARC-Authentication-Results",
    "Authentication-Results",
)
_NOTHING_CAME = Result(Outcome.DEFERRED, Reply(451, "4.4.2", "an earlier try has not ended well; try again"), "ledger")


class Ledger:
    """``detached`` holds attempts of this process that go on without their client.

    ``key`` is the secret of the fingerprints; all processes with one book share it.
    """

    def __init__(self, clock: Clock, book: Book | None = None, key: bytes | None = None) -> None:
        self._clock = clock
        self._key = key or os.urandom(32)
        self.book: Book = book if book is not None else LocalBook(clock)
        self.detached: dict[bytes, asyncio.Future[Result]] = {}
        self._waiting: set[asyncio.Future[Result]] = set()

    @property
    def is_empty(self) -> bool:
        """Whether no look-up can find anything; then nobody needs a fingerprint."""
        return not self.detached and self.book.is_empty

    def fingerprints(self, envelope: Envelope, message: Message, identity: bytes | None = None) -> tuple[bytes, ...]:
        """One per recipient: of account, reverse-path, recipient, its occurrence, and what a repeat has in common.

        That is the content, without what changes from try to try, or the ``identity`` that the submitter gives.
        """
        content = hashlib.blake2b(key=self._key, person=b"" if identity is None else b"identity")
        sender = envelope.reverse_path.mailbox if envelope.reverse_path else ""
        for part in (envelope.account or "", sender):
            content.update(part.encode("utf-8", "surrogateescape") + b"\0")
        if identity is not None:
            content.update(identity)
        else:
            content.update(message.without(*_CHANGE_FROM_TRY_TO_TRY).header + b"\r\n")
            content.update(message.body)
        common = content.digest()
        seen: dict[bytes, int] = {}
        prints = []
        for recipient in envelope.recipients:
            who = f"{recipient.address.mailbox}\0{recipient.original or ''}".encode("utf-8", "surrogateescape")
            seen[who] = seen.get(who, 0) + 1
            one = hashlib.blake2b(common + who + b"\0" + str(seen[who]).encode(), key=self._key, digest_size=16)
            prints.append(one.digest())
        return tuple(prints)

    def combined(self, fingerprints: Iterable[bytes]) -> bytes:
        """One for something that follows from several in whatever order, such as the report on those who failed."""
        return hashlib.blake2b(
            b"".join(sorted(fingerprints)), key=self._key, digest_size=16, person=b"combined"
        ).digest()

    async def look_up(self, fingerprints: Sequence[bytes]) -> "list[Entry | asyncio.Future[Result] | None]":
        """For each what is known: an entry, an attempt under way to join, or nothing."""
        found: list[Entry | asyncio.Future[Result] | None] = [self.detached.get(one) for one in fingerprints]
        unknown = [index for index, one in enumerate(found) if one is None]
        asked = [fingerprints[index] for index in unknown]
        if not asked or not self.book.may_hold(asked):
            return found
        for index, answer in zip(unknown, await self.book.look_up(asked), strict=True):
            found[index] = self._joined(fingerprints[index]) if answer == CLAIMED else answer
        return found

    async def take(self, fingerprints: Sequence[bytes]) -> "list[Entry | asyncio.Future[Result] | None]":
        """The same, and of what nothing is known each is this process's to ``end``: nobody else begins with it."""
        asked = asyncio.ensure_future(self.book.take(fingerprints))
        try:
            answers = await asyncio.shield(asked)
        except asyncio.CancelledError:  # the book may have given all the same
            asked.add_done_callback(lambda done: self._give_back(fingerprints, done))
            raise
        return [
            self._joined(one) if answer == CLAIMED else answer
            for one, answer in zip(fingerprints, answers, strict=True)
        ]

    def _give_back(self, fingerprints: Sequence[bytes], taken: asyncio.Future[Sequence[Found]]) -> None:
        if not taken.cancelled() and taken.exception() is None:
            for fingerprint, answer in zip(fingerprints, taken.result(), strict=True):
                if answer is None:
                    self.end(fingerprint)

    def end(self, fingerprint: bytes, told: Result | None = None) -> None:
        """What was taken is over; what is final of it has been written, or is ``told`` and need not be."""
        entry = Entry.of(told, self._clock.now().timestamp()) if told is not None else None
        self.book.release(fingerprint, entry, is_told=told is not None)

    def _joined(self, fingerprint: bytes) -> asyncio.Future[Result]:
        """The result of an attempt that another process follows."""
        if fingerprint in self.detached:
            return self.detached[fingerprint]

        async def wait() -> Result:
            entry = await self.book.awaited(fingerprint)
            return entry.result if entry is not None else _NOTHING_CAME

        task: asyncio.Future[Result] = asyncio.ensure_future(wait())
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        return task

    def write(self, results: Mapping[bytes, Result]) -> Awaitable[None]:
        """Remember final results. What comes back is done once they are safe."""
        now = self._clock.now().timestamp()
        return self.book.write({one: Entry.of(result, now) for one, result in results.items()})

    def forget(self, fingerprints: Iterable[bytes]) -> None:
        """The client has read its final answer: nothing is left to remember."""
        self.book.forget(fingerprints)

    def detach(self, attempts: Mapping[bytes, asyncio.Future[Result]]) -> Awaitable[None]:
        """Follow attempts that go on without their client; a final result becomes an entry.

        What comes back is done once every process knows that they are under way.
        """
        claimed = self.book.claim(attempts.keys())
        for fingerprint, result in attempts.items():
            self.detached[fingerprint] = result
            result.add_done_callback(lambda future, one=fingerprint: self._ended(one, future))  # type: ignore[misc]
        return claimed

    def _ended(self, fingerprint: bytes, future: asyncio.Future[Result]) -> None:
        if self.detached.get(fingerprint) is future:
            del self.detached[fingerprint]
        entry = None
        if not future.cancelled() and future.exception() is None and future.result().outcome.is_final:
            entry = Entry.of(future.result(), self._clock.now().timestamp())
        self.book.release(fingerprint, entry)
