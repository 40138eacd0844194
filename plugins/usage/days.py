"""Days and months in UTC, as questions and the command line name them. Pure."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

KEPT = 62
"""Days that a question looks at: the state may be told to remember more than its 45, and a month begins somewhere."""

_MONTH = re.compile(r"(\d{4})-(\d{2})", re.ASCII)


def days_of(since: date, until: date, now: datetime) -> Sequence[date]:
    """The days from one to the other, both included, of which there can be something."""
    today = now.date()
    first, last = max(since, today - timedelta(days=KEPT)), min(until, today)
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def days_of_month(first: date, now: datetime) -> Sequence[date]:
    """Its days, until today, however long ago."""
    last = min(whole_month(first)[1], now.date())
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def month_of(text: str | None, now: datetime) -> date:
    """The first day of a month that is written as 2026-11; without, of this one. ValueError."""
    if text is None:
        return now.date().replace(day=1)
    found = _MONTH.fullmatch(text)
    try:
        assert found is not None
        first = date(int(found[1]), int(found[2]), 1)
        whole_month(first)
        return first
    except (AssertionError, ValueError, OverflowError):
        raise ValueError("a month is written as 2026-11") from None


def after(day: date) -> date:
    """The next one."""
    return day + timedelta(days=1)


def midnight(day: date) -> datetime:
    """When it begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def whole_month(first: date) -> tuple[date, date]:
    """Its first and its last day."""
    return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
