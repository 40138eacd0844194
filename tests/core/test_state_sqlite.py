"""State in a file: it comes back, it holds no text, nothing acknowledged is lost by a kill, no number comes twice."""

import asyncio
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mtaframe import Counter
from mtaframe.ledger import KEPT, LocalBook
from mtaframe.settings import StateSettings
from mtaframe.state import OwnedState, StateError, open_state
from mtaframe.state.database import TABLES, Database
from mtaframe.testing import VirtualClock
from tests.conftest import ROOT

SENT = Counter("sent", account="shop", stream="news", source="one", site="example.net")
BOB = b"bob@example.net"
PRINTS = [bytes([number]) * 16 for number in range(4)]

Opened = Callable[[], Awaitable[OwnedState]]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def opened(tmp_path: Path, clock: VirtualClock) -> Opened:
    async def open_it() -> OwnedState:
        return await open_state(StateSettings(folder=str(tmp_path / "state")), tmp_path, clock)

    return open_it


@pytest.fixture
async def state(opened: Opened) -> AsyncIterator[OwnedState]:
    state = await opened()
    yield state
    await state.close()


@asynccontextmanager
async def reopened(state: OwnedState, opened: Opened) -> AsyncIterator[OwnedState]:
    """What the next process finds."""
    await state.close()
    new = await opened()
    try:
        yield new
    finally:
        await new.close()


def octets(state: OwnedState) -> bytes:
    assert state.folder is not None
    return b"".join(path.read_bytes() for path in sorted(state.folder.iterdir()))


async def test_everything_comes_back(state: OwnedState, opened: Opened, clock: VirtualClock) -> None:
    began = clock.now()
    await state.counters.add({SENT: 3})
    clock.advance(7200)
    await state.counters.add({SENT: 4})
    assert await state.registers.change(SENT, 0, 7)
    await state.digests.put("spam_traps", BOB, 5, clock.now() + timedelta(days=1))
    await state.documents.put("shop", "template", "Welcome, ü!", b"Hello \xff")
    assert state.ledger is not None
    await state.ledger.write({PRINTS[0]: (123, began.timestamp())})
    async with reopened(state, opened) as new:
        assert await new.counters.sums([SENT], began) == [7]
        assert await new.counters.sums([SENT], clock.now()) == [4]
        assert new.registers.value(SENT) == 7
        assert await new.digests.get("spam_traps", BOB) == 5
        assert await new.digests.get("suppression", BOB) is None
        assert await new.documents.get("shop", "template", "Welcome, ü!") == b"Hello \xff"
        assert await new.documents.names("shop", "template") == ["Welcome, ü!"]
        assert new.ledger_rows() == [(PRINTS[0], 123, began.timestamp())]
        assert new.trouble is None


async def test_who_agrees_at_the_same_moment_agrees_on_one_number_and_so_does_the_next_process(
    state: OwnedState, opened: Opened, clock: VirtualClock
) -> None:
    until = clock.now() + timedelta(days=1)
    found = await asyncio.gather(*(state.digests.agree("a", BOB, value, until) for value in range(1, 9)))
    assert set(found) == {1}
    async with reopened(state, opened) as again:
        assert await again.digests.agree("a", BOB, 9, until) == 1


async def test_what_was_taken_away_stays_away(state: OwnedState, opened: Opened, clock: VirtualClock) -> None:
    until = clock.now() + timedelta(days=1)
    await state.counters.add({SENT: 3})
    await state.registers.change(SENT, 0, 7)
    await state.digests.put("a", BOB, 5, until)
    for name in ("one", "two"):
        await state.documents.put("shop", "template", name, b"Hello")
    await state.documents.put("shop", "webhook", "one", b"")
    assert state.ledger is not None
    await state.ledger.write({one: (1, clock.now().timestamp()) for one in PRINTS[:2]})
    async with reopened(state, opened) as new:
        await new.counters.clear([SENT])
        await new.registers.change(SENT, 7, 0)
        await new.digests.drop("a", BOB)
        await new.documents.drop("shop", "template", "one")
        assert await new.documents.names("shop", "template") == ["two"]
        await new.documents.drop("shop", "webhook")
        assert new.ledger is not None
        new.ledger.forget(PRINTS[:1])
        async with reopened(new, opened) as newest:
            assert await newest.counters.sums([SENT], clock.now()) == [0]
            assert newest.registers.all() == {}
            assert await newest.digests.get("a", BOB) is None
            assert await newest.documents.names("shop", "template") == ["two"]
            assert await newest.documents.get("shop", "webhook", "one") is None
            assert [row[0] for row in newest.ledger_rows()] == [PRINTS[1]]


