"""``mtaframe account`` and ``approvals`` change accounts.toml, keep its remarks, and write nothing that is faulty."""

import asyncio
import csv
import errno
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from mtaframe.account import Status
from mtaframe.accounts import Accounts
from mtaframe.assembly import read
from mtaframe.cli import main
from mtaframe.cli.account_changes import before, idle_accounts
from mtaframe.cli.accounts_file import AccountsFile
from mtaframe.cli.printing import Failed
from mtaframe.control import ControlServer
from mtaframe.lifecycle import CommandError

SETTINGS = """\
control = "CONTROL"
plugins = ["usage", "admission", "sandbox"]
[route]
transport = "sandbox"
[[listener]]
name = "in"
kind = "application"
addresses = ["127.0.0.1:0"]
"""
ACCOUNTS = """\
# Our customers.
[[account]]
name = "group"   # the master
domains = ["example.com"]

# A branch.
[[account]]
name = "shop"
parent = "group"
"""


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "mtaframe.toml").write_text(SETTINGS.replace("CONTROL", str(tmp_path / "control.sock")))
    (folder / "accounts.toml").write_text(ACCOUNTS)
    monkeypatch.setenv("MTAFRAME_CONF", str(folder))
    return folder


def run(*arguments: str, code: int = 0) -> Result:
    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == code, answer.output
    return answer


