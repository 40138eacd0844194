"""http_api: what an account holder sees and changes: webhooks, stats, email logs, profile, settings, alerts."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mtaframe import HttpRequest, Token
from mtaframe.testing import RecordingMta, account
from mtaframe_plugins.http_api.door import Ask
from mtaframe_plugins.http_api.mimepost.figures import Figures
from tests.plugins.api_house import BOB, CAROL, DAVE, OTHER, Api, api, email
from tests.plugins.webhooks_receiver import Receiver, until

ALL = ("webhooks", "usage", "merge_tags", "http_api")
OLD = {"User-Agent": "Swagger-Codegen/1.0.0/python"}


@pytest.fixture
def open_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this machine's addresses were public ones."""
    monkeypatch.setattr("mtaframe.http_client.is_public", lambda _: True)


async def made(running: Api, url: str, **more: Any) -> int:
    status, answer = await running.call("POST", "/v1/webhooks/", {"url": url, "desc": "mine"} | more)
    assert status == 200, answer
    return int(answer["data"]["id"])


async def test_a_webhook_gets_what_its_account_sends_and_the_ids_are_those_of_the_answer(
    tmp_path: Path, open_loopback: None
) -> None:
    async with Receiver() as receiver, api(tmp_path, ALL) as running:
        number = await made(running, receiver.url, events=["request", "delivered"])
        status, shown = await running.call("GET", f"/v1/webhooks/{number}")
        assert (status, shown["data"]["events"], shown["data"]["active"]) == (200, ["delivered", "request"], True)
        _, sent = await running.call("POST", "/v1/emails", email(BOB, cc=[CAROL], vars={"order": "7"}))
        await until(lambda: len(receiver.events) == 4)
        told = receiver.events
        assert {each["event"] for each in told} == {"request", "delivered"}
        ids = {each["email"]: f"{each['id']}@mta.example.com" for each in sent["results"]}
        assert {each["to_email"]: each["message_id"] for each in told} == ids
        assert all(each["vars"] == {"order": "7"} for each in told)
        assert all(headers["x-secret-token"] == shown["data"]["secret"] for headers in receiver.headers)
        assert (await running.call("DELETE", f"/v1/webhooks/{number}/", {}))[0] == 200
        assert (await running.call("GET", f"/v1/webhooks/{number}"))[0] == 404


async def test_the_list_is_an_object_and_for_old_clients_a_list(tmp_path: Path) -> None:
    async with api(tmp_path, ALL) as running:
        number = await made(running, "https://example.com/hook")
        _, new = await running.call("GET", "/v1/webhooks")
        assert (new["data"]["fail_count"], [each["id"] for each in new["data"]["webhook_data"]]) == (0, [number])
        _, old = await running.call("GET", "/v1/webhooks/", headers=OLD)
        assert [each["id"] for each in old["data"]] == [number]
        _, other = await running.call("GET", "/v1/webhooks", token=OTHER)
        assert other["data"]["webhook_data"] == []
        assert (await running.call("DELETE", f"/v1/webhooks/{number}", token=OTHER))[0] == 404


async def test_a_webhook_is_changed_as_a_whole(tmp_path: Path) -> None:
    async with api(tmp_path, ALL) as running:
        number = await made(running, "https://example.com/hook", events=["spam"])
        change = {"url": "https://example.com/new", "desc": "other", "events": [], "active": False}
        status, answer = await running.call("PUT", f"/v1/webhooks/{number}", change)
        assert (status, answer["data"]) == (200, {"id": number})
        _, shown = await running.call("GET", f"/v1/webhooks/{number}")
        assert (shown["data"]["url"], shown["data"]["active"]) == ("https://example.com/new", False)
        assert len(shown["data"]["events"]) > 10


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({}, "url"),
        ({"url": "nothing"}, "url"),
        ({"url": "ftp://example.com/"}, "url"),
        ({"url": "https://example.com/", "events": ["opened"]}, "events.0"),
        ({"url": "https://example.com/", "active": "perhaps"}, "active"),
    ],
)
async def test_a_webhook_that_can_not_be(change: dict[str, Any], field: str, tmp_path: Path) -> None:
    async with api(tmp_path, ALL) as running:
        status, answer = await running.call("POST", "/v1/webhooks", change)
        assert (status, answer["field"]) == (400, field), answer


async def test_a_url_is_tried(tmp_path: Path, open_loopback: None) -> None:
    async with Receiver() as receiver, api(tmp_path, ALL) as running:
        assert (await running.call("POST", "/v1/webhooks/test", {"url": receiver.url}))[0] == 200
        assert len(receiver.events) == 1
        status, answer = await running.call("POST", "/v1/webhooks/test", {"url": "http://127.0.0.1:1/"})
        assert (status, answer["data"], answer["success"]) == (400, "", 0)


