"""http_api: templates, made, found, changed, approved and sent by."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from mtaframe import Counter
from mtaframe_plugins.http_api.door import Problem
from mtaframe_plugins.http_api.ordering import Shelf
from mtaframe_plugins.http_api.templates import Template, Templates
from tests.plugins.api_house import BOB, OTHER, TOKEN, Api, api, email, kept_template

WELCOME = {"template_uid": "welcome", "name": "Welcome", "html_body": "<p>Hello [NAME]</p>", "variables": ["NAME"]}


async def add(running: Api, **more: Any) -> None:
    status, answer = await running.call("POST", "/v1/templates", WELCOME | more)
    assert (status, answer["success"]) == (201, 1), answer


async def get(running: Api, name: str) -> Any:
    status, answer = await running.call("GET", f"/v1/templates/{name}")
    assert status == 200
    return answer["data"]


async def test_a_template_is_made_listed_found_and_sent(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        status, answer = await running.call("POST", "/v1//templates/", WELCOME)
        assert status == 201
        assert answer == {
            "success": 1, "error_code": 0, "message": "Template created", "data": [], "template_uid": "welcome",
        }  # fmt: skip
        await add(running, template_uid="receipt", name="Your receipt", text_body="Thanks", subject="Receipt")
        status, answer = await running.call("GET", "/v1/templates")
        assert [row["template_uid"] for row in answer["data"]] == ["welcome", "receipt"]
        assert answer["total"] == 2
        assert answer["data"][0].keys() == {
            "id", "template_uid", "name", "layout_id", "status", "moderated_by", "moderated_at", "created_at",
            "updated_at",
        }  # fmt: skip
        whole = await get(running, "welcome")
        assert (whole["html_body"], whole["text_body"], whole["variables"]) == (WELCOME["html_body"], None, ["NAME"])
        assert (whole["status"], whole["instance_name"], whole["rejection_reason"]) == (
            "approved", "mta.example.com", None,
        )  # fmt: skip
        assert await get(running, str(whole["id"])) == whole
        body = email(html=None, template_uid="welcome", to=[{"email": BOB, "merge_vars": {"NAME": "Bob"}}])
        assert (await running.call("POST", "/v1/emails", body))[0] == 200
        assert b"<p>Hello Bob</p>" in running.mx.received[0].raw


async def test_the_list_is_narrowed_by_status_and_search(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        for uid, name in (("a", "Spring SALE"), ("b", "Receipt"), ("sale_2", "Autumn")):
            await add(running, template_uid=uid, name=name)

        async def found(query: str) -> list[str]:
            _, answer = await running.call("GET", f"/v1/templates?{query}")
            assert answer["total"] == len(answer["data"])
            return [row["template_uid"] for row in answer["data"]]

        assert await found("search=sale") == ["a", "sale_2"]
        assert await found("status=approved&search=receipt") == ["b"]
        assert await found("status=pending") == []


async def test_a_form_does_as_well_with_variables_written_as_json(tmp_path: Path) -> None:
    form = urlencode({**WELCOME, "text_body": "Grüße", "variables": '["NAME", "otp"]'})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    async with api(tmp_path) as running:
        assert (await running.call("POST", "/v1/templates/", form, headers=headers))[0] == 201
        whole = await get(running, "welcome")
        assert (whole["variables"], whole["text_body"]) == (["NAME", "otp"], "Grüße")


async def test_a_change_keeps_what_it_does_not_name(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        await add(running, text_body="Hello", subject="Hi", dialect="braces")
        before = await get(running, "welcome")
        change = {"html_body": "<p>New</p>", "text_body": "", "template_uid": "hello"}
        status, answer = await running.call("PUT", f"/v1/templates/{before['id']}", change)
        assert (status, answer["data"]) == (200, [])
        after = await get(running, "hello")
        assert after["html_body"] == "<p>New</p>"
        same = ("id", "name", "subject", "dialect", "variables", "created_at")
        assert [after[key] for key in same] == [before[key] for key in same]
        assert after["text_body"] is None
        assert (await running.call("GET", "/v1/templates/welcome"))[0] == 404


async def test_a_copy_has_a_name_of_its_own(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        await add(running)
        status, answer = await running.call("POST", "/v1/templates/welcome/copy", "")
        uid = answer["data"]["new_template_uid"]
        assert status == 200
        assert re.fullmatch(r"welcome_copy_[0-9a-f]{4}", uid)
        copy, original = await get(running, uid), await get(running, "welcome")
        assert copy["html_body"] == original["html_body"]
        assert copy["id"] != original["id"]
        await add(running, template_uid="x" * 64)
        _, answer = await running.call("POST", f"/v1/templates/{'x' * 64}/copy")
        assert (await get(running, answer["data"]["new_template_uid"]))["name"] == "Welcome"


async def test_a_deleted_template_is_gone(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        await add(running)
        status, answer = await running.call("DELETE", "/v1/templates/welcome", "{}")
        assert (status, answer["data"], answer["error_code"]) == (200, [], 0)
        body = email(html=None, template_uid="welcome")
        status, answer = await running.call("POST", "/v1/emails", body)
        assert (status, answer["error_code"]) == (404, 106)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/templates/nothing"),
        ("GET", "/v1/templates/99"),
        ("PUT", "/v1/templates/nothing"),
        ("DELETE", "/v1/templates/nothing"),
        ("POST", "/v1/templates/nothing/copy"),
    ],
)
async def test_what_is_not_there_is_a_404(method: str, path: str, tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        status, answer = await running.call(method, path, "{}")
        assert (status, answer["success"], answer["error_code"]) == (404, 0, 106)


async def test_nobody_sees_another_accounts_templates(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        await add(running)
        assert (await running.call("GET", "/v1/templates", token=OTHER))[1]["data"] == []
        for name in ("welcome", "1"):
            assert (await running.call("GET", f"/v1/templates/{name}", token=OTHER))[0] == 404
        assert (await running.call("DELETE", "/v1/templates/welcome", token=OTHER))[0] == 404
        assert (await running.call("POST", "/v1/templates", WELCOME, token=OTHER))[0] == 201


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"template_uid": None}, "template_uid"),
        ({"template_uid": "a/b"}, "template_uid"),
        ({"template_uid": ".."}, "template_uid"),
        ({"template_uid": "x" * 65}, "template_uid"),
        ({"template_uid": "first"}, "template_uid"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": "a\r\nb"}, "name"),
        ({"subject": "a\nb"}, "subject"),
        ({"html_body": None}, "html_body"),
        ({"html_body": ""}, "html_body"),
        ({"html_body": "ä" * 100_001}, "html_body"),
        ({"html_body": 7, "text_body": []}, "text_body"),
        ({"variables": "NAME"}, "variables"),
        ({"variables": "[" * 100_000}, "variables"),
        ({"variables": '{"a": 1}'}, "variables"),
        ({"variables": ["x" * 101]}, "variables"),
        ({"variables": ["x"] * 201}, "variables"),
        ({"dialect": "php"}, "dialect"),
    ],
)
async def test_bad_input_names_its_field_and_makes_nothing(change: dict[str, Any], field: str, tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        await add(running, template_uid="first")
        status, answer = await running.call("POST", "/v1/templates", WELCOME | change)
        assert (status, answer.get("field"), answer["success"]) == (400, field, 0), answer
        assert (await running.call("GET", "/v1/templates"))[1]["total"] == 1


async def test_a_change_is_checked_as_a_new_one_is(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        await add(running)
        await add(running, template_uid="second")
        for change, field in (
            ({"html_body": ""}, "html_body"),
            ({"text_body": "x" * 200_000}, "text_body"),
            ({"template_uid": "second"}, "template_uid"),
            ({"name": ""}, "name"),
        ):
            status, answer = await running.call("PUT", "/v1/templates/welcome", change)
            assert (status, answer.get("field")) == (400, field)


async def test_what_can_never_be_filled_in_is_refused_at_once(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        for field, text in (
            ("html_body", "<p>\n{% if secret %}</p>"),
            ("text_body", "a\nb {{ secret | nothing_like_it }}"),
            ("subject", "{{ secret"),
        ):
            made = WELCOME | {field: text, "dialect": "templates"}
            status, answer = await running.call("POST", "/v1/templates", made)
            assert (status, answer["field"], "secret" in answer["message"]) == (400, field, False), answer
            await add(running, **{field: text, "dialect": "tags", "template_uid": field})
            assert (await running.call("PUT", f"/v1/templates/{field}", {"dialect": "templates"}))[0] == 400
        assert (
            "line 2" in (await running.call("PUT", "/v1/templates/text_body", {"dialect": "templates"}))[1]["message"]
        )
        await add(running, html_body="{% for one in list %}{{ one }}{% endfor %}", dialect="templates")


async def test_the_accounts_own_dialect_holds_where_a_template_names_none(tmp_path: Path) -> None:
    settings = '[account.shop]\ndialect = "templates"'
    async with api(tmp_path, merge_tags=settings) as running:
        broken = WELCOME | {"html_body": "{% if %}"}
        assert (await running.call("POST", "/v1/templates", broken))[0] == 400
        assert (await running.call("POST", "/v1/templates", broken, token=OTHER))[0] == 201


async def test_an_account_may_have_so_many(tmp_path: Path) -> None:
    async with api(tmp_path, http_api="max_templates = 2") as running:
        await add(running, template_uid="a")
        await add(running, template_uid="b")
        status, answer = await running.call("POST", "/v1/templates", WELCOME)
        assert (status, "no more" in answer["message"]) == (400, True)
        assert (await running.call("POST", "/v1/templates/a/copy"))[0] == 400
        assert (await running.call("PUT", "/v1/templates/a", {"template_uid": "c"}))[0] == 200
        assert (await running.call("POST", "/v1/templates", WELCOME, token=OTHER))[0] == 201


async def test_ids_are_given_once(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        await add(running)
        first = (await get(running, "welcome"))["id"]
        await running.call("DELETE", "/v1/templates/welcome")
        await add(running)
        assert (await get(running, "welcome"))["id"] == first + 1
        assert await running.house.mta.state.sequences.next(Counter("http_api.template", account="shop")) == first + 2


async def test_many_large_templates_are_neither_in_memory_together_nor_read_for_each_id(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        for number in range(3):
            await add(running, template_uid=f"t{number}", html_body="x" * 100_000)
        plugin = next(one.instance for one in running.house.mta.generation.plugins.loaded if one.name == "http_api")
        templates, reads = Templates(plugin.mta), 0
        assert [(each.uid, each.html, each.text) for each in await templates.all("shop")] == [
            ("t0", None, None), ("t1", None, None), ("t2", None, None),
        ]  # fmt: skip

        class Counting(Templates):
            async def named(self, account: str, uid: str) -> Template | None:
                nonlocal reads
                reads += bool(uid)
                return await super().named(account, uid)

        shelf = Shelf(Counting(plugin.mta), "shop")
        found = await shelf.template("TemplateId", "2")
        assert (found.uid, len(found.html or "")) == ("t1", 100_000)
        for number in range(50):
            with pytest.raises(Problem):
                await shelf.template("TemplateId", f"{number + 1000}")
        assert reads == 1 + 3 + 1 + 50


async def test_no_variable_replaces_the_words_that_were_approved(tmp_path: Path) -> None:
    words = {"Hello [NAME]": "Win a prize!"}
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    async with api(tmp_path, http_api="moderate_templates = true") as running:
        await kept_template(running, "welcome", html="<p>Hello [NAME]</p>")
        await kept_template(running, "old", html="<p>Hello [NAME]</p>", dialect="literal")
        body = email(html=None, template_uid="welcome", global_merge_vars=words)
        status, answer = await running.call("POST", "/v1/emails", body | {"dialect": "literal"})
        assert (status, answer["field"]) == (400, "dialect")
        mail = {
            "personalizations": [{"to": [{"email": BOB}], "substitutions": words}],
            "from": {"email": "shop@example.com"},
            "subject": "Hi",
        }
        for uid, expected in (("welcome", 400), ("old", 202)):
            data = mail | {"template_id": uid}
            assert (await running.call("POST", "/v3/mail/send", data, token=None, headers=bearer))[0] == expected
        assert (await running.call("POST", "/v1/emails", body))[0] == 200
        assert [b"Hello [NAME]" in one.raw for one in running.mx.received] == [False, True]
