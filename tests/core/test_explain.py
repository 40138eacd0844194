"""``mtaframe explain`` walks a message through the rooms that real mail walks through, and nothing leaves the house."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from mtaframe.cli.differences import LINES, changes, message_diff
from mtaframe.message import Message
from mtaframe.testing import ScriptedDns, delivery, envelope, message, recipient, route
from tests.core import parrot
from tests.core.test_cli import CONFIGURATION, conf, installed, run, write

__all__ = ["conf", "installed"]  # fixtures

MAIL = "From: Alice <alice@example.com>\nSubject: Hello\n\nHello Bob\n"


@pytest.fixture(autouse=True)
def told() -> list[str]:
    parrot.TOLD.clear()
    return parrot.TOLD


def explained(*arguments: str, mail: str | bytes = MAIL, code: int = 0) -> dict[str, Any]:
    result = run("explain", "-", "--from", "alice@example.com", *arguments, "--json", given=mail)
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def step(found: dict[str, Any], hook: str) -> dict[str, Any]:
    return next(step for step in found["steps"] if step["hook"] == hook)


def test_each_hook_s_answer_and_change_is_shown(conf: Path, told: list[str]) -> None:
    found = explained("--to", "bob@example.net")
    assert (found["listener"], found["trusted"], found["account"]) == ("in", True, None)
    connect, rcpt, core, data = found["steps"]
    assert (connect["hook"], connect["answer"], connect["changes"]) == (
        "on_connect",
        "changed",
        ["notes: +parrot.seen"],
    )
    assert (rcpt["hook"], rcpt["answer"], rcpt["recipient"]) == ("on_rcpt", "none", "bob@example.net")
    assert core["plugin"] == "mtaframe"
    assert any(line.startswith("+Received: from localhost") for line in core["diff"])
    assert any(line.startswith("+Message-ID: ") for line in core["diff"])
    assert data["changes"] == ["notes: +parrot.subject"]
    assert "+X-Parrot: Hello!" in data["diff"]
    assert data["microseconds"] >= 0
    [bob] = found["recipients"]
    assert step(bob, "before_sign")["answer"] == "none"
    assert "+X-Ink: 1" in step(bob, "sign")["diff"]
    assert bob["route"]["transport"] == "cage"
    assert told == []


def test_people_get_the_same_as_text(conf: Path, told: list[str]) -> None:
    mail = conf.parent / "mail.eml"
    mail.write_text(MAIL)
    result = run("explain", mail, "--from", "alice@example.com", "--to", "bob@example.net")
    assert result.exit_code == 0
    assert "      +X-Parrot: Hello!\n" in result.stdout
    assert "\nto bob@example.net\n" in result.stdout
    assert "  route: cage, tls opportunistic\n" in result.stdout
    assert told == []


def test_equal_copies_are_signed_once_and_an_alias_is_followed(conf: Path) -> None:
    found = explained("--to", "bob@example.net", "--to", "alias@example.com")
    bob, alias = found["recipients"]
    assert step(bob, "sign")["diff"][1] == "+X-Ink: 2"
    assert alias["steps"][-1]["changes"] == ["as for bob@example.net"]
    assert step(alias, "before_sign")["changes"] == ["notes: +parrot.real"]
    rcpt = next(each for each in found["steps"] if each.get("recipient") == "alias@example.com")
    assert rcpt["changes"] == ["address: alias@example.com → real@example.net"]
    assert alias["delivered_as"] == "real@example.net"


def test_a_refused_recipient_does_not_stop_the_others(conf: Path) -> None:
    found = explained("--to", "nobody@example.net", "--to", "bob@example.net", code=1)
    nobody, bob = found["recipients"]
    assert (nobody["refused_by"], nobody["reply"]) == ("parrot", "550 5.1.1 no such parrot")
    assert bob["route"]


def test_applications_are_told_of_one_deferred_recipient_for_all(conf: Path) -> None:
    found = explained("--to", "bob@example.net", "--to", "later@example.net", code=1)
    assert [(r["refused_by"], r["reply"]) for r in found["recipients"]] == [
        ("parrot", "451 4.7.1 the parrot sleeps"),
        ("parrot", "451 4.7.1 the parrot sleeps"),
    ]


def test_a_refused_message_and_a_fault_say_who_and_what(conf: Path, told: list[str]) -> None:
    spam = explained("--to", "bob@example.net", mail="Subject: spam\n\nbuy\n", code=1)
    assert step(spam, "on_data")["answer"] == "reject"
    assert spam["recipients"][0]["reply"] == "550 5.7.1 no spam"
    fault = explained("--to", "bob@example.net", mail="Subject: fail\n\nsecret\n", code=1)
    on_data = step(fault, "on_data")
    assert on_data["answer"] == "fault"
    assert on_data["fault"].startswith("RuntimeError at ")
    assert fault["recipients"][0]["reply"].startswith("451 4.3.0 temporary trouble")
    assert told == []


def test_strangers_are_refused_as_at_the_door_and_an_account_helps(conf: Path) -> None:
    (conf / "accounts.toml").write_text('[[account]]\nname = "shop"\n')
    stranger = explained("--to", "bob@example.net", "--client", "192.0.2.7", code=1)
    assert stranger["recipients"][0]["reply"] == "550 5.7.1 relaying denied; authenticate first"
    known = explained("--to", "bob@example.net", "--client", "192.0.2.7", "--account", "shop")
    assert known["account"] == "shop"
    for name in ("--account", "--listener"):
        unknown = run("explain", "-", "--from", "<>", "--to", "b@example.net", name, "x", given=MAIL)
        assert (unknown.exit_code, unknown.stderr.count("\n")) == (1, 1)


async def test_the_mx_hosts_of_each_recipient_are_looked_up(conf: Path) -> None:
    records: dict[str, Any] = {
        "example.net": {"MX": [(20, "b.example.net."), (10, "a.example.net.")]},
        "a.example.net": {"A": ["192.0.2.1"]},
        "b.example.net": {"A": ["192.0.2.2"]},
        "null.example": {"MX": [(0, ".")]},
    }
    async with ScriptedDns(records) as dns:
        write(conf, CONFIGURATION.replace('transport = "cage"', "") + f'[dns]\nservers = ["{dns.server}"]\n')
        found = await asyncio.to_thread(explained, "--to", "bob@example.net", "--to", "c@null.example")
    bob, null = found["recipients"]
    assert bob["hosts"] == ["MX 10 a.example.net (192.0.2.1)", "MX 20 b.example.net (192.0.2.2)"]
    assert null["hosts"] == ["null MX: the domain accepts no mail (RFC 7505)"]


async def test_the_tls_that_is_shown_is_what_the_recipients_domain_asks_for(conf: Path) -> None:
    """It was that of the route, over which [delivery] tls goes."""
    policy = '[delivery]\ntls = { "xn--bcher-kva.example" = "verified" }\n'
    async with ScriptedDns({}) as dns:
        write(conf, CONFIGURATION.replace('transport = "cage"', "") + f'{policy}[dns]\nservers = ["{dns.server}"]\n')
        found = await asyncio.to_thread(explained, "--to", "bob@bücher.example", "--to", "carol@example.net")
    assert [each["route"]["tls"] for each in found["recipients"]] == ["verified", "opportunistic"]


def test_crlf_files_and_8_bit_mail_come_through_as_they_are(conf: Path) -> None:
    mail = "Subject: Grüße\r\n\r\nÄ\r\n".encode()
    found = explained("--to", "bob@example.net", mail=mail)
    assert "+X-Parrot: Grüße!" in step(found, "on_data")["diff"]


def test_long_differences_are_bounded() -> None:
    before, after = message(body="a\n" * 500), message(body="b\n" * 500)
    assert message_diff(before, after)[LINES:] == [f"… {501 + 500 - LINES} more lines"]
    assert message_diff(message(body="a\n"), message(body="b\n" * 5000)) == [
        "body: 3 → 15000 octets, too long to compare by line"
    ]
    assert message_diff(before, before) == []
    assert message_diff(message(), Message.parse(message().raw)) == []


def test_changes_name_fields_and_never_show_notes_or_passwords() -> None:
    before = envelope(["a@example.net", "b@example.net"])
    changed = recipient("c@example.net", notes={"dkim.key": "secret"})
    after = envelope([before.recipients[0], changed], stream="news")
    assert list(changes(before, after)) == [
        "recipients[1].address: b@example.net → c@example.net",
        "recipients[1].notes: +dkim.key",
        "stream: none → news",
    ]
    assert list(changes(route(), route(next_hop="mx.example.net", port=2525))) == [
        "next_hop: none → mx.example.net",
        "port: 25 → 2525",
    ]
    assert list(changes(delivery(), delivery(reverse_path=None))) == ["reverse_path: alice@example.com → none"]
