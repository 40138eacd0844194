"""``mtaframe state``: the running server answers, or the command itself; what is purged is gone from the file."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mtaframe import PURGES, Counter
from mtaframe.cli import main
from mtaframe.clock import SystemClock
from mtaframe.lifecycle import CommandError
from mtaframe.settings import StateSettings
from mtaframe.state import MemoryState, OwnedState, answer, open_state
from mtaframe.state.keys import Keyring

SENT = Counter("sent", account="shop", stream="news")
STRIKES = Counter("strikes", account="shop")
OTHERS = Counter("sent", account="bank")
CONFIGURATION = """\
workers = 1
control = "{control}"
[state]
folder = "{state}"
[dns]
servers = ["127.0.0.1:9"]
[[listener]]
name = "in"
kind = "lmtp"
addresses = ["127.0.0.1:0"]
"""
PROGRAM = [sys.executable, "-c", "from mtaframe.cli import main; main(prog_name='mtaframe')"]


@pytest.fixture
def conf(tmp_path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as short:  # the path of a socket must be short
        folder = tmp_path / "conf"
        folder.mkdir()
        text = CONFIGURATION.format(control=f"{short}/control", state=tmp_path / "state")
        (folder / "mtaframe.toml").write_text(text)
        yield folder


@pytest.fixture
def server(conf: Path, filled: None) -> Iterator[None]:
    """A real server on the filled state."""
    command = [*PROGRAM, "run", "--conf", str(conf)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("mtaframe runs"), "the server ended"
    yield
    process.terminate()
    process.communicate(timeout=20)


def run(conf: Path, *arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, ["--conf", str(conf), "state", *arguments], input=given)


def printed(conf: Path, *arguments: str) -> Any:
    ran = run(conf, *arguments)
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


async def fill(state: OwnedState) -> None:
    await state.counters.add({SENT: 3, OTHERS: 4})
    await state.registers.change(STRIKES, 0, 2)
    await state.sequences.next(Counter("webhooks", account="bank"))
    await state.digests.put("suppression", b"bob@example.net", 1, datetime.now(UTC) + timedelta(days=1))
    await state.documents.put("shop", "template", "welcome", b"Hello")
    await state.documents.put("shop", "logo", "big", b"\xff\x00")
    await state.documents.put("bank", "template", "welcome", b"Good day")


def opened(tmp_path: Path, work: Callable[[OwnedState], Awaitable[object]]) -> Any:
    """Do it with the state, as its owner."""

    async def do() -> object:
        state = await open_state(StateSettings(folder=str(tmp_path / "state")), tmp_path, SystemClock())
        try:
            return await work(state)
        finally:
            await state.close()

    return asyncio.run(do())


@pytest.fixture
def filled(tmp_path: Path) -> None:
    opened(tmp_path, fill)


# Without a server.


def test_what_is_kept_is_shown_in_numbers(conf: Path, filled: None, tmp_path: Path) -> None:
    shown = printed(conf, "show", "--json")
    assert shown["folder"] == str(tmp_path / "state")
    assert shown["size"] > 4096
    assert (shown["trouble"], shown["ledger"]) == (None, 0)
    assert shown["counters"] == [
        {"account": "bank", "counter": "sent", "today": 4, "7 days": 4},
        {"account": "shop", "counter": "sent", "today": 3, "7 days": 3},
    ]
    [digests] = shown["digests"]
    assert (digests["purpose"], digests["count"]) == ("suppression", 1)
    assert [(row["account"], row["count"]) for row in shown["documents"]] == [("bank", 1), ("shop", 2)]
    assert {row["purpose"]: row["rows"] for row in shown["keys"]} == {"ledger": 0, "digests": 1, "documents": 3}
    assert "suppression" in run(conf, "show").stdout


def test_all_of_an_account_is_exported(conf: Path, filled: None) -> None:
    exported = printed(conf, "export", "shop")
    assert exported["documents"] == [
        {"kind": "logo", "name": "big", "base64": "/wA="},
        {"kind": "template", "name": "welcome", "text": "Hello"},
    ]
    [counted] = exported["counters"]
    assert (counted["name"], counted["stream"], counted["amount"]) == ("sent", "news", 3)
    assert exported["registers"] == [{"name": "strikes", "stream": "", "source": "", "site": "", "value": 2}]


def test_what_is_purged_is_not_in_the_file_any_more(conf: Path, filled: None, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "state" / "state.db")
    sealed = [octets for row in connection.execute("SELECT name, content FROM documents") for octets in row]
    theirs = [
        octets
        for row in connection.execute("SELECT name, content FROM documents WHERE account = 'bank'")
        for octets in row
    ]
    connection.close()
    assert all(octets in files(tmp_path) for octets in [b"shop", *sealed])
    assert run(conf, "purge", "shop", given="n\n").exit_code == 1
    assert printed(conf, "export", "shop")["documents"]
    assert printed(conf, "purge", "shop", "--yes", "--json") == {"documents": 2, "counters": 1, "registers": 1}
    found = files(tmp_path)
    assert b"shop" not in found
    assert {octets for octets in sealed if octets in found} == set(theirs)
    assert not any(printed(conf, "export", "shop")[part] for part in ("documents", "counters", "registers"))
    assert printed(conf, "export", "bank")["documents"] == [{"kind": "template", "name": "welcome", "text": "Good day"}]


def files(tmp_path: Path) -> bytes:
    return b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())


def test_keys_are_listed_rotated_and_retired(conf: Path, filled: None, tmp_path: Path) -> None:
    key_file = tmp_path / "state" / "mtaframe.keys"
    before = Keyring.parse(key_file.read_text())
    old = before.newest("documents")[0]
    refused = run(conf, "keys", "retire", f"documents.{old}", "--yes")
    assert refused.exit_code == 1
    assert "is the newest" in refused.stderr
    [new] = printed(conf, "keys", "rotate", "documents", "--json")
    after = Keyring.parse(key_file.read_text())
    assert after.keys["documents"] == (after.newest("documents"), before.newest("documents"))
    assert after.keys["digests"] == before.keys["digests"]
    assert new == {"purpose": "documents", "key": after.newest("documents")[0]}
    assert key_file.stat().st_mode & 0o777 == 0o600
    rows = {(row["purpose"], row["key"]): row for row in printed(conf, "keys", "list", "--json")}
    assert (rows["documents", old]["rows"], rows["documents", old]["newest"]) == (3, False)
    asked = run(conf, "keys", "retire", f"documents.{old}", given="n\n")
    assert asked.exit_code == 1
    assert "3 rows need" in asked.output
    assert "can't be read any more" in asked.output
    assert run(conf, "keys", "retire", f"documents.{old}", "--yes").exit_code == 0
    assert not Keyring.parse(key_file.read_text()).has("documents", old)
    assert printed(conf, "export", "shop")["documents"] == []
    assert len(printed(conf, "keys", "rotate", "--json")) == 3
    assert run(conf, "keys", "retire", "nonsense").exit_code == 2


def test_a_key_that_is_lost_can_be_given_up_so_that_the_server_starts_again(
    conf: Path, filled: None, tmp_path: Path
) -> None:
    key_file = tmp_path / "state" / "mtaframe.keys"
    before = Keyring.parse(key_file.read_text())
    old = before.newest("documents")[0]
    key_file.write_text(before.rotated("documents").without("documents", old).text())
    refused = run(conf, "show")
    assert refused.exit_code == 1
    assert f"mtaframe state keys retire documents.{old}" in refused.stderr
    assert run(conf, "keys", "retire", f"documents.{old}", "--yes").exit_code == 0
    assert printed(conf, "show", "--json")["documents"] == []
    assert printed(conf, "show", "--json")["digests"][0]["count"] == 1


def test_a_file_of_keys_is_begun_where_the_configuration_names_one(conf: Path, tmp_path: Path) -> None:
    main_file = conf / "mtaframe.toml"
    main_file.write_text(main_file.read_text().replace("[state]", '[state]\nkeys = { file = "elsewhere.keys" }'))
    assert len(printed(conf, "keys", "rotate", "--json")) == 3
    assert set(Keyring.parse((conf / "elsewhere.keys").read_text()).keys) == {"ledger", "digests", "documents"}
    main_file.write_text(main_file.read_text().replace('{ file = "elsewhere.keys" }', '{ env = "KEYS" }'))
    refused = run(conf, "keys", "rotate")
    assert "name one by --file" in refused.stderr
    assert run(conf, "keys", "rotate", "--file", str(conf / "elsewhere.keys")).exit_code == 0


def test_without_a_state_nothing_is_made(conf: Path, tmp_path: Path) -> None:
    for arguments in (["show"], ["export", "shop"], ["purge", "shop", "--yes"], ["keys", "list"], ["keys", "rotate"]):
        ran = run(conf, *arguments)
        assert ran.exit_code == 1, arguments
        assert "there is no " in ran.stderr
    assert not (tmp_path / "state").exists()
    text = (conf / "mtaframe.toml").read_text()
    (conf / "mtaframe.toml").write_text(text.replace("[state]", '[state]\nbackend = "memory"'))
    assert "in RAM" in run(conf, "show").stderr


def test_an_account_is_a_name(conf: Path, filled: None) -> None:
    assert run(conf, "export", "bob@example.net").exit_code == 1


# With a server.


def test_the_running_server_answers_and_its_workers_hear_of_a_purge(conf: Path, server: None, tmp_path: Path) -> None:
    assert [row["account"] for row in printed(conf, "show", "--json")["documents"]] == ["bank", "shop"]
    assert len(printed(conf, "export", "shop")["documents"]) == 2
    assert printed(conf, "purge", "shop", "--yes", "--json") == {"documents": 2, "counters": 1, "registers": 1}
    assert b"shop" not in files(tmp_path)
    current = Keyring.parse((tmp_path / "state" / "mtaframe.keys").read_text()).newest("documents")[0]
    printed(conf, "keys", "rotate", "documents", "--json")
    refused = run(conf, "keys", "retire", f"documents.{current}", "--yes")
    assert refused.exit_code == 3
    assert "restart it first" in refused.stderr


async def test_a_state_in_ram_answers_too() -> None:
    state = MemoryState(SystemClock())
    await fill(state)
    shown = await answer(state, "state.show", {})
    assert (shown["folder"], shown["size"]) == (None, 0)
    assert [row["count"] for row in shown["documents"]] == [1, 2]
    changed: list[Counter] = []

    async def change(register: Counter, before: int, after: int) -> bool:
        changed.append(register)
        return await state.registers.change(register, before, after)

    assert (await answer(state, "state.purge", {"account": "shop"}, change))["documents"] == 2
    assert changed == [PURGES, STRIKES]
    assert await state.documents.of("shop") == []
    for name, arguments in (("state.export", {"account": "A b"}), ("state.nonsense", {})):
        with pytest.raises(CommandError):
            await answer(state, name, arguments)
