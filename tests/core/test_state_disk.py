"""A disk that is full, read-only, gone, damaged or stuck stops nothing: it is said once, and made up for."""

import asyncio
import logging
import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from mtaframe import Counter
from mtaframe.lifecycle import CommandError
from mtaframe.settings import StateSettings
from mtaframe.state import OwnedState, StateError, answer, open_state, storage
from mtaframe.state.database import Changes, Database
from mtaframe.testing import VirtualClock

SENT = Counter("sent", account="shop")
NUMBERS = Counter("numbers", account="shop")
BOB = b"bob@example.net"
PRINT = b"\x01" * 16


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RETRY", 0.1)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def small_disk(tmp_path: Path, missing: Callable[[str], None]) -> Iterator[Path]:
    """A file system of 2 MB."""
    if os.geteuid() != 0:
        missing("root, who may mount a tmpfs")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "none", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


def filled_up(disk: Path) -> None:
    """Not an octet is free."""
    with open(disk / "filler", "wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    assert shutil.disk_usage(disk).free == 0


def remounted(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", disk], check=True)


@asynccontextmanager
async def running(folder: Path, clock: VirtualClock) -> AsyncIterator[OwnedState]:
    state = await open_state(StateSettings(folder=str(folder)), folder, clock)
    try:
        yield state
    finally:
        await state.close()


async def fill(state: OwnedState, clock: VirtualClock, value: int) -> None:
    """Something of everything; each call ends, whatever the disk does."""
    async with asyncio.timeout(5):
        await state.counters.add({SENT: 1})
        assert await state.registers.change(SENT, state.registers.value(SENT), value)
        await state.sequences.next(NUMBERS)
        await state.digests.put("a", BOB, value, clock.now() + timedelta(days=1))
        await state.documents.put("shop", "template", "welcome", b"%d" % value)
        assert state.ledger is not None
        await state.ledger.write({PRINT: (value, clock.now().timestamp())})


async def assert_filled(
    state: OwnedState, clock: VirtualClock, value: int, count: int, *, can_be_read: bool = True
) -> None:
    assert await state.counters.sums([SENT], clock.now()) == [count]
    assert state.registers.value(SENT) == value
    assert await state.digests.get("a", BOB) == value
    assert await state.documents.get("shop", "template", "welcome") == b"%d" % value
    if can_be_read:
        assert await state.documents.names("shop", "template") == ["welcome"]
    assert [row[:2] for row in state.ledger_rows()] == [(PRINT, value)]


async def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < end, "it never became so"
        await asyncio.sleep(0.02)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_full_disk_is_said_once_and_written_to_once_there_is_room(
    small_disk: Path, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(small_disk / "state", clock) as state:
        await fill(state, clock, 1)
        filled_up(small_disk)
        for number in range(200):
            await state.documents.put("shop", "other", str(number), bytes(1000))
            if number % 20 == 0:
                await asyncio.sleep(0.05)
        await fill(state, clock, 2)
        assert state.trouble == f"the disk of {small_disk / 'state'} is full: make room"
        assert [error for error in errors(caplog) if "is full" in error] == errors(caplog)
        assert len(errors(caplog)) == 1
        await assert_filled(state, clock, 2, 2)
        (small_disk / "filler").unlink()
        await until(lambda: state.trouble is None)
        await fill(state, clock, 3)
    async with running(small_disk / "state", clock) as state:
        await assert_filled(state, clock, 3, 3)
        assert len(await state.documents.names("shop", "other")) == 200


async def test_a_disk_that_is_read_only_at_the_start_is_read(small_disk: Path, clock: VirtualClock) -> None:
    folder = small_disk / "state"
    async with running(folder, clock) as state:
        await fill(state, clock, 1)
        kept = small_disk / "killed"
        shutil.copytree(folder, kept)  # as a kill would leave it, for not all is in state.db yet
    assert (kept / "state.db-wal").stat().st_size
    remounted(small_disk, "ro")
    async with running(kept, clock) as state:
        assert state.trouble is not None
        await assert_filled(state, clock, 1, 1)
        await fill(state, clock, 2)
        await assert_filled(state, clock, 2, 2)
        remounted(small_disk, "rw")
        await until(lambda: state.trouble is None)
        await assert_filled(state, clock, 2, 2)
    async with running(kept, clock) as state:
        await assert_filled(state, clock, 2, 2)


async def test_a_first_start_on_a_read_only_disk_begins_its_files_later(small_disk: Path, clock: VirtualClock) -> None:
    remounted(small_disk, "ro")
    async with running(small_disk / "state", clock) as state:
        await fill(state, clock, 1)
        await assert_filled(state, clock, 1, 1)
        assert "Read-only file system".lower() in (state.trouble or "")
        key = state.ledger_key
        remounted(small_disk, "rw")
        await until(lambda: state.trouble is None)
    async with running(small_disk / "state", clock) as state:
        await assert_filled(state, clock, 1, 1)
        assert state.ledger_key == key


async def test_a_folder_that_vanishes_is_made_again_with_all_that_it_had(
    tmp_path: Path, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "state"
    async with running(folder, clock) as state:
        await fill(state, clock, 1)
        shutil.rmtree(folder)
        await state.counters.add({SENT: 1})
        await until(lambda: (folder / "state.db").exists() and state.trouble is None)
        assert len(errors(caplog)) == 1
        await assert_filled(state, clock, 1, 2)
        with pytest.raises(StateError, match="another mtaframe"):
            async with running(folder, clock):
                pass
    async with running(folder, clock) as state:
        await assert_filled(state, clock, 1, 2)


async def test_what_is_read_from_a_file_that_is_gone_is_kept_however_long_that_takes(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody was there any more to take it: digests and documents were lost, though they had been read."""
    changes = Database.changes

    def slow(database: Database, *arguments: object) -> object:
        time.sleep(0.3)
        return changes(database, *arguments)  # type: ignore[arg-type]

    async with running(tmp_path / "state", clock) as state:
        await fill(state, clock, 1)
        monkeypatch.setattr(storage, "PATIENCE", 0.1)
        monkeypatch.setattr(Database, "changes", slow)
        shutil.rmtree(tmp_path / "state")
        await state.counters.add({SENT: 1})
        await until(lambda: state.trouble is not None)
        await until(lambda: state.trouble is None)
        monkeypatch.undo()
        await assert_filled(state, clock, 1, 2)
    async with running(tmp_path / "state", clock) as state:
        await assert_filled(state, clock, 1, 2)


async def test_a_file_that_is_damaged_at_the_start_is_set_aside(
    tmp_path: Path, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, clock) as state:
        await fill(state, clock, 1)
    (tmp_path / "state.db").write_bytes(b"no database" * 1000)
    async with running(tmp_path, clock) as state:
        [aside] = tmp_path.glob("state.db.corrupt-*")
        assert aside.read_bytes().startswith(b"no database")
        assert [str(aside) in error for error in errors(caplog)] == [True]
        assert state.trouble is None
        assert state.registers.value(SENT) == 0
        await fill(state, clock, 2)
    async with running(tmp_path, clock) as state:
        await assert_filled(state, clock, 2, 1)


async def test_of_a_file_that_is_damaged_while_it_is_in_use_nothing_is_lost_that_ram_has(
    tmp_path: Path, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, clock) as state:
        await fill(state, clock, 1)
        for number in range(100):
            await state.documents.put("shop", "large", str(number), bytes(50_000))
        path = tmp_path / "state.db"
        with open(path, "r+b") as file:
            file.write(b"\xff" * path.stat().st_size)
        for number in range(100):
            with suppress(sqlite3.DatabaseError):
                async with asyncio.timeout(5):
                    await state.documents.get("shop", "large", str(number))
            await state.documents.put("shop", "large", str(number), b"again")
        await until(lambda: state.trouble is None and any(tmp_path.glob("state.db.corrupt-*")))
        assert "damaged" in errors(caplog)[0]
        await fill(state, clock, 2)
    async with running(tmp_path, clock) as state:
        await assert_filled(state, clock, 2, 2)


async def test_a_folder_that_can_not_be_had_leaves_everything_in_ram_until_it_can(
    tmp_path: Path, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "blocked").write_text("a file where the folder would be")
    async with running(tmp_path / "blocked", clock) as state:
        assert len(errors(caplog)) == 1
        assert await state.sequences.next(NUMBERS) > clock.now().timestamp()
        await fill(state, clock, 1)
        await assert_filled(state, clock, 1, 1)
        (tmp_path / "blocked").unlink()
        await until(lambda: state.trouble is None)
    async with running(tmp_path / "blocked", clock) as state:
        await assert_filled(state, clock, 1, 1)


async def test_the_file_of_another_state_is_not_written_over(tmp_path: Path, clock: VirtualClock) -> None:
    async with running(tmp_path / "real", clock) as state:
        await fill(state, clock, 7)
    (tmp_path / "state").write_text("as if it were not mounted")
    async with running(tmp_path / "state", clock) as state:
        await fill(state, clock, 1)
        (tmp_path / "state").unlink()
        os.rename(tmp_path / "real", tmp_path / "state")
        await until(lambda: "restart mtaframe" in (state.trouble or ""))
        await assert_filled(state, clock, 1, 1)
    async with running(tmp_path / "state", clock) as state:
        await assert_filled(state, clock, 7, 1)


def hung(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """From now on the disk takes nothing until the event is set, and nobody waits for it long."""
    answers, write = threading.Event(), Database.write

    def slow(database: Database, *arguments: object, **named: object) -> None:
        answers.wait(20)
        write(database, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(storage, "PATIENCE", 0.2)
    monkeypatch.setattr(Database, "write", slow)
    return answers


async def test_a_disk_that_does_not_answer_is_waited_for_a_moment_only(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, clock) as state:
        await fill(state, clock, 1)
        answers = hung(monkeypatch)
        await fill(state, clock, 2)
        await assert_filled(state, clock, 2, 2, can_be_read=False)
        assert "does not answer" in errors(caplog)[0]
        assert len(errors(caplog)) == 1
        answers.set()
        await until(lambda: state.trouble is None)
    async with running(tmp_path, clock) as state:
        await assert_filled(state, clock, 2, 2)


async def test_a_disk_that_does_not_answer_for_long_is_not_given_all_again_with_each_try(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try left a whole batch behind, in a line before the disk: a disk that hung for an hour took gigabytes."""
    answers, begun = threading.Event(), 0
    write = Database.write

    def slow(database: Database, *arguments: object, **named: object) -> None:
        nonlocal begun
        begun += 1
        answers.wait(20)
        write(database, *arguments, **named)  # type: ignore[arg-type]

    async with running(tmp_path, clock) as state:
        await fill(state, clock, 1)
        monkeypatch.setattr(storage, "PATIENCE", 0.05)
        monkeypatch.setattr(storage, "RETRY", 0.01)
        monkeypatch.setattr(Database, "write", slow)
        for _ in range(20):
            await fill(state, clock, 2)
            await asyncio.sleep(0.05)
        answers.set()
        await until(lambda: state.trouble is None)
        assert begun <= 3
    async with running(tmp_path, clock) as state:
        await assert_filled(state, clock, 2, 21)


async def test_an_account_is_not_said_to_be_exported_or_erased_while_the_disk_does_not_answer(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There were 0 documents, it said, and all is done. They were all there again when the disk was."""
    async with running(tmp_path, clock) as state:
        await fill(state, clock, 1)
        answers = hung(monkeypatch)
        await state.digests.put("a", BOB, 2, clock.now() + timedelta(days=1))
        await until(lambda: state.trouble is not None)
        for name in ("state.export", "state.purge"):
            with pytest.raises(CommandError, match="does not answer"):
                await answer(state, name, {"account": "shop"})
        answers.set()
        await until(lambda: state.trouble is None)
        assert (await answer(state, "state.purge", {"account": "shop"}))["documents"] == 1
        assert await state.documents.names("shop", "template") == []


async def test_an_account_is_not_said_to_be_erased_from_a_disk_that_is_full(
    small_disk: Path, clock: VirtualClock
) -> None:
    """It was erased in RAM alone: a server that ended before there was room had it again."""
    async with running(small_disk / "state", clock) as state:
        await fill(state, clock, 1)
        filled_up(small_disk)
        with pytest.raises(CommandError, match="is full: make room"):
            await answer(state, "state.purge", {"account": "shop"})
        (small_disk / "filler").unlink()
        await until(lambda: state.trouble is None)
    async with running(small_disk / "state", clock) as state:
        assert await state.documents.names("shop", "template") == []


async def test_a_document_that_can_not_be_read_now_is_not_taken_for_none(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever saved a profile while the disk hung replaced the one that was there; a worker that asked for an account's
    domains or webhooks knew of none, and did not ask again."""
    async with running(tmp_path, clock) as state:
        await fill(state, clock, 1)
        answers = hung(monkeypatch)
        await state.digests.put("a", BOB, 2, clock.now() + timedelta(days=1))
        await until(lambda: state.trouble is not None)
        with pytest.raises(TimeoutError):
            await state.documents.get("shop", "template", "welcome")
        with pytest.raises(TimeoutError):
            await state.documents.names("shop", "template")
        for name, most in (("welcome", None), ("another", 1)):
            with pytest.raises(TimeoutError):
                await state.documents.change("shop", "template", name, None, b"new", most)
        answers.set()
        await until(lambda: state.trouble is None)
        assert await state.documents.get("shop", "template", "welcome") == b"1"
        assert await state.documents.names("shop", "template") == ["welcome"]
        assert await state.documents.change("shop", "template", "welcome", b"1", b"2")


async def test_without_a_file_documents_are_made_in_ram(tmp_path: Path, clock: VirtualClock) -> None:
    (tmp_path / "blocked").write_text("a file where the folder would be")
    async with running(tmp_path / "blocked", clock) as state:
        assert await state.documents.change("shop", "template", "welcome", None, b"1", 1)
        assert not await state.documents.change("shop", "template", "another", None, b"1", 1)
        assert await state.documents.change("shop", "template", "welcome", b"1", b"2")
        assert (await answer(state, "state.export", {"account": "shop"}))["documents"][0]["text"] == "2"


async def test_what_takes_longer_to_write_than_anybody_waits_is_written_once(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was written again with each try, and took as long again: the disk was never said to be back."""
    written, write = 0, Database.write

    def slow(database: Database, batch: Mapping[str, Changes], **named: bool) -> None:
        nonlocal written
        if batch.get("documents"):
            written += 1
            time.sleep(0.4)
        write(database, batch, **named)

    async with running(tmp_path, clock) as state:
        monkeypatch.setattr(storage, "PATIENCE", 0.1)
        monkeypatch.setattr(Database, "write", slow)
        await fill(state, clock, 1)
        assert "does not answer" in (state.trouble or "")
        await until(lambda: state.trouble is None)
        assert written == 1
        await assert_filled(state, clock, 1, 1)
    async with running(tmp_path, clock) as state:
        await assert_filled(state, clock, 1, 1)


async def test_what_is_still_being_written_at_the_end_is_waited_for(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = Database.write

    def slow(database: Database, *arguments: object, **named: object) -> None:
        time.sleep(0.4)
        write(database, *arguments, **named)  # type: ignore[arg-type]

    async with running(tmp_path, clock) as state:
        monkeypatch.setattr(storage, "PATIENCE", 0.5)
        monkeypatch.setattr(Database, "write", slow)
        saving = asyncio.create_task(state.documents.put("shop", "template", "welcome", b"1"))
        await asyncio.sleep(0.2)
    await saving
    assert errors(caplog) == []
    async with running(tmp_path, clock) as state:
        assert await state.documents.get("shop", "template", "welcome") == b"1"


async def test_an_account_is_not_said_to_be_erased_where_the_file_could_not_be_written_anew(
    small_disk: Path, clock: VirtualClock
) -> None:
    """The rows were gone, and their octets were still there, for an hour; nobody was told to make room."""
    folder = small_disk / "state"
    async with running(folder, clock) as state:
        for number in range(12):
            await state.documents.put("bank", "large", str(number), os.urandom(50_000))
        await state.documents.put("shop", "template", "welcome", b"Hello")
        await answer(state, "state.purge", {"account": "nobody"})
        (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 200_000))
        with pytest.raises(CommandError, match="make room"):
            await answer(state, "state.purge", {"account": "shop"})
        (small_disk / "filler").unlink()
        await answer(state, "state.purge", {"account": "shop"})
        assert not [path for path in folder.iterdir() if b"shop" in path.read_bytes()]
