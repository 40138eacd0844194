"""The book as a worker sees it: asked of the supervisor, but only where its page says that there may be something."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from mtaframe.ledger.book import CLAIMED, Found, LocalBook
from mtaframe.ledger.entry import Entry
from mtaframe.link import Handler, Link
from mtaframe.page import Page

_Row = tuple[int, float]


class RemoteBook:
    """What the owner answers by ``desk``. LinkError if there is no owner any more."""

    def __init__(self, link: Link, page: Page) -> None:
        self._link = link
        self._page = page

    @property
    def is_empty(self) -> bool:
        return not self._page.entries

    def may_hold(self, fingerprints: Sequence[bytes]) -> bool:
        return self._page.may_hold(fingerprints)

    async def look_up(self, fingerprints: Sequence[bytes]) -> list[Found]:
        found = await self._link.call("ledger.look_up", list(fingerprints))
        return [CLAIMED if one == CLAIMED else _entry(one) for one in found]

    async def take(self, fingerprints: Sequence[bytes]) -> list[Found]:
        found = await self._link.call("ledger.take", list(fingerprints))
        return [CLAIMED if one == CLAIMED else _entry(one) for one in found]

    def write(self, entries: Mapping[bytes, Entry]) -> Awaitable[None]:
        return self._link.asked("ledger.write", {one: _row(entry) for one, entry in entries.items()})

    def forget(self, fingerprints: Iterable[bytes]) -> None:
        self._link.tell("ledger.forget", list(fingerprints))

    def claim(self, fingerprints: Collection[bytes]) -> Awaitable[None]:
        return self._link.asked("ledger.claim", list(fingerprints))

    def release(self, fingerprint: bytes, entry: Entry | None, *, is_told: bool = False) -> None:
        self._link.tell("ledger.release", fingerprint, _row(entry), is_told)

    async def awaited(self, fingerprint: bytes) -> Entry | None:
        return _entry(await self._link.call("ledger.awaited", fingerprint))


def desk(book: LocalBook, worker: object) -> Mapping[str, Handler]:
    """What the owner of the book answers to one worker."""

    def look_up(fingerprints: Sequence[bytes]) -> list[Any]:
        return [_row(one) if isinstance(one, Entry) else one for one in book.found(fingerprints)]

    def take(fingerprints: Sequence[bytes]) -> list[Any]:
        return [_row(one) if isinstance(one, Entry) else one for one in book.taken(fingerprints, worker)]

    def write(rows: Mapping[bytes, _Row]) -> Awaitable[None]:
        return book.write({one: Entry.unpacked(*row) for one, row in rows.items()})

    def claim(fingerprints: Sequence[bytes]) -> Awaitable[None]:
        return book.claim(fingerprints, worker)

    def release(fingerprint: bytes, row: _Row | None, is_told: bool) -> None:
        book.release(fingerprint, _entry(row), worker, is_told=is_told)

    async def awaited(fingerprint: bytes) -> Any:
        return _row(await book.awaited(fingerprint))

    handlers: dict[str, Callable[..., Any]] = {
        "look_up": look_up,
        "take": take,
        "write": write,
        "forget": book.forget,
        "claim": claim,
        "release": release,
        "awaited": awaited,
    }
    return {f"ledger.{name}": handler for name, handler in handlers.items()}


def _row(entry: Entry | None) -> Any:
    return None if entry is None else (entry.packed, entry.since)


def _entry(row: _Row | None) -> Entry | None:
    return None if row is None else Entry.unpacked(*row)
