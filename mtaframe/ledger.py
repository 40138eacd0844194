"""Remembers which recipients are final while their answer is unsettled, so that a repeat tries only the rest.

The law: an entry exists only while the client may try again because of us. It is a keyed digest and an outcome,
never text. The same octets sent twice on purpose find nothing here; sent again because the answer was 4xx or
never arrived, they find what is done. It is never approximate: a false hit would be a lost mail.
"""

import asyncio
import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from mtaframe.delivery import Outcome, Result
from mtaframe.envelope import Envelope
from mtaframe.lifecycle import Clock
from mtaframe.message import Message
from mtaframe.reply import Reply

KEPT = 5 * 86400.0
"""Seconds after which an entry is forgotten: longer than any upstream tries."""
LIMIT = 1_000_000
"""Entries; the oldest go first."""

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


@dataclass(frozen=True, slots=True)
class Entry:
    """How a recipient ended, and when we first saw it so (the clock's monotonic seconds)."""

    outcome: Outcome
    code: int
    status: str
    since: float

    @property
    def result(self) -> Result:
        words = "delivered before" if self.outcome is not Outcome.FAILED else "failed before"
        return Result(self.outcome, Reply(self.code, self.status, words), "ledger")


class Ledger:
    """A dictionary in this process. ``detached`` holds attempts that outlived their client's patience."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = os.urandom(32)
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self.detached: dict[bytes, asyncio.Future[Result]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_empty(self) -> bool:
        """Whether no look-up can find anything; then nobody needs a fingerprint."""
        return not self._entries and not self.detached

    def fingerprints(self, envelope: Envelope, message: Message) -> tuple[bytes, ...]:
        """One per recipient: of account, reverse-path, recipient, its occurrence, and what a repeat has in common."""
        content = hashlib.blake2b(key=self._key)
        kept = message.without(*_CHANGE_FROM_TRY_TO_TRY)
        sender = envelope.reverse_path.mailbox if envelope.reverse_path else ""
        for part in (envelope.account or "", sender):
            content.update(part.encode("utf-8", "surrogateescape") + b"\0")
        content.update(kept.header + b"\r\n")
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

    def entry(self, fingerprint: bytes) -> Entry | None:
        found = self._entries.get(fingerprint)
        if found is not None and self._clock.monotonic() - found.since > KEPT:
            del self._entries[fingerprint]
            return None
        return found

    def write(self, fingerprint: bytes, result: Result) -> None:
        """Remember a final result; the time of an earlier entry is kept. Entries stand in the order of their times."""
        oldest = self._clock.monotonic() - KEPT
        while self._entries and next(iter(self._entries.values())).since < oldest:
            self._entries.popitem(last=False)
        before = self._entries.get(fingerprint)
        since = before.since if before else self._clock.monotonic()
        self._entries[fingerprint] = Entry(result.outcome, result.reply.code, result.reply.status, since)
        if len(self._entries) > LIMIT:
            self._entries.popitem(last=False)

    def forget(self, fingerprints: Iterable[bytes]) -> None:
        """The client has read its final answer: nothing is left to remember."""
        for fingerprint in fingerprints:
            self._entries.pop(fingerprint, None)

    def detach(self, fingerprint: bytes, result: asyncio.Future[Result]) -> None:
        """Follow an attempt that goes on without its client; a final result becomes an entry."""
        self.detached[fingerprint] = result

        def ended(future: asyncio.Future[Result]) -> None:
            if self.detached.get(fingerprint) is future:
                del self.detached[fingerprint]
            if not future.cancelled() and future.exception() is None and future.result().outcome.is_final:
                self.write(fingerprint, future.result())

        result.add_done_callback(ended)
