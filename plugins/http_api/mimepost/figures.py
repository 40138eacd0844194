"""Stats and usage by day, and the email logs: what became of the account's mail, in numbers and one by one.

The rule: numbers are kept for 45 days and hold no recipient; what names recipients is in RAM alone, and not for long.
"""

import asyncio
from calendar import monthrange
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from mtaframe import AccountUsage, HttpAnswer, Mta
from mtaframe_plugins.http_api.door import Ask, Call, Problem
from mtaframe_plugins.http_api.mimepost.form import done
from mtaframe_plugins.http_api.recent import Row, newest_first

STATUSES = (
    "request", "delivered", "open", "click", "unsubscribe", "bounce_soft", "bounce_hard", "block_soft", "block_hard",
    "spam",
)  # fmt: skip
"""MimePost's, in its order."""
BY_DEFAULT = 8
LONGEST = 400
"""Days."""
DATES = {
    "start_date": "The first day, as 20261127 (UTC).",
    "end_date": "The last day, included.",
}
PAGE = 50
LARGEST_PAGE = 1000


class Figures:
    def __init__(self, mta: Mta) -> None:
        self._mta = mta

    def calls(self) -> Sequence[Call]:
        return (
            Call("GET", "/v1/stats", "What became of the mail, by day", self.stats, query=DATES),
            Call("GET", "/v1/usage", "Recipients by account, stream and day, sub-accounts too", self.usage,
                 query=DATES | {"month": "A month, as 2026-11, in place of the dates."}),
            Call("GET", "/v1/emaillogs", "What became of mail of late, one by one", self.logs,
                 query=DATES | {
                     "status": "One status.",
                     "to": "One recipient.",
                     "message_id": "One message.",
                     "page": "The page, from 1.",
                     "limit": "Rows of a page.",
                     "start": "Rows to pass over.",
                     "length": "Rows to give.",
                 }),
        )  # fmt: skip

    async def stats(self, ask: Ask) -> HttpAnswer:
        first, last = _days(ask, self._mta.clock.now())
        usage = await self._mta.ask(AccountUsage(ask.account.name, first, last))
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        return done("Stats", summaries({day: usage.get(day, {}) for day in days}))

    async def usage(self, ask: Ask) -> HttpAnswer:
        """An extension: what `mtaframe usage` tells the operator, for the account and those below it."""
        first, last = _month(ask) or _days(ask, self._mta.clock.now())
        rows = []
        for name in (ask.account.name, *self._mta.accounts.below(ask.account.name)):
            for stream in ("", *sorted(self._mta.accounts[name].streams)):
                usage = await self._mta.ask(AccountUsage(name, first, last, stream))
                rows += [{"account": name, "stream": stream, "day": day.isoformat(), **counts}
                         for day, counts in sorted(usage.items())]  # fmt: skip
            await asyncio.sleep(0)  # others' mail goes on meanwhile
        return done("Usage: recipients; a row without a stream is all of an account", rows)

    async def logs(self, ask: Ask) -> HttpAnswer:
        """Of RAM, and the answer says so."""
        now = self._mta.clock.now()
        first, last = _days(ask, now)
        query = ask.request.query
        tables: Sequence[Sequence[Row]] = await self._mta.everywhere("http_api.recent", account=ask.account.name)
        found = [row for row in newest_first(tables) if _is_wanted(row, query, first, last)]
        start, length = _page(query)
        return done(
            "Email logs: recent events, in memory only",
            [_shown(row) for row in found[start : start + length]],
            total=len(found),
            start=start,
            length=length,
            kept="in memory only, for a while; numbers of 45 days are in stats, and webhooks tell everything",
        )


def summaries(usage: Mapping[date, Mapping[str, int]]) -> Mapping[str, Any]:
    """In all, by day, and in columns for a graph."""
    total = {status: sum(day.get(status, 0) for day in usage.values()) for status in STATUSES}
    graph: dict[str, Any] = {"dates": [day.isoformat() for day in usage]}
    for status in STATUSES:
        graph[f"{status}_counts"] = [day.get(status, 0) for day in usage.values()]
        graph[f"{status}_percs"] = [_percent(day.get(status, 0), day.get("request", 0)) for day in usage.values()]
    return {
        "total_summary": _summary(total),
        "datewise_summary": {day.strftime("%Y%m%d"): _summary(counts) for day, counts in usage.items()},
        "graph_summary": graph,
    }


def _summary(counts: Mapping[str, int]) -> Mapping[str, Any]:
    requests = counts.get("request", 0)
    return {
        status: {"count": counts.get(status, 0), "perc": _percent(counts.get(status, 0), requests)}
        for status in STATUSES
    }


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def _days(ask: Ask, now: datetime) -> tuple[date, date]:
    """The first and the last day that are asked for; the last week and today by default."""
    query, today = ask.request.query, now.date()
    last = _day(query, "end_date") or today
    first = _day(query, "start_date") or date.fromordinal(max(1, last.toordinal() - BY_DEFAULT + 1))
    if first > last:
        raise Problem(400, "is behind end_date", "start_date")
    if (last - first).days >= LONGEST:
        raise Problem(400, f"{LONGEST} days are enough", "start_date")
    return first, last


def _month(ask: Ask) -> tuple[date, date] | None:
    """The first and the last day of the month that is asked for, if one is."""
    text = ask.request.query.get("month", "")
    if not text:
        return None
    first = _day({"month": f"{text}-01"}, "month")
    assert first is not None
    return first, first.replace(day=monthrange(first.year, first.month)[1])


def _day(query: Mapping[str, str], name: str) -> date | None:
    text = query.get(name, "")
    if not text:
        return None
    try:
        if len(text) == 8 and text.isascii() and text.isdigit():
            return date(int(text[:4]), int(text[4:6]), int(text[6:]))
        return date.fromisoformat(text)
    except ValueError:
        form = "2026-11" if name == "month" else "20261127"
        raise Problem(400, f'is written as "{form}"', name) from None


def _is_wanted(row: Row, query: Mapping[str, str], first: date, last: date) -> bool:
    message_id = row["message_id"]
    return (
        first.isoformat() <= row["at"][:10] <= last.isoformat()
        and query.get("status", "") in ("", row["event"])
        and query.get("to", "").casefold() in ("", row["recipient"].casefold())
        and query.get("message_id", "").strip("<>") in ("", message_id, message_id.partition("@")[0])
    )


def _page(query: Mapping[str, str]) -> tuple[int, int]:
    """Where the page starts, and how many rows it has: as either generation of the API says it."""
    if "start" in query or "length" in query:
        return _count(query, "start", 0), min(LARGEST_PAGE, _count(query, "length", PAGE))
    limit = min(LARGEST_PAGE, _count(query, "limit", PAGE))
    return max(0, _count(query, "page", 1) - 1) * limit, limit


def _count(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Problem(400, "is a number", name)
    return int(text)


def _shown(row: Row) -> Mapping[str, str]:
    return {
        "datetime": f"{row['at'][:10]} {row['at'][11:19]}",
        "message_id": row["message_id"],
        "to_email": row["recipient"],
        "status": row["event"],
        "details": row["details"],
    }
