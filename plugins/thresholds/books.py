"""What was counted of each account, and where it stands: in the state of the house, shared by all its processes.

The law: the state holds everything. Figures have a copy in RAM, read anew when the hour turns, after a reload,
a resume and a purge, and kept up in between by what is counted here and what other processes tell; standings, and
the step that each rule asks for, are registers, the same everywhere. So a decision asks nobody.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from typing import Literal

from mtaframe import PURGES, Clock, Counter, State
from mtaframe_plugins.thresholds.ladder import COUNTED, GOOD, Finding, Rule, reason
from mtaframe_plugins.thresholds.settings import HOUR
from mtaframe_plugins.thresholds.standing import cause_of, packed, step_of

Mode = Literal["enforce", "shadow"]

_STANDING = {"enforce": "thresholds.standing", "shadow": "thresholds.shadow"}
_INDEX = {f"thresholds.{name}": index for index, name in enumerate(COUNTED)}


class Book:
    """One account: its figures by window, and the registers that say where it stands."""

    __slots__ = (
        "_registers",
        "_standing",
        "_steps",
        "account",
        "begun",
        "counters",
        "edition",
        "fresh",
        "hour",
        "lock",
        "resumes",
        "rules",
        "said",
        "tallies",
        "used_counters",
    )

    def __init__(self, account: str, state: State) -> None:
        self.account = account
        self.hour = self.edition = -1
        self.begun = (-1, -1)
        self.rules: Sequence[Rule] = ()
        self.tallies: dict[int, list[int]] = {}
        self.fresh: dict[int, list[int]] = {}
        """The next tallies, while they are read."""
        self.said: set[str] = set()
        """Streams whose limit was logged in this hour, in a shadow run."""
        self.lock = asyncio.Lock()
        self.counters = tuple(Counter(name, account) for name in _INDEX)
        self.used_counters: dict[str, Counter] = {}
        self.resumes = Counter("thresholds.resumes", account)
        """The register that counts how often everything began again."""
        self._registers = state.registers
        self.judged_by((), "enforce")

    def judged_by(self, rules: Sequence[Rule], mode: Mode) -> None:
        self.rules = rules
        self._standing, self._steps = _registers(self.account, rules, mode)

    def counted(self, index: int, amount: int) -> None:
        """In what is known of each window, and in what is being read."""
        for tally in (*self.tallies.values(), *self.fresh.values()):
            tally[index] += amount

    def used_counter(self, stream: str) -> Counter:
        counter = self.used_counters.get(stream)
        if counter is None:
            if stream.startswith("@"):  # what an account shares with its sub-accounts
                counter = Counter("thresholds.shared", stream[1:])
            else:
                counter = Counter("thresholds.recipients", self.account, stream)
            self.used_counters[stream] = counter
        return counter

    @property
    def standing(self) -> int:
        return step_of(self._registers.value(self._standing))

    @property
    def cause(self) -> Finding | None:
        """Why it was suspended; None if the operator did it."""
        return cause_of(self._registers.value(self._standing), self.rules)

    @property
    def steps(self) -> Sequence[int]:
        """What each rule asks for, in their order."""
        return [self._registers.value(register) for register in self._steps]

    async def weigh(self) -> tuple[int, Finding | None]:
        """The highest step that a rule asks for by the figures of now, and its reason; each one's is remembered."""
        rules, tallies, steps = self.rules, self.tallies, []
        for rule, register in zip(rules, self._steps, strict=True):
            before = self._registers.value(register)
            steps.append(step := rule.step(tallies, before))
            if step != before:
                await self._registers.change(register, before, step)
        return max(steps, default=GOOD), reason(rules, steps, tallies)

    async def stand(self, step: int, cause: Finding | None) -> int | None:
        """Let the account stand on this step. Where it stood; None if another process was faster, or it is there."""
        before = self._registers.value(self._standing)
        if step_of(before) == step or not await self._registers.change(self._standing, before, packed(step, cause)):
            return None
        return step_of(before)


