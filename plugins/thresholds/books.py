"""What was counted of each account: in the counters of the house, and in RAM what decisions are made by.

The law: the counters hold everything, RAM is a copy. It is read anew when the hour turns and after a reload, and is
kept up in between, so that a decision asks nobody.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from mtaframe import Clock, Counter, State
from mtaframe_plugins.thresholds.ladder import COUNTED, GOOD, Finding, Rule
from mtaframe_plugins.thresholds.settings import HOUR

EVER = datetime(1970, 1, 1, tzinfo=UTC)
Mode = Literal["enforce", "shadow"]


class Book:
    """One account. ``used`` has the recipients of this hour and this day by stream; "" is the account as a whole."""

    __slots__ = (
        "account",
        "counters",
        "edition",
        "hour",
        "lock",
        "reason",
        "rules",
        "said",
        "standing",
        "steps",
        "tallies",
        "used",
        "used_counters",
    )

    def __init__(self, account: str) -> None:
        self.account = account
        self.hour = -1
        self.edition = -1
        self.standing = GOOD
        self.rules: Sequence[Rule] = ()
        self.steps: list[int] = []
        """What each rule asks for, in their order."""
        self.reason: Finding | None = None
        """Why it was suspended."""
        self.tallies: dict[int, list[int]] = {}
        self.used: dict[str, list[int]] = {}
        self.said: set[str] = set()
        """Streams whose limit was logged in this hour, in a shadow run."""
        self.lock = asyncio.Lock()
        self.counters = tuple(Counter(f"thresholds.{name}", account) for name in COUNTED)
        self.used_counters: dict[str, Counter] = {}

    def used_counter(self, stream: str) -> Counter:
        counter = self.used_counters.get(stream)
        if counter is None:
            counter = self.used_counters[stream] = Counter("thresholds.recipients", self.account, stream)
        return counter


class Books:
    """All accounts. They outlive the plugin's instance; a reload brings them other rules."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._books: dict[str, Book] = {}
        self._edition = 0
        self.rules: Sequence[Rule] = ()
        self.mode: Mode = "enforce"

    def follow(self, rules: Sequence[Rule], mode: Mode) -> None:
        """Judge by these rules from now on."""
        self.rules, self.mode = rules, mode
        self._edition += 1

    def current(self, account: str) -> Book | None:
        """The book, if it needs no reading."""
        book = self._books.get(account)
        return book if book is not None and self._is_current(book) else None

    async def opened(self, account: str) -> Book:
        """The book, read anew if need be; what it says of the account's standing is still to be judged."""
        book = self._books.get(account)
        if book is None:
            book = self._books[account] = Book(account)
        if not self._is_current(book):
            async with book.lock:
                if not self._is_current(book):
                    await self._read(book)
        return book

    def _is_current(self, book: Book) -> bool:
        return book.hour == self._hour() and book.edition == self._edition

    def _hour(self) -> int:
        return int(self._clock.now().timestamp()) // HOUR

    async def _read(self, book: Book) -> None:
        counters, now, edition, hour = self._state.counters, self._clock.now(), self._edition, self._hour()
        tallies = {}
        for hours in {rule.hours for rule in self.rules} or {1}:
            tallies[hours] = list(await counters.sums(book.counters, now - timedelta(hours=hours)))
        (standing,) = await counters.sums([self._standing_counter(book)], EVER)
        if book.edition < 0 or book.standing != standing:
            book.standing = standing
            book.steps = [standing] * len(self.rules)
        elif book.edition != edition:
            before = dict(zip((rule.name for rule in book.rules), book.steps, strict=True))
            book.steps = [before.get(rule.name, GOOD) for rule in self.rules]
        book.rules, book.tallies, book.hour, book.edition = self.rules, tallies, hour, edition
        book.used.clear()
        book.said.clear()

    def _standing_counter(self, book: Book) -> Counter:
        return Counter(f"thresholds.{'standing' if self.mode == 'enforce' else 'shadow'}", book.account)

    async def count(self, book: Book, which: Sequence[int]) -> None:
        """One more of each of these."""
        for tally in book.tallies.values():
            for index in which:
                tally[index] += 1
        await self._state.counters.add({book.counters[index]: 1 for index in which})

    async def stand(self, book: Book, step: int) -> None:
        """Let the account stand on this step."""
        change, book.standing = step - book.standing, step
        await self._state.counters.add({self._standing_counter(book): change})

    async def used(self, book: Book, stream: str) -> list[int]:
        """The recipients of this hour and of this day (UTC)."""
        used = book.used.get(stream)
        if used is None:
            now, counter = self._clock.now(), book.used_counter(stream)
            midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            counters = self._state.counters
            (hour,), (day,) = await counters.sums([counter], now), await counters.sums([counter], midnight)
            used = book.used.setdefault(stream, [max(0, hour), max(0, day)])
        return used

    async def reserve(self, book: Book, recipients: Mapping[str, int]) -> None:
        """Count recipients by stream; a negative number gives some back."""
        for stream, count in recipients.items():
            used = book.used.get(stream)
            if used is not None:
                used[:] = max(0, used[0] + count), max(0, used[1] + count)
        await self._state.counters.add({book.used_counter(stream): count for stream, count in recipients.items()})

    async def clear(self, book: Book) -> None:
        """Begin again: nothing counted, good standing. Recipients of this hour and day stay."""
        standing = [Counter(f"thresholds.{name}", book.account) for name in ("standing", "shadow")]
        await self._state.counters.clear([*book.counters, *standing])
        for tally in book.tallies.values():
            tally[:] = [0] * len(tally)
        book.standing, book.reason = GOOD, None
        book.steps = [GOOD] * len(book.rules)
