"""Counters and times as they cross a link: plain data."""

from collections.abc import Mapping
from datetime import UTC, datetime

from mtaframe.storage import Counter

Row = tuple[str, str, str, str, str]


def row(counter: Counter) -> Row:
    return counter.name, counter.account, counter.stream, counter.source, counter.site


def rows(amounts: Mapping[Counter, int]) -> dict[Row, int]:
    return {row(counter): amount for counter, amount in amounts.items()}


def counters(amounts: Mapping[Row, int]) -> dict[Counter, int]:
    return {Counter(*one): amount for one, amount in amounts.items()}


def moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
