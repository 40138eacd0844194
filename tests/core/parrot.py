"""A plugin for the tests of the command line: it changes, refuses and fails on demand, and has commands."""

import logging
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import BaseModel
from pydantic import Field as Key

from mtaframe import (
    Address,
    Attempt,
    CommandError,
    Defer,
    Delivery,
    Envelope,
    Event,
    EventType,
    Message,
    Model,
    Outcome,
    Plugin,
    Recipient,
    Reject,
    Reply,
    Result,
    Route,
    Session,
    Transport,
    Verdict,
    command,
    hookimpl,
)

log = logging.getLogger("mtaframe.parrot")

TOLD: list[str] = []
"""What the outside world would have noticed."""


class Cage:
    test_only = True

    async def deliver(self, deliveries: Sequence[Delivery], route: Route, attempt: Attempt) -> Sequence[Result]:
        TOLD.append("deliver")
        return [Result(Outcome.DELIVERED, Reply(250, "2.0.0", "caged"), "cage") for _ in deliveries]


class ParrotConfig(Model):
    voice: Literal["loud", "quiet", "none"] = Key(default="loud", description="How it speaks.")


class Parrot(Plugin):
    """Repeats what it hears. And more than that."""

    Config: ClassVar[type[BaseModel]] = ParrotConfig

    async def start(self) -> None:
        if self.config.voice == "none":
            raise ValueError("a parrot without a voice")
        if self.config.voice == "quiet":
            log.warning("hard to hear")

    def transports(self) -> Mapping[str, Transport]:
        return {"cage": Cage()}

    @hookimpl
    def on_connect(self, session: Session) -> Session:
        return session.with_note("parrot.seen", True)

    @hookimpl
    async def on_rcpt(self, recipient: Recipient) -> Recipient | Verdict | None:
        if recipient.address.local_part == "later":
            return Defer("the parrot sleeps")
        if recipient.address.local_part == "nobody":
            return Reject("no such parrot", "5.1.1")
        if recipient.address.local_part == "alias":
            return Recipient(Address.parse("real@example.net"))
        return None

    @hookimpl
    async def on_data(self, envelope: Envelope, message: Message) -> tuple[Envelope, Message] | Message | Reject:
        subject = message.first("Subject") or ""
        if subject == "fail":
            raise RuntimeError(subject)
        if subject == "spam":
            return Reject("no spam")
        self.mta.emit(Event("e", EventType.OPEN, self.mta.clock.now()))
        return envelope.with_note("parrot.subject", subject), message.prepend("X-Parrot", f"{subject}!")

    @hookimpl
    def before_sign(self, delivery: Delivery) -> Delivery | None:
        if delivery.recipient.address.local_part != "real":
            return None
        return delivery.with_note("parrot.real", 1)

    @hookimpl
    def on_result(self, result: Result) -> None:
        TOLD.append("on_result")

    @hookimpl
    def on_event(self, event: Event) -> None:
        TOLD.append("on_event")

    @command
    async def rows(self, *, limit: int = 2) -> list[dict[str, object]]:
        """List what it knows.

        ``limit`` How many rows.
        """
        return [{"id": number, "word": "[red]hello\x1b[31m", "old": number > 1} for number in range(1, limit + 1)]

    @command
    async def say(self, word: str, times: int = 1, *, raw: bool = False, tone: str | None = None) -> str | bytes:
        """Say a word so many times."""
        said = " ".join([word] * times) + (f" ({tone})" if tone else "")
        return said.encode() + b"\xff" if raw else said

    @command
    async def facts(self) -> dict[str, object]:
        """Tell about itself."""
        return {"colour": "green", "age": 3}

    @command
    async def fly(self) -> None:
        """Fail."""
        raise LookupError("somewhere")

    @command
    async def sing(self) -> None:
        """Refuse."""
        raise CommandError("parrots do not sing: say something")


class Inker(Plugin):
    """Signs."""

    @hookimpl
    def sign(self, envelope: Envelope, message: Message) -> Message:
        return message.prepend("X-Ink", str(len(envelope.recipients)))
