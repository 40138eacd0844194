"""Keys: one list per purpose, newest first; a missing one keeps the server from starting, a new one hides nothing."""

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from mtaframe import Counter
from mtaframe.consistency import of_settings
from mtaframe.settings import Settings, StateSettings
from mtaframe.state import MemoryState, OwnedState, StateError, open_state
from mtaframe.state.keys import PURPOSES, KeyFileError, Keyring
from mtaframe.state.place import replace_keys
from mtaframe.state.sealing import Seal
from mtaframe.testing import VirtualClock

BOB = b"bob@example.net"
PRINT = b"\x01" * 16

Running = Callable[..., AbstractAsyncContextManager[OwnedState]]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def running(tmp_path: Path, clock: VirtualClock) -> Running:
    @asynccontextmanager
    async def run(**settings: object):  # type: ignore[no-untyped-def]
        folder = tmp_path / "state"
        state = await open_state(
            StateSettings.model_validate({"folder": str(folder), **settings}, context={"folder": tmp_path}),
            tmp_path,
            clock,
        )
        try:
            yield state
        finally:
            await state.close()

    return run


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "mtaframe.keys"


async def fill(state: OwnedState, clock: VirtualClock) -> None:
    await state.digests.put("suppression", BOB, 5, clock.now() + timedelta(days=1))
    await state.documents.put("shop", "template", "welcome", b"Hello")
    assert state.ledger is not None
    await state.ledger.write({PRINT: (1, clock.now().timestamp())})


def rotated(path: Path, *purposes: str) -> None:
    keyring = Keyring.parse(path.read_text())
    for purpose in purposes:
        keyring = keyring.rotated(purpose)
    replace_keys(path, keyring)


# The file.


def test_the_text_of_keys_is_read_as_it_was_written() -> None:
    keyring = Keyring.random().rotated("digests")
    again = Keyring.parse(keyring.text())
    assert again.keys == keyring.keys
    assert set(again.keys) == set(PURPOSES)
    assert [len(again.keys[purpose]) for purpose in PURPOSES] == [1, 2, 1]
    assert again.newest("digests") == again.keys["digests"][0]
    assert again.without("digests", again.newest("digests")[0]).keys["digests"] == again.keys["digests"][1:]


