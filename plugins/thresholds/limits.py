"""How many recipients an account or a stream may have in an hour and in a day. Pure.

What is limited has a key: "" is the account, a stream its name, and ``@NAME`` what an account above it, or the account
itself, shares among all its sub-accounts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from mtaframe import Account, AccountBook
from mtaframe_plugins.thresholds.ladder import LIMITED
from mtaframe_plugins.thresholds.settings import LimitSettings, ThresholdsSettings

UNLIMITED = LimitSettings()
SHARED = "@"


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A limit that has no room. ``is_cut``: it is the one of a limited account."""

    at_most: int
    daily: bool
    is_cut: bool
    is_shared: bool = False

    @property
    def words(self) -> str:
        recipients = "1 recipient" if self.at_most == 1 else f"{self.at_most} recipients"
        together = " in all accounts together" if self.is_shared else ""
        return f"at most {recipients} {'a day' if self.daily else 'an hour'}{together}"

    def again(self, now: datetime) -> datetime:
        """When there is room again: at the turn of the hour or, in UTC, of the day."""
        now = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        return now.replace(hour=0) + timedelta(days=1) if self.daily else now + timedelta(hours=1)


class Limits:
    """The ``[[limit]]`` rows and the accounts' own numbers, and what is left of them to a limited account."""

    def __init__(self, settings: ThresholdsSettings, accounts: AccountBook) -> None:
        self._accounts = accounts
        self._rows = settings.limit
        self._share = settings.limited_share
        self._without = settings.limited_per_hour
        self._found: dict[tuple[str, str], LimitSettings] = {}
        self._shared: dict[str, Sequence[str]] = {}

    def row(self, account: str, stream: str) -> LimitSettings:
        """The first that fits; ``stream`` is empty for the account as a whole. Its own numbers take the row's place."""
        found = self._found.get((account, stream))
        if found is None:
            found = next((row for row in self._rows if row.fits(account, stream)), UNLIMITED)
            chain = self._accounts.chain(account)
            if stream.startswith(SHARED):
                found = _numbers(self._accounts[stream.removeprefix(SHARED)])
            elif not stream and (own := _own(chain)) is not None:
                found = found.model_copy(update={"per_hour": own.per_hour or found.per_hour,
                                                 "per_day": own.per_day or found.per_day})  # fmt: skip
            self._found[account, stream] = found
        return found

    def shared(self, account: str) -> Sequence[str]:
        """The keys of what it shares with others: of itself, if it has sub-accounts, and of those above it."""
        found = self._shared.get(account)
        if found is None:
            chain = self._accounts.chain(account)
            found = self._shared[account] = [
                f"{SHARED}{each.name}"
                for each in chain
                if each.limits == "shared" and (each.per_hour or each.per_day) and self._accounts.below(each.name)
            ]
        return found

    def per_hour(self, account: str, stream: str, step: int) -> int | None:
        """Recipients an hour; a limited account keeps a share, but one at least."""
        per_hour = self.row(account, stream).per_hour
        if step < LIMITED or stream:
            return per_hour
        return self._without if per_hour is None else max(1, int(per_hour * self._share / 100))

    def bounds(self, account: str, stream: str, step: int) -> tuple[int | None, int | None]:
        """Recipients an hour, and a day."""
        return self.per_hour(account, stream, step), self.row(account, stream).per_day

    def exceeded(self, account: str, stream: str, step: int, over: Literal["hour", "day"]) -> Exceeded:
        """The limit that has no room."""
        per_hour, per_day = self.bounds(account, stream, step)
        if over == "day":
            return Exceeded(per_day or 0, True, False, stream.startswith(SHARED))
        return Exceeded(per_hour or 0, False, step >= LIMITED and not stream, stream.startswith(SHARED))


def _own(chain: Sequence[Account]) -> LimitSettings | None:
    """The numbers of the account, or else those that the nearest account above splits among its sub-accounts."""
    for place, each in enumerate(chain):
        if (each.per_hour or each.per_day) and (place == 0 or each.limits == "split"):
            return _numbers(each)
    return None


def _numbers(account: Account) -> LimitSettings:
    return LimitSettings(per_hour=account.per_hour, per_day=account.per_day)
