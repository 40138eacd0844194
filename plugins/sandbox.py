"""sandbox: a transport that keeps mail in RAM instead of delivering it, for trials. See docs/plugins/sandbox.md.

Each process keeps what it carried; the commands speak for all of them.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field

from mtaframe import (
    Address,
    Attempt,
    CommandError,
    Counter,
    Delivery,
    Duration,
    Message,
    Model,
    Mta,
    Outcome,
    Plugin,
    Redacted,
    Reply,
    Result,
    Route,
    Size,
    Transport,
    command,
    decoded_value,
)

NAME = "sandbox"

_KEPT = Reply(250, "2.0.0", "kept in the sandbox, NOT delivered")
_TOO_BIG = Reply(552, "5.3.4", "the message is bigger than the whole sandbox")
_IDS = Counter("sandbox.id")


class SandboxSettings(Model):
    """The keys of ``conf/sandbox.toml``."""

    max_age: Duration = Field(default=86400.0, gt=0, description="How long a message is kept.")
    max_count: int = Field(
        default=1000, ge=1, description="How many messages each worker keeps; the oldest goes first."
    )
    max_size: Size = Field(default=100_000_000, gt=0, description="How much all of a worker's may hold.")


class NoSuchMessageError(CommandError):
    """It never was there, or has gone since."""


@dataclass(frozen=True, slots=True, repr=False)
class Kept(Redacted):
    """One copy, as it would have left."""

    _shown = ("id", "received_at")

    id: str
    received_at: datetime
    reverse_path: Address | None
    recipient: Address
    message: Message

    @property
    def octets(self) -> bytes:
        """What an MX would have got: the last line ends in CR LF."""
        raw = self.message.raw
        return raw if raw.endswith(b"\r\n") else raw + b"\r\n"


class Inbox:
    """Copies in the order they came. It outlives the plugin's instance: the last one to adopt it owns it."""

    def __init__(self, owner: "Sandbox") -> None:
        self.owner = owner
        self.kept: OrderedDict[str, Kept] = OrderedDict()
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    def keep(self, number: int, delivery: Delivery, now: datetime) -> None:
        kept = Kept(str(number), now, delivery.reverse_path, delivery.recipient.address, delivery.message)
        self.kept[kept.id] = kept
        self._size += kept.message.size

    def tidy(self) -> None:
        """Forget what is too old or too much: now, and as soon as the next one has had its time."""
        settings, now = self.owner.config, self.owner.mta.clock.now()
        self.rest()
        while self.kept:
            first = next(iter(self.kept.values()))
            left = settings.max_age - (now - first.received_at).total_seconds()
            if left > 0 and len(self.kept) <= settings.max_count and self._size <= settings.max_size:
                self._timer = asyncio.get_running_loop().call_later(left + 0.01, self.tidy)
                return
            del self.kept[first.id]
            self._size -= first.message.size

    def clear(self) -> int:
        """Forget everything; how many that were."""
        count = len(self.kept)
        self.kept.clear()
        self._size = 0
        self.rest()
        return count

    def rest(self) -> None:
        """Without a timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def by_id(tables: Sequence[Sequence[Mapping[str, Any]]]) -> Sequence[Mapping[str, Any]]:
    """What all processes hold, in one table."""
    return sorted((row for table in tables for row in table), key=lambda row: int(row["id"]))


def the_one(found: Sequence[str | bytes]) -> str | bytes:
    """A message is in one process only."""
    return found[0]


def forgotten(counts: Sequence[int]) -> str:
    return f"{sum(counts)} forgotten"


class Sandbox(Plugin):
    """Keeps mail instead of delivering it."""

    Config: ClassVar[type[SandboxSettings]] = SandboxSettings
    config: SandboxSettings
    test_only = True

    def __init__(self, config: SandboxSettings, mta: Mta) -> None:
        super().__init__(config, mta)
        self._inbox = Inbox(self)

    async def stop(self) -> None:
        if self._inbox.owner is self:
            self._inbox.rest()

    def adopt(self, old: "Sandbox") -> None:
        self._inbox = old._inbox
        self._inbox.owner = self
        self._inbox.tidy()

    def transports(self) -> Mapping[str, Transport]:
        return {NAME: self}

    async def deliver(self, deliveries: Sequence[Delivery], route: Route, attempt: Attempt) -> Sequence[Result]:
        """Keep each copy: it will be there to see, and that is all."""
        now = self.mta.clock.now()
        if deliveries[0].message.size > self.config.max_size:
            return [Result(Outcome.FAILED, _TOO_BIG, NAME, route=route, began=now) for _ in deliveries]
        first = await self.mta.state.sequences.next(_IDS, len(deliveries))
        attempt.dot_sent = True
        for number, delivery in enumerate(deliveries, first):
            self._inbox.keep(number, delivery, now)
        self._inbox.tidy()
        return [Result(Outcome.DELIVERED, _KEPT, NAME, route=route, began=now) for _ in deliveries]

    @command(gather=by_id)
    async def list(self) -> Sequence[Mapping[str, Any]]:
        """What the sandbox holds, oldest first."""
        self._inbox.tidy()
        return [
            {
                "id": kept.id,
                "received": kept.received_at.isoformat(timespec="seconds"),
                "reverse-path": kept.reverse_path.mailbox if kept.reverse_path else "<>",
                "recipient": kept.recipient.mailbox,
                "subject": decoded_value(kept.message.first("Subject") or ""),
                "size": len(kept.octets),
            }
            for kept in self._inbox.kept.values()
        ]

    @command(gather=the_one)
    async def show(self, id: str, *, raw: bool = False) -> str | bytes:  # noqa: A002 - the word on the command line
        """One message of the sandbox.

        ``raw``: Every octet as an MX would have got it, and nothing else.
        """
        self._inbox.tidy()
        kept = self._inbox.kept.get(id)
        if kept is None:
            raise NoSuchMessageError("there is no such message; `mtaframe sandbox list` shows what there is")
        if raw:
            return kept.octets
        sender = kept.reverse_path.mailbox if kept.reverse_path else ""
        return f"MAIL FROM:<{sender}>\nRCPT TO:<{kept.recipient.mailbox}>\n\n{kept.octets.decode('utf-8', 'replace')}"

    @command(gather=forgotten)
    async def clear(self) -> int:
        """Forget everything in the sandbox."""
        return self._inbox.clear()