async def test_without_the_plugin_there_are_no_webhooks_and_that_is_said(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        assert (await running.call("GET", "/v1/webhooks"))[0] == 503
        status, answer = await running.call("POST", "/v1/webhooks", {"url": "https://example.com/"})
        assert (status, answer["message"]) == (400, "this server keeps no webhooks")


async def test_stats_count_by_day(tmp_path: Path) -> None:
    async with api(tmp_path, ALL) as running:
        running.mx.script("rcpt", "550 5.1.1 no such user", to=CAROL)
        await running.call("POST", "/v1/emails", email(BOB, CAROL, DAVE))

        async def counted() -> Any:
            return (await running.call("GET", "/v1/stats/"))[1]["data"]

        data = await counted()
        total = data["total_summary"]
        assert (total["request"], total["delivered"], total["bounce_hard"]) == (
            {"count": 3, "perc": 100.0}, {"count": 2, "perc": 66.67}, {"count": 1, "perc": 33.33},
        )  # fmt: skip
        assert len(data["datewise_summary"]) == len(data["graph_summary"]["dates"]) == 8
        assert data["graph_summary"]["delivered_counts"][-1] == 2
        assert list(total) == ["request", "delivered", "open", "click", "unsubscribe", "bounce_soft", "bounce_hard",
                               "block_soft", "block_hard", "spam"]  # fmt: skip
        _, one = await running.call("GET", "/v1/stats?start_date=20250901&end_date=20250902")
        assert list(one["data"]["datewise_summary"]) == ["20250901", "20250902"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("start_date=yesterday", "start_date"),
        ("start_date=20260230", "start_date"),
        ("start_date=20261102&end_date=20261101", "start_date"),
        ("start_date=20100101", "start_date"),
        ("end_date=%00", "end_date"),
    ],
)
async def test_dates_that_are_none(query: str, field: str, tmp_path: Path) -> None:
    async with api(tmp_path, ALL) as running:
        for path in ("/v1/stats", "/v1/emaillogs"):
            status, answer = await running.call("GET", f"{path}?{query}")
            assert (status, answer["field"]) == (400, field)


async def test_email_logs_are_of_memory_and_can_be_searched(tmp_path: Path) -> None:
    async with api(tmp_path, ALL) as running:
        running.mx.script("rcpt", "550 5.1.1 no such user", to=CAROL)
        _, sent = await running.call("POST", "/v1/emails", email(BOB, CAROL, DAVE))
        _, logs = await running.call("GET", "/v1/emaillogs/")
        assert logs["total"] == len(logs["data"]) == 6
        assert "memory only" in logs["message"]
        [bounced] = [row for row in logs["data"] if row["status"] == "bounce_hard"]
        assert (bounced["to_email"], bounced["details"]) == (CAROL, "550 5.1.1 no such user")
        found = {row["to_email"]: row["message_id"] for row in logs["data"]}
        assert found == {each["email"]: f"{each['id']}@mta.example.com" for each in sent["results"]}

        async def count(query: str) -> tuple[int, int]:
            answer = (await running.call("GET", f"/v1/emaillogs?{query}"))[1]
            return answer["total"], len(answer["data"])

        assert await count("status=delivered") == (2, 2)
        assert await count("to=CAROL@example.net") == (2, 2)
        assert await count(f"message_id={found[BOB]}") == (2, 2)
        assert await count(f"message_id={found[BOB].partition('@')[0]}&status=delivered") == (1, 1)
        assert await count("page=2&limit=4") == (6, 2)
        assert await count("start=5&length=10") == (6, 1)
        assert await count("end_date=20200101&start_date=20200101") == (0, 0)
        assert (await running.call("GET", "/v1/emaillogs?limit=many"))[0] == 400
        assert (await running.call("GET", "/v1/emaillogs", token=OTHER))[1]["total"] == 0


async def test_email_logs_outlive_a_reload_and_nothing_is_kept_where_the_operator_wants_none(tmp_path: Path) -> None:
    async with api(tmp_path, ALL) as running:
        await running.call("POST", "/v1/emails", email(BOB))
        running.house.write("http_api.toml", "raw_html = true\nmax_copies = 5")
        assert await running.house.mta.reload()
        assert (await running.call("GET", "/v1/emaillogs"))[1]["total"] == 2
        running.house.write("http_api.toml", "recent_max_count = 0")
        assert await running.house.mta.reload()
        await running.call("POST", "/v1/emails", email(BOB))
        assert (await running.call("GET", "/v1/emaillogs"))[1]["total"] == 0


async def test_what_a_call_of_before_a_reload_comes_to_is_in_the_email_logs_of_after(tmp_path: Path) -> None:
    async with api(tmp_path, ALL) as running:
        running.mx.script("rcpt", delay=1.0, to=BOB)
        call = asyncio.create_task(running.call("POST", "/v1/emails", email(BOB)))
        async with asyncio.timeout(10):
            while not any(line.startswith("RCPT") for line in running.mx.commands):
                await asyncio.sleep(0.01)
        for number in (5, 6):
            running.house.write("http_api.toml", f"max_copies = {number}")
            assert await running.house.mta.reload()
        assert (await call)[0] == 200
        _, logs = await running.call("GET", "/v1/emaillogs")
        assert [row["status"] for row in logs["data"]] == ["delivered", "request"]


