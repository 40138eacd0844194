"""thresholds: holds accounts to the sending policy and to recipient limits. See docs/plugins/thresholds.md.

The law: what counts is final, has an account and is no report; what this plugin itself stops never counts against
anybody.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar

from mtaframe import (
    AccountStanding,
    CommandError,
    Counter,
    Defer,
    Delivery,
    Envelope,
    Event,
    EventType,
    Mta,
    Outcome,
    Plugin,
    Private,
    Question,
    Recipient,
    Reject,
    Result,
    Standing,
    Status,
    command,
    event_type,
    hookimpl,
)
from mtaframe_plugins.thresholds.books import Book, Books
from mtaframe_plugins.thresholds.ladder import (
    COUNTED,
    GOOD,
    LIMITED,
    STEPS,
    SUSPENDED,
    WARNED,
    Finding,
    Rule,
    reason,
)
from mtaframe_plugins.thresholds.limits import Exceeded, Limits
from mtaframe_plugins.thresholds.settings import LimitSettings, PolicySettings, ThresholdsSettings
from mtaframe_plugins.thresholds.view import explanation, overview

__all__ = ["LimitSettings", "PolicySettings", "Thresholds", "ThresholdsSettings"]

NAME = "thresholds"
HELD, HANDED_OFF = "hold", "handoff"
"""The note of an envelope that was held and who gives it up at last; who has delivered what a smart host took."""
log = logging.getLogger("mtaframe.thresholds")

T = EventType


def _indices(*names: str) -> tuple[int, ...]:
    return tuple(COUNTED.index(name) for name in names)


_FINAL = {
    T.DELIVERED: _indices("sent", "delivered"),
    T.BOUNCE_SOFT: _indices("sent", "bounce"),
    T.BOUNCE_HARD: _indices("sent", "bounce"),
    T.BLOCK_SOFT: _indices("sent", "block"),
    T.BLOCK_HARD: _indices("sent", "block"),
}
"""What a final result counts as."""
_LATER = {
    T.BOUNCE_SOFT: _indices("bounce"),
    T.BOUNCE_HARD: _indices("bounce"),
    T.BLOCK_HARD: _indices("block"),
    T.CLICK: _indices("click"),
    T.UNSUBSCRIBE: _indices("unsubscribe"),
    T.SPAM: _indices("spam"),
    T.SPAMTRAP: _indices("spamtrap"),
}
"""What an event counts as: its message was counted as sent when it was delivered."""
_TOLD = {WARNED: T.ACCOUNT_WARNED, LIMITED: T.ACCOUNT_LIMITED, SUSPENDED: T.ACCOUNT_SUSPENDED}


class Thresholds(Plugin):
    """Warns, limits and suspends accounts by what becomes of their mail."""

    Config: ClassVar[type[ThresholdsSettings]] = ThresholdsSettings
    config: ThresholdsSettings

    def __init__(self, config: ThresholdsSettings, mta: Mta) -> None:
        super().__init__(config, mta)
        self._shadow = config.mode == "shadow"
        self._rules = tuple(Rule(row, config) for row in config.policy)
        self._limits = Limits(config, mta.accounts)
        self._books = Books(mta.state, mta.clock)
        self._books.judge_by(self._rules, config.mode)
        self._judging: set[asyncio.Task[None]] = set()
        self._unfollow: Callable[[], None] | None = None

    async def start(self) -> None:
        for row in self.config.limit:
            for name in row.accounts:
                if name not in self.mta.accounts:
                    raise ValueError(f'conf/thresholds.toml: [[limit]]: there is no account "{name}"')
        self._unfollow = self.mta.state.counters.follow("thresholds.", self._heard)

    async def stop(self) -> None:
        self._follow_no_more()

    def adopt(self, old: "Thresholds") -> None:
        """The books go on; mail that the old instance still has is judged by the new rules."""
        old._follow_no_more()
        self._books = old._books
        self._books.judge_by(self._rules, self.config.mode)

    def _follow_no_more(self) -> None:
        unfollow, self._unfollow = self._unfollow, None
        if unfollow is not None:
            unfollow()

    def answers(self) -> Mapping[type[Question[Any]], Callable[[Any], Awaitable[Any]]]:
        return {AccountStanding: self._standing}

    async def _standing(self, question: AccountStanding) -> Standing:
        if question.account not in self.mta.accounts:
            return Standing.GOOD
        return STEPS[self._step(await self._book(question.account))]

    # Mail that wants to go out.

    @hookimpl
    async def on_rcpt(self, envelope: Envelope, recipient: Recipient) -> Recipient | Reject | Defer | None:
        """Refuse a recipient of an account that may not, or not now; else count it towards the account's limits."""
        if not self._is_counted(envelope):
            return None
        answer = await self._admitted(envelope, (recipient,))
        return answer[0] if isinstance(answer, tuple) else answer

    @hookimpl
    async def on_data(self, envelope: Envelope) -> Envelope | Reject | Defer | None:
        """The same for what was not known at RCPT: the stream always, the account of trusted clients sometimes."""
        if not self._is_counted(envelope):
            return None
        answer = await self._admitted(envelope, envelope.recipients)
        if isinstance(answer, tuple):
            return envelope.with_recipients(answer) if answer != envelope.recipients else None
        return answer

    async def _admitted(
        self, envelope: Envelope, recipients: tuple[Recipient, ...]
    ) -> tuple[Recipient, ...] | Reject | Defer:
        """The recipients, noted as counted, or why they may not go out."""
        account = envelope.account or ""
        keys = ["", *self._limits.shared(account)]
        if envelope.stream is not None and envelope.stream in self.mta.accounts[account].streams:
            keys.append(envelope.stream)
        wanted = {key: sum(key not in _noted(one) for one in recipients) for key in keys}
        if not any(wanted.values()):
            return recipients
        book = await self._book(account)
        if wanted[""] and book.standing == SUSPENDED and not self._shadow:
            cause = f": {book.cause.words}" if book.cause is not None else ""
            return Reject(f"account suspended{cause}", "5.7.1", 550)
        refused = await self._taken(book, {key: count for key, count in wanted.items() if count})
        return refused or tuple(_counted(one, keys, self._books.hour) for one in recipients)

    async def _taken(self, book: Book, wanted: Mapping[str, int]) -> Defer | None:
        """Count so many recipients by stream, all of them or none."""
        step = self._step(book)
        taken: dict[str, int] = {}
        for stream, count in wanted.items():
            bounds = self._limits.bounds(book.account, stream, step)
            over = await self._books.take(book, stream, count, *bounds)
            if over is not None and self._shadow:
                self._would_limit(book, stream, self._limits.exceeded(book.account, stream, step, over).words)
                await self._books.take(book, stream, count, None, None)
            elif over is not None:
                await self._books.give_back(book, taken)
                return self._refusal(book, self._limits.exceeded(book.account, stream, step, over))
            taken[stream] = count
        return None

    def _step(self, book: Book) -> int:
        """Where it stands as to its limits: the operator's word holds in a shadow run, too."""
        said = LIMITED if self.mta.accounts.status_of(book.account) is Status.LIMITED else GOOD
        return said if self._shadow else max(said, book.standing)

    def _refusal(self, book: Book, limit: Exceeded) -> Defer:
        why = reason(book.rules, book.steps, book.tallies) if limit.is_cut else None
        cause = f"account limited: {why.words_while_limited}: " if why is not None else ""
        return Defer(f"{cause}{limit.words}; try again after {limit.again(self.mta.clock.now()):%H:%M} UTC", "4.7.1")

    def _would_limit(self, book: Book, stream: str, words: str) -> None:
        if stream not in book.said:
            book.said.add(stream)
            log.info("over the limit account=%s stream=%s limit=%s mode=shadow", book.account, stream or "-", words)

    def _is_counted(self, envelope: Envelope) -> bool:
        """Mail of an account that is no report: reports go back whatever their account may do."""
        return (
            envelope.reverse_path is not None
            and envelope.account is not None
            and envelope.session.protocol != "DSN"
            and envelope.account in self.mta.accounts
        )

    # What becomes of it.

    @hookimpl
    async def on_result(self, delivery: Delivery, result: Result) -> None:
        """Count what is final; what was not sent at all gives back its place among the recipients of the hour."""
        envelope = delivery.envelope
        if not self._is_counted(envelope) or envelope.account is None:
            return
        if result.by == NAME or not result.outcome.is_final:
            await self._not_sent(delivery)
            return
        await self._sent_after_all(delivery, result)
        if delivery.reverse_path is not None and result.by != HELD:  # given up: nobody has refused it
            kind = event_type(result)
            if kind is not T.BLOCK_HARD or not self._is_barred(envelope.account):
                await self._count(envelope.account, _FINAL[kind])

    async def _not_sent(self, delivery: Delivery) -> None:
        """Its place is free again, once: what is held has given it back when it was deferred first."""
        if HELD not in delivery.envelope.notes and (keys := self._of_this_hour(delivery)):
            book = await self._book(delivery.envelope.account or "")
            await self._books.give_back(book, dict.fromkeys(keys, 1))

    async def _sent_after_all(self, delivery: Delivery, result: Result) -> None:
        """What we held, or a smart host took, after it was deferred: it counts when it goes out, room or not."""
        if result.outcome is not Outcome.DELIVERED and result.remote is None:
            return
        is_held, is_handed_off = HELD in delivery.envelope.notes, result.by == HANDED_OFF
        keys = _noted(delivery.recipient) if is_held else self._of_this_hour(delivery) if is_handed_off else ()
        if keys:
            book = await self._book(delivery.envelope.account or "")
            await self._books.give_back(book, dict.fromkeys(keys, -1))

    def _of_this_hour(self, delivery: Delivery) -> Sequence[str]:
        """Where its recipient was counted in the hour that it is now: an hour that is over has no places any more."""
        return [key for key, hour in _noted(delivery.recipient).items() if hour == self._books.hour]

    @hookimpl
    async def on_event(self, event: Event) -> None:
        """Count what became known later, and what another plugin refused at RCPT."""
        which = _LATER.get(event.type)
        account, data = event.account, event.data
        if which is None or account is None or account not in self.mta.accounts:
            return
        if "unreported" in data or data.get("null_reverse_path") or data.get("by") == NAME:
            return
        if "by" in data and event.type is T.BLOCK_HARD:
            if self._is_barred(account):
                return
            which = _FINAL[event.type]
        await self._count(account, which)

    def _is_barred(self, account: str) -> bool:
        """Whether it may not send at all by its status: that its mail is refused then says nothing against it."""
        return self.mta.accounts.status_of(account) not in (Status.APPROVED, Status.LIMITED)

    async def _count(self, account: str, which: Sequence[int]) -> None:
        book = await self._book(account)
        await self._books.count(book, which)
        await self._judge(book)

    async def _book(self, account: str) -> Book:
        """An account's book, its standing as it is now."""
        book = self._books.current(account)
        if book is None:
            book = await self._books.opened(account)
            await self._judge(book)
        return book

    def _heard(self, amounts: Mapping[Counter, int]) -> None:
        """Judge whom other processes have counted something of."""
        for account in self._books.heard(amounts):
            task = asyncio.get_running_loop().create_task(self._judge_again(account))
            self._judging.add(task)
            task.add_done_callback(self._judging.discard)

    async def _judge_again(self, account: str) -> None:
        await self._judge(await self._book(account))

    async def _judge(self, book: Book) -> None:
        step, why = await book.weigh()
        if step != book.standing != SUSPENDED and self._books.is_current(book):
            await self._move(book, step, why)

    async def _move(self, book: Book, step: int, why: Finding | None, by: str = "figures") -> None:
        """The account stands elsewhere from now on, in all processes; the one that moved it logs and tells it."""
        before = await book.stand(step, why if step == SUSPENDED else None)
        if before is None:
            return
        log.log(
            logging.WARNING if step >= LIMITED else logging.INFO,
            "account %s account=%s before=%s by=%s reason=%s mode=%s",
            STEPS[step].value,
            book.account,
            STEPS[before].value,
            by,
            why.words if why else "-",
            self._books.mode,
        )
        told = _TOLD.get(step) if step > before else T.ACCOUNT_RESUMED if before >= LIMITED else None
        if told is not None and self._books.mode == "enforce":
            self.mta.emit(self._event(told, book.account, why, by))

    def _event(self, kind: EventType, account: str, why: Finding | None, by: str) -> Event:
        facts: dict[str, str | int | float] = {"by": by}
        if why is not None:
            facts |= {
                "reason": why.name,
                "figure": round(why.figure, 4),
                "limit": why.limit,
                "unit": why.unit or "count",
                "count": why.count,
                "volume": why.volume,
                "window_hours": why.hours,
                "text": why.words,
            }
        return Event(os.urandom(8).hex(), kind, self.mta.clock.now(), account, data=Private(facts))

    # Commands.

    @command
    async def show(self) -> Sequence[Mapping[str, Any]]:
        """Accounts that have sent anything or do not stand well, with their figures."""
        rows = [overview(await self._book(account)) for account in sorted(self.mta.accounts)]
        return [row for row in rows if row["sent"] or row["standing"] != Standing.GOOD.value]

    @command
    async def explain(self, account: str) -> Sequence[Mapping[str, Any]]:
        """Every rule and limit of one account: its figure, what is allowed, and what the next step would take."""
        book = await self._known(account)
        keys = ("", *self._limits.shared(account), *sorted(self.mta.accounts[account].streams))
        used = {key: await self._books.used(book, key) for key in keys}
        return explanation(book, self._limits, used, self._step(book))

    @command
    async def resume(self, account: str) -> str:
        """Let an account send again: good standing, and nothing counted so far."""
        book = await self._known(account)
        before = book.standing
        await self._books.clear(book)
        log.info("account good account=%s before=%s by=operator reason=- mode=%s", account, STEPS[before].value,
                 self._books.mode)  # fmt: skip
        if before >= LIMITED and not self._shadow:
            self.mta.emit(self._event(T.ACCOUNT_RESUMED, account, None, "operator"))
        return f"{account} stands good; counting begins again"

    @command
    async def suspend(self, account: str) -> str:
        """Refuse an account's mail until it is resumed."""
        book = await self._known(account)
        if self._shadow:
            raise CommandError("nobody is suspended in a shadow run; see the key mode")
        if book.standing == SUSPENDED:
            raise CommandError(f"{account} is suspended already")
        while book.standing != SUSPENDED:  # whoever else moves it meanwhile
            await self._move(book, SUSPENDED, None, "operator")
        return f"{account} is suspended"

    async def _known(self, account: str) -> Book:
        if account not in self.mta.accounts:
            raise CommandError("there is no such account in conf/accounts.toml")
        return await self._book(account)


def _noted(recipient: Recipient) -> Mapping[str, int]:
    """Towards whose limits it is counted, and in which hour: "" for the account, and the stream."""
    noted = recipient.notes.get(NAME, ())
    return dict(noted) if isinstance(noted, tuple) else {}


def _counted(recipient: Recipient, keys: Sequence[str], hour: int) -> Recipient:
    """With what it is counted towards from now on."""
    return recipient.with_note(NAME, tuple({**dict.fromkeys(keys, hour), **_noted(recipient)}.items()))
