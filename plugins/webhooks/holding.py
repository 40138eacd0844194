"""What account holders made, as this process knows it: a line for each URL of an account's own.

The law: an account that made nothing costs a look at a register. One that did is read when the register says that
something has changed, before an event is put into a line and before a line sends one; so nothing goes to a URL that
was deleted.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mtaframe import Account, Counter, EventType, Mta
from mtaframe_plugins.webhooks.line import Line
from mtaframe_plugins.webhooks.made import Made
from mtaframe_plugins.webhooks.settings import WebhooksSettings
from mtaframe_plugins.webhooks.shelf import Shelf

log = logging.getLogger("mtaframe.webhooks")

READ_AGAIN = 600.0
"""Seconds after which documents are read again all the same: a disk may have hidden some."""


@dataclass(slots=True)
class _Held:
    """``number`` of the register when it was read; each line with the number of the change that it goes by."""

    number: int
    read_again_at: float
    lines: dict[int, tuple[int, Line]] = field(default_factory=dict)


class Holding:
    """Made by one instance of the plugin, and taken over by the next one: ``owner`` is whose it is."""

    def __init__(self, owner: object, rules: WebhooksSettings, mta: Mta) -> None:
        self._held: dict[str, _Held] = {}
        self._reading: dict[str, asyncio.Task[bool]] = {}
        self._unreadable: set[str] = set()
        self._set(owner, rules, mta)

    def _set(self, owner: object, rules: WebhooksSettings, mta: Mta) -> None:
        self.owner, self._rules, self._mta = owner, rules, mta
        self.shelf = Shelf(mta, rules.max_per_account)
        self._owners: dict[str, tuple[str, ...]] = {}

    def take_over(self, owner: object, rules: WebhooksSettings, mta: Mta) -> None:
        """Go on for another instance, by its settings."""
        self._set(owner, rules, mta)
        for _, _, line in self.lines():
            line.take_over(owner, line.endpoint, rules, mta)

    def lines(self) -> Iterator[tuple[str, int, Line]]:
        """Account, number and line of all that is known here."""
        for account, held in self._held.items():
            for number, (_, line) in held.lines.items():
                yield account, number, line

    def may_want(self, kind: EventType, account: str) -> bool:
        """Whether somebody may want this event of the account's; if nothing is known yet, yes."""
        return any(
            not self._is_current(owner) or any(_takes(line, kind) for line in self._lines_of(owner))
            for owner in self._owners_of(account)
        )

    def wanting(self, kind: EventType, account: str) -> Sequence[Line]:
        """Who wants it, as far as was read."""
        owners = self._owners_of(account)
        return [line for owner in owners for line in self._lines_of(owner) if _takes(line, kind)]

    async def read(self, account: str) -> None:
        """Know what the account and those above it have made, as it is now."""
        for owner in self._owners_of(account):
            if not self._is_current(owner):
                await self.is_read(owner)

    async def is_read(self, owner: str) -> bool:
        """What the account itself made is known here as it is now. False: it can't be read."""
        while not self._is_current(owner):
            reading = self._reading.get(owner)
            if reading is None:
                reading = self._reading[owner] = asyncio.get_running_loop().create_task(self._read(owner))
            if not await asyncio.shield(reading):
                return False
        return True

    def _owners_of(self, account: str) -> tuple[str, ...]:
        """The account and those above it: all of them see its events."""
        found = self._owners.get(account)
        if found is None:
            found = self._owners[account] = _upwards(account, self._mta.accounts) if self.shelf.limit else ()
        return found

    def _is_current(self, owner: str) -> bool:
        held, number = self._held.get(owner), self.shelf.number(owner)
        if held is None:
            return number == 0
        return held.number == number and self._mta.clock.monotonic() < held.read_again_at

    def _lines_of(self, owner: str) -> Sequence[Line]:
        held = self._held.get(owner)
        return [line for _, line in held.lines.values()] if held is not None else ()

    async def _read(self, owner: str) -> bool:
        number = self.shelf.number(owner)
        try:
            self._hold(owner, number, await self.shelf.all(owner) if number else [])
        except Exception as error:
            if owner not in self._unreadable:
                log.error("webhooks can't be read account=%s fault=%s", owner, type(error).__name__)
            self._unreadable.add(owner)
            return self._goes_on(owner, number)
        finally:
            del self._reading[owner]  # not in a callback: whoever waits may want to read again before that runs
        self._unreadable.discard(owner)
        return True

    def _goes_on(self, owner: str, number: int) -> bool:
        """Where nothing has changed what is known still holds."""
        held = self._held.get(owner)
        if held is None or held.number != number:
            return False
        held.read_again_at = self._mta.clock.monotonic() + READ_AGAIN
        return True

    def _hold(self, owner: str, number: int, made: Sequence[Made]) -> None:
        """Lines as they are to be. Who is gone or off gets nothing more; a disk alone takes nobody away."""
        before = self._held.get(owner)
        old = dict(before.lines) if before is not None else {}
        held = _Held(number, self._mta.clock.monotonic() + READ_AGAIN)
        for each in made:
            known = old.pop(each.id, None)
            if each.wish.is_active:
                held.lines[each.id] = each.change, self._line(each, known)
            elif known is not None:
                known[1].end()
        if before is not None and before.number == number:
            held.lines |= old
        else:
            for _, line in old.values():
                line.end()
        if number:
            self._held[owner] = held
        else:
            self._held.pop(owner, None)

    def _line(self, made: Made, known: tuple[int, Line] | None) -> Line:
        """A new one, or that of before by what it is now; who saved it again wants it tried again."""
        if known is None:
            return Line(
                self.owner,
                made.settings(),
                self._rules,
                self._mta,
                failures(made.account, made.id),
                lambda: self.is_read(made.account),
                known_as=f"account={made.account} id={made.id}",
            )
        change, line = known
        if change != made.change:
            line.take_over(self.owner, made.settings(), self._rules, self._mta)
            line.hasten()
        return line


def failures(account: str, number: int) -> Counter:
    """Counts events that the endpoint of this number did not take at once."""
    return Counter("webhooks.failed", account=account, source=f"{'made' if number > 0 else 'file'}.{abs(number)}")


def _takes(line: Line, kind: EventType) -> bool:
    return not line.endpoint.events or kind in line.endpoint.events


def _upwards(account: str, accounts: Mapping[str, Account]) -> tuple[str, ...]:
    above: list[str] = []
    name: str | None = account
    while name is not None and name not in above:
        above.append(name)
        name = accounts[name].parent if name in accounts else None
    return tuple(above)