async def test_what_is_too_old_is_gone(state: OwnedState, opened: Opened, clock: VirtualClock) -> None:
    began = clock.now()
    await state.counters.add({SENT: 3})
    await state.digests.put("a", BOB, 5, began + timedelta(days=1))
    assert state.ledger is not None
    await state.ledger.write({PRINTS[0]: (1, began.timestamp())})
    clock.advance(KEPT + 1)
    async with reopened(state, opened) as new:
        assert new.ledger_rows() == []
        assert await new.digests.get("a", BOB) is None
        assert await new.counters.sums([SENT], began) == [3]
        clock.advance(45 * 86400)
        async with reopened(new, opened) as newest:
            assert await newest.counters.sums([SENT], began) == [0]
            await eventually(lambda: rows_of(newest) == dict.fromkeys(TABLES, 0))


async def test_the_book_of_the_ledger_writes_into_it_and_is_filled_from_it(
    state: OwnedState, opened: Opened, clock: VirtualClock
) -> None:
    from mtaframe.delivery import Outcome
    from mtaframe.ledger import Entry

    since = clock.now().timestamp()
    entry = Entry(Outcome.DELIVERED, 250, "2.0.0", since)
    book = LocalBook(clock, state.ledger)
    await book.write({PRINTS[0]: entry, PRINTS[1]: entry})
    book.forget([PRINTS[1]])
    key = state.ledger_key
    async with reopened(state, opened) as new:
        book = LocalBook(clock, new.ledger)
        book.fill(new.ledger_rows())
        assert book.found(PRINTS[:2]) == [entry, None]
        assert new.ledger_key == key


async def test_a_sequence_goes_on_after_a_stop_and_jumps_after_a_crash(state: OwnedState, opened: Opened) -> None:
    assert [await state.sequences.next(SENT), await state.sequences.next(SENT, 5)] == [1, 2]
    assert await asyncio.gather(*(state.sequences.next(SENT) for _ in range(300))) == list(range(7, 307))
    async with reopened(state, opened) as new:
        assert await new.sequences.next(SENT) == 307


# What the file can hold.


async def test_only_its_owner_can_read_it(state: OwnedState) -> None:
    await state.registers.change(SENT, 0, 1)
    assert state.folder is not None
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [state.folder, *state.folder.iterdir()]}
    assert modes.pop("state") == 0o700
    assert set(modes) >= {"state.db", "mtaframe.keys", "lock"}
    assert set(modes.values()) == {0o600}


async def test_neither_lists_nor_documents_can_be_read_from_the_files(state: OwnedState, clock: VirtualClock) -> None:
    await state.digests.put("a", BOB, 5, clock.now() + timedelta(days=1))
    await state.documents.put("shop", "template", "canary-name", b"canary-content")
    await state.registers.change(SENT, 0, 1)
    found = octets(state)
    assert b"shop" in found
    assert b"bob" not in found
    assert b"canary" not in found


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    Database.open(tmp_path / "state.db").close()
    return sqlite3.connect(tmp_path / "state.db", isolation_level=None)


def good_row(table: str) -> list[object]:
    """For each column something that it takes."""
    columns = {**TABLES[table].key, **TABLES[table].rest}
    kinds: dict[str, object] = {"TEXT": "name", "INTEGER": 1, "REAL": 1.5, "BLOB": b"x" * 16}
    return [kinds[kind.split()[0]] for kind in columns.values()]


TEXTS = ["bob@example.net", "Dear Bob", "BOB", "bücher", "a" * 101, b"bob@example.net", "a\nb"]


@pytest.mark.parametrize("table", sorted(TABLES.keys() - {"documents"}))
def test_no_column_of_any_table_but_documents_takes_text(connection: sqlite3.Connection, table: str) -> None:
    marks = ", ".join("?" * len(good_row(table)))
    connection.execute(f"INSERT INTO {table} VALUES ({marks})", good_row(table))
    for column in range(len(good_row(table))):
        for text in TEXTS:
            row = good_row(table)
            row[column] = text
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)
    connection.close()


def test_the_schema_has_no_other_place_for_text(connection: sqlite3.Connection) -> None:
    schema = dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'"))
    assert set(schema) == set(TABLES)
    for name, definition in schema.items():
        assert definition.endswith("STRICT, WITHOUT ROWID"), name
        for _, column, kind, not_null, _, _ in connection.execute(f"PRAGMA table_info({name})"):
            assert not_null, (name, column)
            if kind == "TEXT" or (kind == "BLOB" and name != "documents"):
                assert f"CHECK (length({column})" in definition, (name, column)
    connection.close()