async def test_of_what_is_too_much_after_a_reload_the_oldest_goes(tmp_path: Path) -> None:
    async with api(tmp_path, ALL) as running:
        for address in (BOB, CAROL):
            await running.call("POST", "/v1/emails", email(address))
        running.house.write("http_api.toml", "recent_max_count = 3")
        assert await running.house.mta.reload()
        _, logs = await running.call("GET", "/v1/emaillogs")
        assert [(row["to_email"], row["status"]) for row in logs["data"]] == [
            (CAROL, "delivered"), (CAROL, "request"), (BOB, "delivered")
        ]  # fmt: skip


async def test_profile_and_settings_are_kept(tmp_path: Path) -> None:
    async with api(tmp_path, ALL) as running:
        _, empty = await running.call("GET", "/v1/account/profile/")
        assert empty["data"]["first_name"] is None
        await running.call("POST", "/v1/account/profile/", {"first_name": "Ann", "city": "Graz", "role": "admin"})
        await running.call("POST", "/v1/account/profile/", {"city": "Linz", "first_name": None})
        _, profile = await running.call("GET", "/v1/account/profile")
        assert (profile["data"]["first_name"], profile["data"]["city"]) == ("Ann", "Linz")
        assert "role" not in profile["data"]
        assert (await running.call("POST", "/v1/account/profile", {"city": "x" * 2000}))[0] == 400
        for name, value in (("language", "de"), ("zone", "Europe/Vienna")):
            assert (await running.call("POST", "/v1/settings/", {"name": name, "value": value}))[0] == 200
        _, settings = await running.call("GET", "/v1/settings/")
        assert (settings["name"], settings["value"]) == ("zone", "Europe/Vienna")
        assert settings["data"] == {"language": "de", "zone": "Europe/Vienna"}
        assert (await running.call("GET", "/v1/settings?name=language"))[1]["value"] == "de"
        assert (await running.call("POST", "/v1/settings", {"name": "a b"}))[0] == 400
        assert (await running.call("GET", "/v1/settings", token=OTHER))[1]["data"] == {}


async def test_alerts_plan_and_ping(tmp_path: Path) -> None:
    async with api(tmp_path, ALL) as running:
        assert (await running.call("GET", "/v1/alerts/"))[1]["data"] == {"alerts": []}
        await running.call("POST", "/v1/emails", email(BOB))
        _, plan = await running.call("GET", "/v1/account/billing/plan/current")
        assert plan["data"] == {"plan_name": "self-hosted", "monthly_quota": None, "used": 1, "left": None}
        accounts = (
            (tmp_path / "accounts.toml").read_text().replace('name = "shop"', 'name = "shop"\nstatus = "limited"')
        )
        running.house.write("accounts.toml", accounts)
        assert await running.house.mta.reload()
        [alert] = (await running.call("GET", "/v1/alerts"))[1]["data"]["alerts"]
        assert (alert["type"], alert["level"]) == ("account", "limited")
        for path in ("/ping", "/v1/ping"):
            assert await running.call("GET", path, token=None) == (200, {"success": 1, "message": "pong"})


async def test_usage_is_told_by_account_stream_and_day(tmp_path: Path) -> None:
    async with api(tmp_path, ALL) as running:
        await running.call("POST", "/v1/emails", email(BOB, CAROL, stream="news"))
        await running.call("POST", "/v1/emails", email(BOB))
        now = running.house.mta.clock.now()
        _, month = await running.call("GET", f"/v1/usage?month={now:%Y-%m}")
        day = now.date().isoformat()
        assert month["data"] == [
            {"account": "shop", "stream": "", "day": day, "request": 3, "delivered": 3},
            {"account": "shop", "stream": "news", "day": day, "request": 2, "delivered": 2},
        ]
        assert (await running.call("GET", "/v1/usage?start_date=20250101&end_date=20250131"))[1]["data"] == []
        status, answer = await running.call("GET", "/v1/usage?month=november")
        assert (status, answer["field"], answer["message"]) == (400, "month", 'month: is written as "2026-11"')


async def test_nothing_is_warmed_up(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        assert await running.call("GET", "/v1/warmup_master/") == (200, [])
        assert (await running.call("GET", "/v1/warmup_status/"))[1]["warmup_status"] == 0
        assert (await running.call("GET", "/v1/warmup_plans/1"))[0] == 404


@pytest.mark.parametrize(
    "query", ["usage?month=9999-12", "usage?month=0001-01", "stats?end_date=00010101", "emaillogs?end_date=00010103"]
)
async def test_days_at_the_ends_of_the_calendar_have_nothing(query: str, tmp_path: Path) -> None:
    async with api(tmp_path, ALL) as running:
        assert (await running.call("GET", f"/v1/{query}"))[0] == 200


async def test_figures_of_many_sub_accounts_leave_others_their_turn() -> None:
    accounts = [account("shop"), *(account(f"below{number}", parent="shop") for number in range(300))]
    request = HttpRequest("r1", "GET", "/v1/usage", b"", client="127.0.0.1", listener="api", deadline=0.0)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(others())
    answer = await Figures(RecordingMta(accounts=accounts)).usage(Ask(request, accounts[0], Token("t", "", "")))
    task.cancel()
    assert answer.status == 200
    assert turns >= 300
