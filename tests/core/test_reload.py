"""The folder is watched for real: editors, atomic renames, swapped links, a folder put in another's place."""

import asyncio
import contextlib
import os
import shutil
import time
from pathlib import Path

import pytest

from mtaframe import reload
from mtaframe.config import snapshot
from mtaframe.reload import watch

SOON = 1.0
"""Seconds from the end of a change to the call; twice that on a machine that is busy with other tests."""


class Watched:
    """A folder under watch; ``calls`` has the time and the main file at each call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[tuple[float, str | None]] = []
        self.stop = asyncio.Event()

    async def changed(self) -> None:
        main = self.folder / "mtaframe.toml"
        self.calls.append((time.monotonic(), main.read_text() if main.exists() else None))

    async def sees(self, text: str | None, within: float = 2 * SOON) -> None:
        """Wait for a call that finds this text, counted from now."""
        began = time.monotonic()
        while not any(seen == text for _, seen in self.calls):
            assert time.monotonic() - began < within, self.calls
            await asyncio.sleep(0.005)
        self.calls.clear()

    async def stays_calm(self) -> None:
        await asyncio.sleep(SOON)
        assert self.calls == []


@contextlib.asynccontextmanager
async def watching(folder, **options):
    watched = Watched(folder)
    task = asyncio.create_task(watch(folder, watched.changed, watched.stop, **options))
    await asyncio.sleep(0.1)
    yield watched
    watched.stop.set()
    await asyncio.wait_for(task, 1)


@pytest.fixture
def conf(tmp_path):
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "mtaframe.toml").write_text("first")
    return folder


async def test_plain_writes_are_seen_within_half_a_second(conf):
    async with watching(conf) as watched:
        for number in range(3):
            (conf / "mtaframe.toml").write_text(f"text {number}")
            written = time.monotonic()
            await watched.sees(f"text {number}", SOON)
            assert time.monotonic() - written < SOON
        await watched.stays_calm()


async def test_atomic_renames_as_editors_do_them(conf):
    async with watching(conf) as watched:
        for number in range(3):
            (conf / ".mtaframe.toml.swp").write_text("x")
            (conf / "4913").write_text("")  # what Vim tries first
            (conf / "4913").unlink()
            os.replace(conf / "mtaframe.toml", conf / "mtaframe.toml~")
            (conf / "mtaframe.toml").write_text(f"text {number}")
            await watched.sees(f"text {number}")
            (conf / "new").write_text(f"other {number}")
            os.replace(conf / "new", conf / "mtaframe.toml")
            await watched.sees(f"other {number}")


async def test_links_swapped_as_kubernetes_does(tmp_path):
    conf = tmp_path / "conf"
    for name in ("..1", "..2", "..3"):
        (conf / name).mkdir(parents=True)
        (conf / name / "mtaframe.toml").write_text(name)
    (conf / "..data").symlink_to("..1")
    (conf / "mtaframe.toml").symlink_to("..data/mtaframe.toml")
    async with watching(conf) as watched:
        for name in ("..2", "..3", "..1"):
            (conf / "..tmp").symlink_to(name)
            os.replace(conf / "..tmp", conf / "..data")
            await watched.sees(name)


async def test_several_files_at_once_are_one_call(conf):
    async with watching(conf) as watched:
        for name in ("dkim", "sandbox", "accounts", "mtaframe"):
            (conf / f"{name}.toml").write_text("new")
        await watched.sees("new")
        await watched.stays_calm()


async def test_a_half_written_file_is_not_acted_on(conf):
    async with watching(conf) as watched:
        with (conf / "mtaframe.toml").open("w") as file:
            for part in range(20):
                file.write(f"{part}\n")
                file.flush()
                await asyncio.sleep(0.01)
        await asyncio.sleep(SOON)
        assert [text for _, text in watched.calls] == ["".join(f"{n}\n" for n in range(20))]


async def test_what_changes_no_content_is_no_change(conf):
    async with watching(conf) as watched:
        (conf / "mtaframe.toml").touch()
        (conf / "mtaframe.toml").write_text("first")
        (conf / "notes.txt").write_text("x")
        (conf / "presets").mkdir()
        (conf / "presets" / "x.toml").write_text("x")
        (conf.parent / "neighbour.toml").write_text("x")
        await watched.stays_calm()


async def test_a_file_that_goes_is_a_change(conf):
    (conf / "dkim.toml").write_text("")
    async with watching(conf) as watched:
        (conf / "dkim.toml").unlink()
        await watched.sees("first")


async def test_another_folder_in_its_place_is_watched_on(conf):
    async with watching(conf) as watched:
        for number in range(3):
            other = conf.with_name("new")
            other.mkdir()
            (other / "mtaframe.toml").write_text(f"folder {number}")
            conf.rename(conf.with_name(f"old{number}"))
            other.rename(conf)
            await watched.sees(f"folder {number}")
            (conf / "mtaframe.toml").write_text(f"in it {number}")
            await watched.sees(f"in it {number}")


async def test_a_folder_deleted_and_made_again_is_watched_on(conf):
    async with watching(conf) as watched:
        shutil.rmtree(conf)
        conf.mkdir()
        (conf / "mtaframe.toml").write_text("again")
        await watched.sees("again", 3 * SOON)
        (conf / "mtaframe.toml").write_text("and again")
        await watched.sees("and again")
        shutil.rmtree(conf)
        await watched.sees(None)
        await asyncio.sleep(SOON)
        conf.mkdir()
        (conf / "mtaframe.toml").write_text("late")
        await watched.sees("late", 3 * SOON)
        (conf / "mtaframe.toml").write_text("last")
        await watched.sees("last")


async def test_a_link_to_a_release_swapped_for_another(tmp_path):
    for name in ("r1", "r2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mtaframe.toml").write_text(name)
    (tmp_path / "conf").symlink_to("r1")
    async with watching(tmp_path / "conf") as watched:
        (tmp_path / "tmp").symlink_to("r2")
        os.replace(tmp_path / "tmp", tmp_path / "conf")
        await watched.sees("r2")
        (tmp_path / "r2" / "mtaframe.toml").write_text("r2 changed")
        await watched.sees("r2 changed")


async def test_a_relative_folder(conf, monkeypatch):
    monkeypatch.chdir(conf.parent)
    async with watching(Path("conf")) as watched:
        (conf / "mtaframe.toml").write_text("new")
        await watched.sees("new")


async def test_what_changed_before_the_watch_began_is_told(conf):
    known = snapshot(conf).digest
    (conf / "mtaframe.toml").write_text("meanwhile")
    async with watching(conf, known=known) as watched:
        await watched.sees("meanwhile")


async def test_a_change_during_the_call_is_told_afterwards(conf):
    watched = Watched(conf)

    async def slowly() -> None:
        await watched.changed()
        if len(watched.calls) == 1:
            (conf / "mtaframe.toml").write_text("second")
            await asyncio.sleep(0.2)

    task = asyncio.create_task(watch(conf, slowly, watched.stop))
    await asyncio.sleep(0.1)
    (conf / "mtaframe.toml").write_text("new")
    await watched.sees("second")
    watched.stop.set()
    await asyncio.wait_for(task, 1)


async def test_without_any_event_it_looks_now_and_then(conf, monkeypatch):
    class Deaf:
        """A file system that sends no events."""

        def __init__(self, *_): ...
        def __enter__(self):
            return self

        def __exit__(self, *_): ...
        def watch(self, debounce, step, timeout, stop):
            time.sleep(timeout / 1000)
            return "timeout"

    monkeypatch.setattr(reload, "RustNotify", Deaf)
    monkeypatch.setattr(reload, "ANYWAY", 0.1)
    async with watching(conf) as watched:
        (conf / "mtaframe.toml").write_text("new")
        await watched.sees("new")


async def test_cancelling_it_ends_its_thread_and_leaves_the_event_alone(conf):
    stop = asyncio.Event()
    task = asyncio.create_task(watch(conf, Watched(conf).changed, stop))
    await asyncio.sleep(0.1)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < SOON
    assert not stop.is_set()
