"""A disk of the state that is full, or can't be written: mail goes on, and the operator hears of it."""

import asyncio
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.harness import House, happen, house, scripted, seed, worker


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The folder of the state: a file system of one megabyte."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", folder], check=False).returncode:
        pytest.skip("missing program: mount (as root, where the system allows it)")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> None:
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


def make_room(disk: Path) -> None:
    (disk / "filler").unlink()


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """For whoever opens a file there meanwhile."""
    subprocess.run(["mount", "--bind", disk, disk], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


async def trouble(run: House, *, is_expected: bool) -> str:
    """What ``mtaframe status`` says of the disk, once it says something, or nothing any more."""
    async with asyncio.timeout(20):
        while True:
            said: str | None = (await run.service.status())["state"]["trouble"]
            if (said is not None) == is_expected:
                return said or ""
            await asyncio.sleep(0.05)


async def test_on_a_full_disk_mail_goes_on_loudly(tmp_path: Path, disk: Path) -> None:
    """Meanwhile RAM has the ledger; once there is room the file has it too, and it survives a kill."""
    async with house(tmp_path, seed(), doubts=False) as run, scripted(run, "mta") as upstream:
        async with run.under_load(upstream):
            fill(disk)
            assert await trouble(run, is_expected=True) == f"the disk of {disk} is full: make room"
            before = len(run.books.submitted)
            await happen(run, [worker])
            make_room(disk)
            await trouble(run, is_expected=False)
            assert len(run.books.submitted) > before
        balance = await run.settled(upstream)
    run.assert_nothing_is_lost(balance)
    assert f"ERROR state is not written, everything goes on in RAM: the disk of {disk} is full" in run.service.log
    assert "WARNING state is written again" in run.service.log


async def test_on_a_disk_that_can_not_be_written_mail_goes_on_loudly(tmp_path: Path, disk: Path) -> None:
    """The server starts, reads what is there, and writes as soon as it can."""
    async with house(tmp_path, seed(), doubts=False) as run, scripted(run, "mta") as upstream:
        async with run.under_load(upstream):
            await asyncio.sleep(1)
            with read_only(disk):
                await run.service.restart()
                assert re.search("can't be written: mend|read-only.*: see to it", await trouble(run, is_expected=True))
                before = len(run.books.submitted)
                await happen(run, [worker])
            await trouble(run, is_expected=False)
            assert len(run.books.submitted) > before
        balance = await run.settled(upstream)
    run.assert_nothing_is_lost(balance)
    assert "ERROR state is not written, everything goes on in RAM" in run.service.log
    assert "WARNING state is written again" in run.service.log