class Books:
    """All accounts. They outlive the plugin's instance; a reload brings them other rules."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._books: dict[str, Book] = {}
        self._edition = 0
        self.rules: Sequence[Rule] = ()
        self.mode: Mode = "enforce"

    def judge_by(self, rules: Sequence[Rule], mode: Mode) -> None:
        """From now on."""
        self.rules, self.mode = rules, mode
        self._edition += 1

    def current(self, account: str) -> Book | None:
        """The book, if it needs no reading."""
        book = self._books.get(account)
        return book if book is not None and self.is_current(book) else None

    async def opened(self, account: str) -> Book:
        """The book, read anew if need be; what it says of the account's standing is still to be judged."""
        book = self._books.get(account)
        if book is None:
            book = self._books[account] = Book(account, self._state)
        async with book.lock:
            while not self.is_current(book):
                await self._read(book)
        return book

    def is_current(self, book: Book) -> bool:
        return book.hour == self.hour and book.edition == self._edition and book.begun == self._begun(book)

    def _begun(self, book: Book) -> tuple[int, int]:
        """Other numbers each time that its counting begins again: with a resume, or with a purge."""
        registers = self._state.registers
        return registers.value(book.resumes), registers.value(PURGES)

    @property
    def hour(self) -> int:
        """The number of the hour that it is."""
        return int(self._clock.now().timestamp()) // HOUR

    async def _read(self, book: Book) -> None:
        now, hour, begun = self._clock.now(), self.hour, self._begun(book)
        rules, mode, edition = self.rules, self.mode, self._edition
        book.fresh = fresh = {}
        for hours in {rule.hours for rule in rules} or {1}:
            sums = await self._state.counters.sums(book.counters, now - timedelta(hours=hours))
            fresh[hours] = list(sums)
        book.tallies, book.fresh = fresh, {}
        book.judged_by(rules, mode)
        book.hour, book.edition, book.begun = hour, edition, begun
        book.said.clear()

    async def count(self, book: Book, which: Sequence[int]) -> None:
        """One more of each of these."""
        for index in which:
            book.counted(index, 1)
        await self._state.counters.add({book.counters[index]: 1 for index in which})

    def heard(self, amounts: Mapping[Counter, int]) -> set[str]:
        """Other processes have counted this; the accounts whose figures are others now."""
        changed = set()
        for counter, amount in amounts.items():
            book, index = self._books.get(counter.account), _INDEX.get(counter.name)
            if book is not None and index is not None:
                book.counted(index, amount)
                changed.add(book.account)
        return changed

    async def used(self, book: Book, stream: str) -> tuple[int, int]:
        """The recipients of this hour and of this day (UTC), in all processes."""
        now, counters = self._clock.now(), [book.used_counter(stream)]
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        [hour], [day] = [await self._state.counters.sums(counters, since) for since in (now, midnight)]
        return max(0, hour), max(0, day)

    async def take(
        self, book: Book, stream: str, count: int, per_hour: int | None, per_day: int | None
    ) -> Literal["hour", "day"] | None:
        """Count so many recipients, unless one of the limits has no room for them: then which one."""
        counter = book.used_counter(stream)
        return await self._state.counters.take(counter, count, per_hour=per_hour, per_day=per_day)

    async def give_back(self, book: Book, recipients: Mapping[str, int]) -> None:
        """Recipients by stream that were counted, and did not go out."""
        if recipients:
            await self._state.counters.add({book.used_counter(key): -count for key, count in recipients.items()})

    async def clear(self, book: Book) -> None:
        """Begin again, in all processes: nothing counted, good standing. Recipients of this hour and day stay.

        The standing comes last: whoever sees that it is good reads the figures anew before judging.
        """
        await self._state.counters.clear(book.counters)
        await self._set(book.resumes, self._state.registers.value(book.resumes) + 1)
        for mode in _STANDING:
            standing, steps = _registers(book.account, book.rules, mode)
            for register in (*steps, standing):
                await self._set(register, GOOD)

    async def _set(self, register: Counter, value: int) -> None:
        """Whoever else changes it meanwhile."""
        registers = self._state.registers
        while (before := registers.value(register)) != value:
            await registers.change(register, before, value)


def _registers(account: str, rules: Sequence[Rule], mode: str) -> tuple[Counter, Sequence[Counter]]:
    """The account's standing, and the step of each rule. Those of a shadow run are others."""
    name = _STANDING[mode]
    return Counter(name, account), [Counter(f"{name}.{rule.key:08x}", account) for rule in rules]