async def test_accounts_and_kinds_of_documents_are_names_and_numbers_fit(
    state: OwnedState, clock: VirtualClock
) -> None:
    for account, kind in (("bob@example.net", "a"), ("shop", "Dear Bob")):
        with pytest.raises(ValueError, match="name"):
            await state.documents.put(account, kind, "x", b"")
    await state.counters.add({SENT: 2**80})
    await state.digests.put("a", BOB, -(2**80), clock.now() + timedelta(days=1))
    assert await state.digests.get("a", BOB) == -(2**63) + 1
    assert state.trouble is None


# Crashes.

CHILD = """
import asyncio, sys, time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from mtaframe.clock import SystemClock
from mtaframe.settings import StateSettings
from mtaframe.state import open_state
from mtaframe.storage import Counter

async def main(folder):
    state = await open_state(StateSettings(folder=folder), Path(folder), SystemClock())
    told, number = Counter("told"), 0
    print("ready", flush=True)
    for number in range(1, 10**6):
        await state.counters.add({Counter("sent", account=f"a{number % 50}"): 1})
        given = await state.sequences.next(told)
        print("given", given, flush=True)
        if number % 5 == 0:
            print_ = number.to_bytes(16, "big")
            await state.ledger.write({print_: (number, time.time())})
            print("ledger", number, flush=True)
            if number % 10 == 0:
                state.ledger.forget([print_])
        if number % 7 == 0:
            await state.documents.put("shop", "template", f"t{number % 20}", b"x" * number)
            await state.digests.put("a", str(number).encode(), number, datetime.now(UTC) + timedelta(days=1))
            print("put", number, flush=True)

asyncio.run(main(sys.argv[1]))
"""


async def killed(folder: Path, seconds: float) -> list[tuple[str, int]]:
    """What a process acknowledged until it was killed so many seconds after it was ready."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    timer = asyncio.get_running_loop().call_later(seconds, child.send_signal, signal.SIGKILL)
    said, _ = await asyncio.to_thread(child.communicate)
    timer.cancel()
    assert child.returncode == -signal.SIGKILL
    lines = [line.split() for line in said.splitlines(keepends=True) if line.endswith("\n")]
    return [(word, int(number)) for word, number in lines]


async def kills(folder: Path, count: int) -> None:
    from mtaframe.clock import SystemClock

    chance = random.Random(4)
    given: list[int] = []
    for _ in range(count):
        said = await killed(folder, chance.uniform(0.02, 0.4))
        numbers = [number for word, number in said if word == "given"]
        assert not set(numbers) & set(given), "a number was given out twice"
        given += numbers
        connection = sqlite3.connect(folder / "state.db")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        state = await open_state(StateSettings(folder=str(folder)), folder, SystemClock())
        kept = {int.from_bytes(fingerprint, "big") for fingerprint, _, _ in state.ledger_rows()}
        assert {number for word, number in said if word == "ledger" and number % 10} <= kept
        for number in [number for word, number in said if word == "put"][-5:]:
            assert await state.digests.get("a", str(number).encode()) == number
        if puts := [number for word, number in said if word == "put"]:
            content = await state.documents.get("shop", "template", f"t{puts[-1] % 20}")
            assert content is not None
            assert len(content) >= puts[-1]
        assert (await state.sequences.next(Counter("told"))) > max(given, default=0)
        given.append(max(given, default=0))
        await state.close()
    assert len(given) > count


async def test_a_process_killed_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    await kills(tmp_path / "state", 6)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_hundreds_of_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    await kills(tmp_path / "state", 200)


async def test_a_kill_takes_along_a_moment_of_counting_at_most(tmp_path: Path) -> None:
    said = await killed(tmp_path, 0.5)
    state = await open_state(StateSettings(folder=str(tmp_path)), tmp_path, VirtualClock(datetime.now(UTC)))
    counted = await state.counters.sums(
        [Counter("sent", account=f"a{number}") for number in range(50)], datetime.now(UTC) - timedelta(hours=2)
    )
    await state.close()
    given = [number for word, number in said if word == "given"]
    assert len(given) - 50 <= sum(counted) <= len(given) + 1


# Owners.


async def test_two_owners_of_one_state_are_one_too_many(state: OwnedState, opened: Opened) -> None:
    with pytest.raises(StateError, match="another mtaframe has the state in"):
        await opened()
    await state.close()
    await (await opened()).close()


async def test_a_newer_file_is_left_alone(state: OwnedState, opened: Opened) -> None:
    await state.close()
    assert state.folder is not None
    with sqlite3.connect(state.folder / "state.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StateError, match="newer mtaframe"):
        await opened()


def rows_of(state: OwnedState) -> dict[str, int]:
    """How many rows each table has, as another program sees it, once the owner is gone; else by way of the owner."""
    database = state._place.database  # type: ignore[attr-defined]
    return {name: len(database.rows(name)) for name in TABLES}


async def eventually(is_so: Callable[[], bool], seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, "it never became so"
        await asyncio.sleep(0.02)
