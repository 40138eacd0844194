"""How many recipients an account or a stream may have in an hour and in a day. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from mtaframe_plugins.thresholds.ladder import LIMITED
from mtaframe_plugins.thresholds.settings import LimitSettings, ThresholdsSettings

UNLIMITED = LimitSettings()


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A limit that has no room. ``is_cut``: it is the one of a limited account."""

    at_most: int
    daily: bool
    is_cut: bool

    @property
    def words(self) -> str:
        recipients = "1 recipient" if self.at_most == 1 else f"{self.at_most} recipients"
        return f"at most {recipients} {'a day' if self.daily else 'an hour'}"

    def again(self, now: datetime) -> datetime:
        """When there is room again: at the turn of the hour or, in UTC, of the day."""
        now = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        return now.replace(hour=0) + timedelta(days=1) if self.daily else now + timedelta(hours=1)


class Limits:
    """The ``[[limit]]`` rows, and what is left of them to a limited account."""

    def __init__(self, settings: ThresholdsSettings) -> None:
        self._rows = settings.limit
        self._share = settings.limited_share
        self._without = settings.limited_per_hour
        self._found: dict[tuple[str, str], LimitSettings] = {}

    def row(self, account: str, stream: str) -> LimitSettings:
        """The first that fits; ``stream`` is empty for the account as a whole."""
        found = self._found.get((account, stream))
        if found is None:
            found = next((row for row in self._rows if row.fits(account, stream)), UNLIMITED)
            self._found[account, stream] = found
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
            return Exceeded(per_day or 0, True, False)
        return Exceeded(per_hour or 0, False, step >= LIMITED and not stream)
