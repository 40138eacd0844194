"""The rows of ``mtaframe usage``: an account, each of its streams, and what it comes to with its sub-accounts. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mtaframe import AccountBook
from mtaframe_plugins.usage.meter import COUNTED

COLUMNS = ("charged", *(kind.value for kind in COUNTED))


def rows_of(
    table: Mapping[tuple[str, str], Sequence[int]], accounts: AccountBook, named: Sequence[str]
) -> Iterator[Mapping[str, Any]]:
    """One row for each account, stream and parent that has anything. ``table`` has the counts by account and stream.

    ``of`` says what a row is about: the "account" by itself, one "stream", or the "family" with all sub-accounts.
    """
    for name in named:
        yield from _row(name, "account", "", table[name, ""], accounts)
        for stream in sorted(accounts[name].streams):
            yield from _row(name, "stream", stream, table[name, stream], accounts)
        if below := accounts.below(name):
            members = [table[each, ""] for each in (name, *below)]
            yield from _row(name, "family", "", [sum(counts) for counts in zip(*members, strict=True)], accounts)


def _row(name: str, of: str, stream: str, counts: Sequence[int], accounts: AccountBook) -> Iterator[Mapping[str, Any]]:
    if any(counts):
        account = accounts[name]
        is_quota = account.quota is not None and of == (
            "family" if account.limits == "shared" and accounts.below(name) else "account"
        )
        yield {
            "account": name,
            "parent": account.parent or "",
            "of": of,
            "stream": stream,
            **dict(zip(COLUMNS, counts, strict=True)),
            "quota": account.quota if is_quota else None,
        }