@pytest.mark.parametrize(
    "text",
    [
        "no keys",
        'ledger = "x"',
        'ledger.0 = "x"',
        'ledger.00000000 = "c2hvcnQ="',
        'ledger.00000000 = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="',
        "[ledger]\nx = 1",
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(KeyFileError) as caught:
        Keyring.parse(text)
    assert "QUFB" not in str(caught.value)


def test_a_keyring_does_not_print_its_keys() -> None:
    keyring = Keyring.random()
    assert repr(keyring) == str(keyring) == "Keyring()"


async def test_the_first_start_makes_the_keys_and_the_next_one_finds_them(running: Running, key_file: Path) -> None:
    async with running() as state:
        made = key_file.read_text()
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
        key = state.ledger_key
    async with running() as state:
        assert key_file.read_text() == made
        assert state.ledger_key == key
        assert state.keyring.text() == made


# A missing key.


async def test_a_missing_key_keeps_the_server_from_starting(
    running: Running, key_file: Path, clock: VirtualClock
) -> None:
    async with running() as state:
        await fill(state, clock)
    whole = Keyring.parse(key_file.read_text())
    for purpose in PURPOSES:
        key_id = whole.newest(purpose)[0]
        key_file.write_text(whole.rotated(purpose).without(purpose, key_id).text())
        with pytest.raises(StateError, match=rf"the key {purpose}\.{key_id} is missing, and 1 rows") as caught:
            async with running():
                pass
        assert f"mtaframe state keys retire {purpose}.{key_id}" in str(caught.value)
    key_file.unlink()
    with pytest.raises(StateError, match="is missing"):
        async with running():
            pass
    assert not key_file.exists()
    key_file.write_text(whole.text())
    async with running() as state:
        assert await state.digests.get("suppression", BOB) == 5


async def test_keys_that_nothing_needs_are_made_anew(running: Running, key_file: Path) -> None:
    async with running():
        pass
    key_file.unlink()
    async with running() as state:
        assert Keyring.parse(key_file.read_text()).keys == state.keyring.keys


async def test_a_spoilt_file_of_keys_keeps_the_server_from_starting(running: Running, key_file: Path) -> None:
    async with running():
        pass
    key_file.write_text("spoilt")
    with pytest.raises(StateError, match=str(key_file)):
        async with running():
            pass


# Where they come from.


async def test_keys_come_from_what_the_configuration_names(
    running: Running, key_file: Path, tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = Keyring.random()
    (tmp_path / "elsewhere").write_text(keyring.text())
    monkeypatch.setenv("KEYS", keyring.text())
    for keys in ({"file": "elsewhere"}, {"env": "KEYS"}, keyring.text()):
        async with running(keys=keys) as state:
            assert state.keyring.keys == keyring.keys
            await fill(state, clock)
    assert not key_file.exists()
    lacking = Keyring({"ledger": keyring.keys["ledger"]}).text()
    with pytest.raises(StateError, match=r"the key digests\..* is missing"):
        async with running(keys=lacking):
            pass


async def test_a_purpose_without_a_key_is_named(running: Running) -> None:
    lacking = Keyring({"ledger": Keyring.random().keys["ledger"]}).text()
    with pytest.raises(StateError, match="lacks a key: `mtaframe state keys rotate digests`"):
        async with running(keys=lacking):
            pass


async def test_systemd_hands_keys_over(
    running: Running, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = Keyring.random()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "mtaframe.keys").write_text(keyring.text())
    async with running() as state:
        assert state.keyring.keys == keyring.keys
    assert not key_file.exists()


def test_check_warns_of_keys_beside_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warns(**state: object) -> bool:
        found = of_settings(Settings.model_validate({"state": state}))
        return any(finding.kind == "warning" and "the keys lie beside" in finding.text for finding in found)

    for name in ("STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    assert not warns()
    assert warns(folder="/var/lib/other")
    assert not warns(folder="/var/lib/other", keys="elsewhere")
    assert not warns(folder="/var/lib/other", backend="memory")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/mtaframe")
    assert warns()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert warns()
    (tmp_path / "mtaframe.keys").touch()
    assert not warns()


# Rotation.


async def test_after_a_rotation_everything_is_still_found_and_new_things_have_the_new_key(
    running: Running, key_file: Path, clock: VirtualClock
) -> None:
    async with running() as state:
        await fill(state, clock)
        ledger_key = state.ledger_key
    rotated(key_file, *PURPOSES)
    async with running() as state:
        assert await state.digests.get("suppression", BOB) == 5
        assert await state.documents.get("shop", "template", "welcome") == b"Hello"
        assert await state.documents.names("shop", "template") == ["welcome"]
        assert len(state.ledger_rows()) == 1
        assert state.ledger_key == ledger_key, "entries are still recognised"
        await fill(state, clock)
        old = {purpose: key for purpose in ("digests", "documents") for key, _ in state.keyring.keys[purpose][1:]}
        needed = await state.keys_needed()
        assert not [(purpose, key) for purpose, key in needed if old.get(purpose) == key], "put again under the new"
        assert state.ledger is not None
        state.ledger.forget([PRINT])
    async with running() as state:
        assert state.ledger_key == state.keyring.newest("ledger")[1] != ledger_key


async def test_a_document_and_a_digest_under_an_old_key_can_be_changed_and_dropped(
    running: Running, key_file: Path, clock: VirtualClock
) -> None:
    async with running() as state:
        await fill(state, clock)
    rotated(key_file, *PURPOSES)
    async with running() as state:
        await state.digests.drop("suppression", BOB)
        assert await state.documents.change("shop", "template", "welcome", b"Hello", b"Good day")
        assert await state.documents.names("shop", "template") == ["welcome"]
        await state.documents.drop("shop", "template", "welcome")
        assert await state.digests.get("suppression", BOB) is None
        assert await state.documents.names("shop", "template") == []
        assert [purpose for purpose, _ in await state.keys_needed()] == ["ledger"]


async def test_a_key_is_forgotten_with_all_that_needs_it(running: Running, key_file: Path, clock: VirtualClock) -> None:
    async with running() as state:
        await fill(state, clock)
        with pytest.raises(StateError, match="still makes new rows"):
            await state.forget_key("digests", state.keyring.newest("digests")[0])
    rotated(key_file, "digests")
    async with running() as state:
        [_, (old, _)] = state.keyring.keys["digests"]
        await state.forget_key("digests", old)
        assert await state.digests.get("suppression", BOB) is None
    keyring = Keyring.parse(key_file.read_text())
    replace_keys(key_file, keyring.without("digests", old))
    async with running() as state:
        assert await state.documents.get("shop", "template", "welcome") == b"Hello"


# What keys do.


def test_a_digest_depends_on_key_purpose_and_what_is_hashed() -> None:
    keyring = Keyring.random().rotated("digests")
    prints = [*keyring.prints("a", BOB), *keyring.prints("b", BOB), *keyring.prints("a", b"")]
    prints += Keyring.random().prints("a", BOB)
    assert len({digest for _, digest in prints}) == len(prints) == 7
    assert {len(digest) for _, digest in prints} == {16}
    assert [key for key, _ in keyring.prints("a", BOB)] == [key for key, _ in keyring.keys["digests"]]
    assert keyring.prints("a", BOB) == Keyring.parse(keyring.text()).prints("a", BOB)
    with pytest.raises(ValueError, match="purpose"):
        keyring.prints("bob@example.net", BOB)


def test_a_sealed_document_can_not_be_passed_off_as_another() -> None:
    keyring = Keyring.random()
    seal = Seal(keyring)
    [key_id] = seal.key_ids
    name, content = seal.name(key_id, "shop", "t", "x"), seal.content(key_id, "shop", "t", "x", b"")
    assert seal.opened_name(key_id, "shop", "t", name) == "x"
    assert seal.opened_content(key_id, "shop", "t", "x", content) == b""
    for account, kind, called in (("bank", "t", "x"), ("shop", "u", "x"), ("shop", "t", "y")):
        with pytest.raises(ValueError, match="sealed"):
            seal.opened_content(key_id, account, kind, called, content)
    with pytest.raises(ValueError, match="sealed"):
        seal.opened_name(key_id, "bank", "t", name)
    with pytest.raises(ValueError, match="sealed"):
        Seal(Keyring.random().rotated("documents")).opened_name(key_id, "shop", "t", name)


async def test_a_document_that_was_tampered_with_counts_as_none(
    running: Running, tmp_path: Path, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as state:
        await fill(state, clock)
    connection = sqlite3.connect(tmp_path / "state" / "state.db")
    connection.execute("UPDATE documents SET content = zeroblob(32)")
    connection.commit()
    connection.close()
    async with running() as state:
        assert await state.documents.get("shop", "template", "welcome") is None
        assert "account=shop kind=template" in caplog.text


async def test_memory_has_keys_that_die_with_it(clock: VirtualClock) -> None:
    state = await open_state(StateSettings(backend="memory"), Path(), clock)
    assert isinstance(state, MemoryState)
    assert state.keyring.keys != MemoryState(clock).keyring.keys
    assert (state.ledger, state.folder, state.trouble, state.ledger_rows()) == (None, None, None, [])
    await state.close()


# The folder.


async def test_without_a_folder_each_configuration_has_its_own(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtaframe.state.place.SYSTEM_FOLDER", tmp_path / "none")
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    states = [await open_state(StateSettings(), tmp_path / name, clock) for name in ("one", "two")]
    folders = {state.folder for state in states}
    assert len(folders) == 2
    assert {folder.parent for folder in folders if folder} == {tmp_path / "home"}
    for state in states:
        await state.close()
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "systemd"))
    state = await open_state(StateSettings(), tmp_path, clock)
    assert state.folder == tmp_path / "systemd"
    await state.close()


async def test_what_root_makes_belongs_to_whom_the_folder_belongs_to(
    running: Running, tmp_path: Path, missing: Callable[[str], None]
) -> None:
    if os.geteuid() != 0:
        missing("root, who may make files for others")
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 4321, 4321)
    async with running() as state:
        await state.registers.change(Counter("a"), 0, 1)
        assert {path.stat().st_uid for path in (tmp_path / "state").iterdir()} == {4321}