def said(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def accounts(conf: Path) -> Accounts:
    return Accounts(read(conf).accounts)


def test_an_account_is_added_with_secrets_that_work_and_are_kept_nowhere(conf: Path) -> None:
    told = said("account", "add", "club", "--parent", "group", "--domain", "club.example", "--domain", ".club.example",
                "--stream", "news", "--user", "club@example.com", "--per-day", "5", "--quota", "9")  # fmt: skip
    after = (conf / "accounts.toml").read_text()
    assert after.startswith(ACCOUNTS)
    assert told["password"] not in after
    assert told["token"]["text"][-43:] not in after
    club = accounts(conf)["club"]
    assert (club.parent, club.streams, club.per_day, club.quota) == ("group", {"news"}, 5, 9)
    assert club.domains == {"club.example", ".club.example"}
    assert accounts(conf).of_token(told["token"]["text"]) == (club, club.tokens[0])
    assert asyncio.run(accounts(conf).authenticate("club@example.com", told["password"])) == club


def test_what_a_person_reads_has_the_difference_and_the_secret_once(conf: Path) -> None:
    text = run("account", "add", "club", "--pending").stdout
    assert '+status = "pending"' in text
    assert text.count("mta_") == 1
    assert "This is shown once: only a hash is kept." in text
    assert "password" not in run("account", "add", "den", "--no-token").stdout
    assert (accounts(conf)["den"].tokens, accounts(conf)["club"].status) == ((), Status.PENDING)


@pytest.mark.parametrize(
    ("arguments", "trouble"),
    [
        (["shop"], 'has an account "shop" already'),
        (["Shop"], "nothing is written"),
        (["club", "--parent", "grup"], "nothing is written"),
        (["club", "--domain", "example.com"], "nothing is written"),
        (["club", "--domain", "ex ample"], "nothing is written"),
        (["club", "--token", "A B"], "nothing is written"),
    ],
)
def test_what_check_would_not_take_is_not_written(conf: Path, arguments: list[str], trouble: str) -> None:
    assert trouble in run("account", "add", *arguments, code=1).stderr
    assert (conf / "accounts.toml").read_text() == ACCOUNTS


def test_a_fault_elsewhere_is_told_and_nothing_is_written(conf: Path) -> None:
    (conf / "admission.toml").write_text('from_domains = "some"\n')
    error = run("account", "suspend", "shop", code=1).stderr
    assert "admission.toml:1: from_domains" in error
    assert (conf / "accounts.toml").read_text() == ACCOUNTS


def test_mode_stays_and_a_link_stays_a_link(conf: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.toml"
    os.replace(conf / "accounts.toml", real)
    real.chmod(0o640)
    (conf / "accounts.toml").symlink_to(real)
    run("account", "suspend", "shop")
    assert (conf / "accounts.toml").is_symlink()
    assert (real.stat().st_mode & 0o777, 'status = "suspended"' in real.read_text()) == (0o640, True)


def test_a_change_that_somebody_else_makes_meanwhile_is_not_overwritten(conf: Path) -> None:
    file = AccountsFile(conf)
    file.set(("account", 0, "status"), "closed")
    (conf / "accounts.toml").write_text(ACCOUNTS + "# more\n")
    with pytest.raises(Failed, match="somebody else"):
        file.save(quiet=True)
    assert (conf / "accounts.toml").read_text() == ACCOUNTS + "# more\n"


def test_without_a_file_the_first_account_makes_one(conf: Path) -> None:
    (conf / "accounts.toml").unlink()
    run("account", "add", "club")
    assert list(accounts(conf)) == ["club"]


def test_suspend_resume_and_close_change_one_line(conf: Path) -> None:
    for verb, status in [("suspend", "suspended"), ("resume", "approved"), ("close", "closed"), ("resume", "approved")]:
        assert said("account", verb, "group") == {"account": "group", "status": status, "changed": True}
        assert (conf / "accounts.toml").read_text() == ACCOUNTS.replace(
            'name = "group"   # the master\n', f'name = "group"   # the master\nstatus = "{status}"\n'
        )
        assert accounts(conf).status_of("shop").value == status
    assert run("account", "resume", "shop").stdout == "shop is approved already\n"
    assert 'there is no account "sho"' in run("account", "close", "sho", code=1).stderr
    assert '"shop"?' in run("account", "close", "sho", code=1).stderr


@pytest.mark.parametrize(("before", "says"), [("pending", "waits for approval"), ("closed", "is closed")])
def test_suspend_opens_no_closed_account_and_is_no_way_round_approval(conf: Path, before: str, says: str) -> None:
    text = ACCOUNTS + f'status = "{before}"\n'
    (conf / "accounts.toml").write_text(text)
    assert says in run("account", "suspend", "shop", code=1).stderr
    assert (conf / "accounts.toml").read_text() == text


def test_who_is_resumed_or_approved_below_one_that_may_not_send_is_told_so(conf: Path) -> None:
    run("account", "add", "club", "--parent", "shop", "--pending")
    run("account", "suspend", "shop")
    run("account", "suspend", "group")
    still = 'mtaframe: "{}" may not send yet: "{}" above it is suspended\n'
    assert run("approvals", "approve", "account", "club").stderr == still.format("club", "shop")
    assert run("account", "resume", "shop").stderr == still.format("shop", "group")
    assert run("account", "resume", "shop", "--json").stderr == still.format("shop", "group")
    assert run("account", "resume", "group").stderr == ""


def test_a_write_that_fails_leaves_no_file_behind(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    there = sorted(conf.iterdir())
    monkeypatch.setattr("os.replace", busy)
    assert "can't be written: Device or resource busy" in run("account", "suspend", "shop", code=1).stderr
    assert sorted(conf.iterdir()) == there


def test_a_token_is_renewed_beside_the_old_one_or_in_its_place(conf: Path) -> None:
    first = said("account", "rotate", "shop")["token"]
    assert first["name"] == "default", "the first one of an account that had none"
    second = said("account", "rotate", "shop")
    assert second["token"]["name"] == "default-2"
    assert second["old"] == {"name": "default", "at": f"{conf}/accounts.toml:11"}
    assert all(accounts(conf).of_token(one["text"]) for one in (first, second["token"]))
    assert "say which token of" in run("account", "rotate", "shop", code=1).stderr
    third = said("account", "rotate", "shop", "--token", "default", "--now")["token"]
    assert third["name"] == "default"
    assert accounts(conf).of_token(first["text"]) is None
    assert all(accounts(conf).of_token(one["text"]) for one in (second["token"], third))
    assert said("account", "rotate", "shop", "--token", "default-2")["token"]["name"] == "default-3"


def test_a_token_that_is_renewed_speaks_as_the_old_one(conf: Path) -> None:
    run("account", "rotate", "shop")
    path = conf / "accounts.toml"
    path.write_text(path.read_text() + 'dialect = "2021"\n')
    for more in ([], ["--token", "default", "--now"]):
        run("account", "rotate", "shop", *more)
    assert [(token.name, token.dialect) for token in accounts(conf)["shop"].tokens] == [
        ("default", "2021"),
        ("default-2", "2021"),
    ]


def test_a_password_is_renewed_beside_the_old_one_or_in_its_place(conf: Path) -> None:
    first = said("account", "rotate", "shop", "--user", "shop@example.com")
    second = said("account", "rotate", "shop", "--user", "shop@example.com")
    assert (first["user"], second["user"]) == ("shop@example.com", "shop-2@example.com")
    third = said("account", "rotate", "shop", "--user", "shop@example.com", "--now")

    async def proven() -> list[bool]:
        known = accounts(conf)
        return [await known.authenticate(one["user"], one["password"]) is not None for one in (first, second, third)]

    assert asyncio.run(proven()) == [False, True, True]
    assert "say which credential" in run("account", "rotate", "shop", "--user", "nobody", code=1).stderr
    text = run("account", "rotate", "shop", "--user", "shop@example.com").stdout
    assert f'take "shop@example.com" out of {conf}/accounts.toml:' in text


def test_the_list_shows_what_holds_and_no_secret(conf: Path) -> None:
    token = said("account", "rotate", "shop")["token"]["text"]
    run("account", "suspend", "group")
    answer = run("account", "list", "--json")
    assert "the last days are not known: no running mtaframe" in answer.stderr
    assert json.loads(answer.stdout)[1] == {
        "account": "shop",
        "status": "suspended",
        "parent": "group",
        "domains": [],
        "streams": [],
        "users": [],
        "tokens": ["default"],
        "last": None,
    }
    assert token[-43:] not in run("account", "list").output


def test_approvals_of_accounts(conf: Path) -> None:
    assert run("approvals", "list").stdout == "none\n"
    for name in ("club", "den"):
        run("account", "add", name, "--pending")
    assert [(row["kind"], row["account"]) for row in said("approvals", "list")] == [
        ("account", "club"),
        ("account", "den"),
    ]
    assert "waits for approval" in run("account", "resume", "club", code=1).stderr
    run("approvals", "approve", "account", "club")
    run("approvals", "reject", "account", "den")
    assert [accounts(conf)[name].status for name in ("club", "den")] == [Status.APPROVED, Status.CLOSED]
    assert "does not wait" in run("approvals", "approve", "account", "club", code=1).stderr
    assert run("approvals", "list").stdout == "none\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["account", "club", "more"], 2), (["domain", "club"], 2), (["domain", "club", "a.example"], 1)],
)
def test_approvals_of_what_is_not_there(conf: Path, arguments: list[str], code: int) -> None:
    assert "mtaframe: " in run("approvals", "approve", *arguments, code=code).stderr


async def ended(server: ControlServer) -> None:
    """It listens no more, and who was connected is gone."""
    await server.close()
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)


@contextmanager
def answering(conf: Path, **answers: Any) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """A control socket that answers as the running server with such plugins would; what it was asked."""
    asked: list[tuple[str, dict[str, Any]]] = []

    async def answer(name: str, arguments: dict[str, Any]) -> Any:
        asked.append((name, arguments))
        if name.replace(".", "_") not in answers:
            raise CommandError(f"the running server has no command {name}; is the plugin listed?")
        return answers[name.replace(".", "_")]

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: (loop.run_forever(), loop.close()))
    thread.start()
    server = ControlServer(conf.parent / "control.sock", answer)
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    try:
        yield asked
    finally:
        asyncio.run_coroutine_threadsafe(ended(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def test_approvals_of_domains_and_templates_are_the_servers(conf: Path) -> None:
    main_file = conf / "mtaframe.toml"
    main_file.write_text(main_file.read_text().replace('["usage"', '["http_api", "usage"'))
    row = {"kind": "domain", "account": "shop", "name": "new.example", "since": "2026-11-01"}
    shown = {"kind": "domain", "account": "shop", "name": "new.example", "has_dkim": True}
    with answering(conf, http_api_approvals=[row], http_api_decide=None, http_api_show=shown) as asked:
        assert said("approvals", "list") == [row]
        assert run("approvals", "show", "domain", "shop", "new.example").stdout.splitlines() == [
            "kind      domain", "account   shop", "name      new.example", "has_dkim  yes",
        ]  # fmt: skip
        assert (
            run("approvals", "approve", "domain", "shop", "new.example").stdout
            == "domain new.example of shop: approve\n"
        )
        run("approvals", "reject", "template", "shop", "welcome", "--reason", "rude")
        unfit = run("approvals", "approve", "account", "x", "--seen", "1", code=2).stderr
        assert "--seen is for domains and templates" in unfit
    domain = {"kind": "domain", "account": "shop", "name": "new.example"}
    template = {"kind": "template", "account": "shop", "name": "welcome"}
    assert asked[1:] == [
        ("http_api.show", domain),
        ("http_api.decide", domain | {"verdict": "approve"}),
        ("http_api.decide", template | {"verdict": "reject", "reason": "rude"}),
    ]
    answer = run("approvals", "list")
    assert (answer.stdout, "domains and templates are not shown" in answer.stderr) == ("none\n", True)
    assert "no running mtaframe" in run("approvals", "approve", "domain", "shop", "new.example", code=3).stderr


def test_prune_closes_who_is_idle_and_asks_before(conf: Path) -> None:
    run("account", "add", "club")
    with answering(conf, usage_last={"shop": "2020-01-01", "group": "2020-05-05"}):
        assert run("account", "prune", "--inactive", "200y", "--yes").stdout == "none\n"
        answer = run("account", "prune", "--inactive", "12mo", code=1)
        assert "2020-05-05" in answer.stdout
        assert "add --yes" in answer.stderr
        assert accounts(conf).status_of("shop") is Status.APPROVED
        assert said("account", "prune", "--inactive", "12mo", "--yes") == {"closed": ["group", "shop"]}
        assert [row["last"] for row in said("account", "list")] == ["2020-05-05", "2020-01-01", None]
    assert {name: accounts(conf)[name].status.value for name in accounts(conf)} == {
        "group": "closed",
        "shop": "closed",
        "club": "approved",
    }


ROW = {
    "month": "2026-11",
    "account": "shop",
    "parent": "group",
    "of": "stream",
    "stream": "news",
    "charged": 3,
    **dict.fromkeys(("request", "deferred", "open", "click", "unsubscribe", "spam", "spamtrap"), 0),
    "delivered": 1,
    "bounce_soft": 1,
    "bounce_hard": 1,
    "block_soft": 0,
    "block_hard": 0,
    "quota": None,
}


def test_usage_as_table_json_and_csv(conf: Path) -> None:
    with answering(conf, usage_months=[ROW]) as asked:
        assert said("usage", "--month", "2026-11") == [ROW]
        table = run("usage", "--account", "shop").stdout.splitlines()
        text = run("usage", "--csv").stdout
        assert "choose one" in run("usage", "--csv", "--json", code=1).stderr
    assert asked[0][1] == {"month": "2026-11", "account": None, "by_day": False}
    assert table[0].split() == [
        "month", "account", "charged", "request", "delivered", "deferred", "bounce", "block", "open", "click",
        "unsubscribe", "spam", "quota",
    ]  # fmt: skip
    assert table[1].split() == ["2026-11", "shop", "news", "3", "0", "1", "0", "2", "0", "0", "0", "0", "0"]
    assert list(csv.DictReader(text.splitlines())) == [{k: "" if v is None else str(v) for k, v in ROW.items()}]
    with answering(conf, usage_months=[]):
        assert run("usage").stdout == "none\n"
        assert run("usage", "--csv", "--by-day").stdout.startswith("day,account,parent,of,stream,charged,request,")
    assert "no running mtaframe" in run("usage", code=3).stderr


def test_usage_says_what_is_missing_of_a_month_that_is_half_forgotten(conf: Path) -> None:
    today = datetime.now(UTC).date()
    first = (today - timedelta(days=60)).replace(day=1)
    kept = today - timedelta(days=45)
    with answering(conf, usage_months=[]):
        answer = run("usage", "--month", f"{first:%Y-%m}")
        assert answer.stderr == f"mtaframe: counts are kept for 45 days: those before {kept} are missing\n"
        assert run("usage").stderr == ""
        text = (conf / "mtaframe.toml").read_text()
        (conf / "mtaframe.toml").write_text(text + '[state]\ncounters = "100d"\n')
        assert run("usage", "--month", f"{first:%Y-%m}").stderr == ""


def test_prune_needs_the_server_for_nobody_else_knows(conf: Path) -> None:
    assert "no running mtaframe" in run("account", "prune", "--inactive", "12mo", "--yes", code=3).stderr


@pytest.mark.parametrize(
    ("span", "day"),
    [
        ("1d", "2028-03-30"),
        ("2w", "2028-03-17"),
        ("1mo", "2028-02-29"),
        ("12mo", "2027-03-31"),
        ("4mo", "2027-11-30"),
        ("2y", "2026-03-31"),
    ],
)
def test_a_time_of_the_calendar(span: str, day: str) -> None:
    assert before(span, date(2028, 3, 31)) == date.fromisoformat(day)


@pytest.mark.parametrize("span", ["", "12", "mo", "0mo", "-1d", "12 mo", "9999y", "1h"])
def test_another_time_is_none(span: str) -> None:
    with pytest.raises(click.UsageError):
        before(span, date(2028, 3, 31))


def test_who_is_idle() -> None:
    tree = [
        {"name": "used"},
        {"name": "idle"},
        {"name": "unknown"},
        {"name": "gone", "status": "closed"},
        {"name": "master"},
        {"name": "branch", "parent": "master"},
        {"name": "twig", "parent": "branch"},
        {"name": "other", "parent": "master"},
        {"name": "parent of a closed one"},
        {"name": "closed child", "parent": "parent of a closed one", "status": "closed"},
        {"name": "a", "parent": "b"},
        {"name": "b", "parent": "a"},
    ]
    then, now = date(2026, 1, 1), date(2026, 11, 1)
    last = {each["name"]: then for each in tree if each["name"] != "unknown"} | {"used": now, "twig": now, "a": now}
    assert idle_accounts(tree, last, date(2026, 6, 1)) == ["idle", "other", "parent of a closed one"]
    del last["twig"]
    assert idle_accounts(tree, last, date(2026, 6, 1)) == ["idle", "other", "parent of a closed one"]
