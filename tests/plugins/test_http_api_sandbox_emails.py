"""http_api: sandbox addresses, shown by a code to be their holder's own, and mailed before anything is approved."""

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mtaframe import Address, SandboxAddress
from mtaframe.testing import RecordingMta, VirtualClock, account
from mtaframe_plugins.http_api.sandbox import MAILED, TRIED, Sandbox
from tests.plugins.api_house import ACCOUNTS, BOB, CAROL, OTHER, Api, api, email
from tests.plugins.shared_state import views

EMAILS = "/v1/sandbox/emails"
PLUGINS = ("admission", "merge_tags", "http_api")
SHOP = "shop"
ADDRESS = Address.parse(BOB)


def code_in(running: Api) -> str:
    found = re.search(rb"^(\d{6})\r$", running.mx.received[-1].raw, re.MULTILINE)
    assert found
    return found[1].decode()


def other_than(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


async def add(running: Api, address: str = BOB) -> str:
    status, answer = await running.call("POST", EMAILS, {"email": address})
    assert (status, answer["success"], answer["data"]) == (200, 1, []), answer
    return code_in(running)


async def rows(running: Api) -> list[Any]:
    status, answer = await running.call("GET", EMAILS)
    assert status == 200
    return list(answer["data"])


async def verify(running: Api, code: object, address: str = BOB) -> tuple[int, Any]:
    return await running.call("PATCH", f"{EMAILS}/verify/{address}", {"verification_code": code})


async def test_an_address_is_added_verified_and_mailed_from_any_domain(tmp_path: Path) -> None:
    async with api(tmp_path, PLUGINS) as running:
        body = email(BOB, from_email="a@not-ours.example")
        code = await add(running)
        [mail] = running.mx.received
        assert (mail.recipients, mail.reverse_path) == ([BOB], "postmaster@mta.example.com")
        assert b"\r\nTo: bob@example.net\r\n" in b"\r\n" + mail.raw
        assert b"\r\nAuto-Submitted: auto-generated\r\n" in mail.raw
        [row] = await rows(running)
        assert row.keys() == {"created_at", "email", "verified", "error", "error_message"}
        assert (row["email"], row["verified"], row["error"]) == (BOB, 0, 0)
        assert (await running.call("POST", "/v1/emails", body))[0] == 400
        status, answer = await verify(running, code, "bob%40example.net")
        assert (status, answer["success"]) == (200, 1)
        assert [row["verified"] for row in await rows(running)] == [1]
        assert (await running.call("POST", "/v1/emails", body))[0] == 200
        assert (await running.call("POST", "/v1/emails", body | {"to": [{"email": CAROL}]}))[0] == 400
        assert (await running.call("POST", "/v1/emails", body, token=OTHER))[0] == 400
        status, answer = await running.call("DELETE", f"{EMAILS}/{BOB}", "{}")
        assert (status, answer["success"]) == (200, 1)
        assert await rows(running) == []
        assert (await running.call("POST", "/v1/emails", body))[0] == 400


async def test_a_pending_account_mails_its_sandbox_addresses_and_nobody_else(tmp_path: Path) -> None:
    async with api(tmp_path, PLUGINS) as running:
        pending = ACCOUNTS.replace('name = "shop"', 'name = "shop"\nstatus = "pending"')
        running.house.write("accounts.toml", pending)
        assert await running.house.mta.reload()
        assert (await running.call("POST", "/v1/emails", email(BOB)))[0] == 400
        await verify(running, await add(running))
        assert (await running.call("POST", "/v1/emails", email(BOB)))[0] == 200
        assert (await running.call("POST", "/v1/emails", email(CAROL)))[0] == 400


async def test_a_wrong_code_is_a_400_and_five_of_them_drop_the_address(tmp_path: Path) -> None:
    async with api(tmp_path, PLUGINS) as running:
        wrong = other_than(await add(running))
        for _ in range(4):
            status, answer = await verify(running, wrong)
            assert (status, answer["error_code"], answer["data"]) == (400, 107, [])
        status, answer = await verify(running, wrong)
        assert (status, answer["error_code"], "dropped" in answer["message"]) == (400, 107, True)
        assert await rows(running) == []
        assert (await verify(running, wrong))[0] == 404


async def test_a_code_may_be_a_number(tmp_path: Path) -> None:
    async with api(tmp_path, PLUGINS) as running:
        assert (await verify(running, int(await add(running))))[0] == 200


async def test_another_code_comes_once_a_minute_and_replaces_the_one_before(tmp_path: Path) -> None:
    async with api(tmp_path, PLUGINS) as running:
        await add(running)
        status, answer = await running.call("GET", f"{EMAILS}/verify/{BOB}")
        assert (status, answer["success"]) == (429, 0)
        assert len(running.mx.received) == 1


async def test_what_could_not_be_mailed_is_told_without_the_other_sides_words(tmp_path: Path) -> None:
    async with api(tmp_path, PLUGINS) as running:
        running.mx.script("rcpt", "550 5.1.1 secret words", to=BOB)
        status, answer = await running.call("POST", EMAILS, {"email": BOB})
        assert (status, answer["success"]) == (200, 0)
        assert "550 5.1.1" in answer["message"]
        [row] = await rows(running)
        assert (row["error"], row["error_message"]) == (1, "the code could not be mailed: 550 5.1.1")


async def test_an_account_may_have_ten(tmp_path: Path) -> None:
    async with api(tmp_path, PLUGINS) as running:
        for number in range(10):
            await add(running, f"a{number}@example.net")
        status, answer = await running.call("POST", EMAILS, {"email": BOB})
        assert (status, "no more" in answer["message"]) == (400, True)
        status, answer = await running.call("POST", EMAILS, {"email": "A1@Example.NET"})
        assert (status, answer["message"]) == (400, "email: is here already")
        assert len(await rows(running)) == 10


@pytest.mark.parametrize(
    ("method", "path", "data", "status", "field"),
    [
        ("POST", EMAILS, {"email": "nobody"}, 400, "email"),
        ("POST", EMAILS, {"email": "a@b\r\nBcc: c@d.example"}, 400, "email"),
        ("POST", EMAILS, {}, 400, "email"),
        ("GET", f"{EMAILS}/verify/nobody", None, 400, "email"),
        ("GET", f"{EMAILS}/verify/{CAROL}", None, 404, "email"),
        ("PATCH", f"{EMAILS}/verify/{CAROL}", {"verification_code": "123456"}, 404, "email"),
        ("PATCH", f"{EMAILS}/verify/{BOB}", {}, 400, "verification_code"),
        ("PATCH", f"{EMAILS}/verify/{BOB}", {"verification_code": ["1"]}, 400, "verification_code"),
        ("DELETE", f"{EMAILS}/{CAROL}", None, 404, "email"),
    ],
)
async def test_bad_input_names_its_field(
    method: str, path: str, data: Any, status: int, field: str, tmp_path: Path
) -> None:
    async with api(tmp_path, PLUGINS) as running:
        await add(running)
        got, answer = await running.call(method, path, data)
        assert (got, answer.get("field"), answer["success"]) == (status, field, 0), answer
        assert (await running.call(method, path.replace(BOB, CAROL), data, token=OTHER))[0] >= 400


async def test_the_operator_says_who_mails_the_codes(tmp_path: Path) -> None:
    async with api(tmp_path, PLUGINS, http_api='sandbox_sender = "codes@mta.example.com"') as running:
        await add(running)
        assert running.mx.received[0].reverse_path == "codes@mta.example.com"
        assert b"From: codes@mta.example.com\r\n" in running.mx.received[0].raw


# Codes and their limits, with a clock that is turned by hand.


def sandbox(clock: VirtualClock, **more: Any) -> Sandbox:
    return Sandbox(RecordingMta(clock=clock, accounts=[account(SHOP)], **more))


async def coded(emails: Sandbox, address: Address = ADDRESS) -> str:
    await emails.add(SHOP, address)
    code = await emails.new_code(SHOP, address)
    assert code is not None
    return code


async def test_a_code_holds_a_day_and_only_the_newest_counts() -> None:
    clock = VirtualClock()
    emails = sandbox(clock)
    first = await coded(emails)
    clock.advance(61)
    second = await emails.new_code(SHOP, ADDRESS)
    assert second is not None
    if first != second:
        assert await emails.check(SHOP, ADDRESS, first) == "wrong"
    clock.advance(timedelta(days=1, seconds=1).total_seconds())
    assert await emails.check(SHOP, ADDRESS, second) == "late"
    third = await emails.new_code(SHOP, ADDRESS)
    assert third is not None
    assert await emails.check(SHOP, ADDRESS, third) == "verified"
    assert await emails.check(SHOP, ADDRESS, "000000") == "verified", "once is enough"


async def test_guesses_are_few_whatever_an_account_does() -> None:
    """Adding the address anew begins with five tries again, but not with another hour's."""
    emails, tries = sandbox(VirtualClock()), 0
    while True:
        wrong = other_than(await coded(emails))
        answer = await emails.check(SHOP, ADDRESS, wrong)
        while answer == "wrong":
            tries, answer = tries + 1, await emails.check(SHOP, ADDRESS, wrong)
        if answer == "often":
            break
        tries += 1
    assert tries == TRIED[0]


async def test_many_guesses_at_once_are_counted_one_by_one() -> None:
    emails = sandbox(VirtualClock())
    wrong = other_than(await coded(emails))
    answers = await asyncio.gather(*(emails.check(SHOP, ADDRESS, wrong) for _ in range(50)))
    assert answers.count("wrong") == 4


async def test_codes_mailed_are_few_however_often_an_address_is_added() -> None:
    emails, mailed = sandbox(VirtualClock()), 0
    await emails.add(SHOP, ADDRESS)
    while await emails.new_code(SHOP, ADDRESS) is not None:
        mailed += 1
        await emails.drop(SHOP, ADDRESS)
        await emails.add(SHOP, ADDRESS)
    assert mailed == MAILED[0]


async def test_all_workers_know_at_once() -> None:
    clock = VirtualClock()
    one, other = (sandbox(clock, state=view) for view in views(clock))
    question = SandboxAddress(SHOP, Address.parse("BOB@example.net"))
    code = await coded(one)
    assert not await other.is_verified(question)
    assert await other.check(SHOP, ADDRESS, code) == "verified"
    assert await one.is_verified(question)
    await one.drop(SHOP, ADDRESS)
    assert not await other.is_verified(question)


async def test_no_document_holds_a_code() -> None:
    clock = VirtualClock()
    mta = RecordingMta(clock=clock, accounts=[account(SHOP)])
    emails = Sandbox(mta)
    code = await coded(emails)
    [name] = await mta.state.documents.names(SHOP, "sandbox_email")
    assert code.encode() not in (await mta.state.documents.get(SHOP, "sandbox_email", name) or b"")
