"""http_api in the whole program: sending by MimePost's API, and what becomes of it."""

import asyncio
import email as email_package
import email.policy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtaframe.cli.check import faults_of
from tests.plugins.api_house import BOB, CAROL, DAVE, OTHER, TOKEN, Api, api, email


def read(raw: bytes) -> Any:
    return email_package.message_from_bytes(raw, policy=email_package.policy.default)


def by_recipient(api: Api) -> dict[str, Any]:
    return {recipient: read(one.raw) for one in api.mx.received for recipient in one.recipients}


async def test_a_mail_to_one_is_delivered_before_the_answer(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        status, answer = await running.call("POST", "/v1/emails", email(BOB, from_name="Der Händler"))
        assert (status, answer["success"], answer["error_code"]) == (200, 1, 0)
        [result] = answer["results"]
        assert (result["email"], result["status"], result["code"], result["kind"]) == (BOB, "delivered", 250, "to")
        assert answer["queue_ids"] == {BOB: {"status": result["id"]}}
        [received] = running.mx.received
        message = read(received.raw)
        assert message["To"] == BOB
        assert message["From"] == "Der Händler <shop@example.com>"
        assert message["Message-ID"] == f"<{result['id']}@mta.example.com>"
        assert message.get_content_type() == "text/html"
        assert message.get_content().strip() == "<p>Hello</p>"
        assert received.reverse_path == "shop@example.com"


async def test_each_gets_a_copy_of_its_own_with_its_variables(tmp_path: Path) -> None:
    to = [
        {"email": BOB, "merge_vars": [{"name": "NAME", "value": "Bob <b>"}]},
        {"email": CAROL, "merge_vars": {"NAME": "Carol"}},
        {"email": DAVE},
    ]
    body = email(
        to=to,
        subject="For [NAME]",
        html="<p>[NAME], [YEAR] [sic]</p>",
        text="[NAME] [YEAR]",
        global_merge_vars=[{"name": "NAME", "value": "customer"}, {"name": "YEAR", "value": 2026}],
    )
    async with api(tmp_path) as running:
        status, _ = await running.call("POST", "/v1/emails", body)
        assert status == 200
        got = by_recipient(running)
        assert [got[each]["Subject"] for each in (BOB, CAROL, DAVE)] == [
            "For Bob <b>", "For Carol", "For customer",
        ]  # fmt: skip
        texts = {each: got[each].get_body(("html",)).get_content().strip() for each in got}
        assert texts[BOB] == "<p>Bob &lt;b&gt;, 2026 [sic]</p>"
        assert got[CAROL].get_body(("plain",)).get_content().strip() == "Carol 2026"
        assert texts[DAVE] == "<p>customer, 2026 [sic]</p>"
        assert len({message["Message-ID"] for message in got.values()}) == 3


async def test_cc_and_bcc_get_a_copy_for_each_recipient_and_bcc_is_seen_by_nobody(tmp_path: Path) -> None:
    to = [{"email": each, "merge_vars": {"N": each[:3]}} for each in (BOB, CAROL)]
    body = email(to=to, html="[N]", cc=["cc@example.net"], bcc=["secret@example.net"])
    async with api(tmp_path) as running:
        status, answer = await running.call("POST", "/v1/emails", body)
        assert status == 200
        assert len(answer["results"]) == 6
        assert answer["queue_ids"][BOB].keys() == {"status", "cc", "bcc"}
        got = [(recipient, read(one.raw)) for one in running.mx.received for recipient in one.recipients]
        assert sorted(recipient for recipient, _ in got) == sorted(
            [BOB, CAROL, *["cc@example.net", "secret@example.net"] * 2]
        )
        for _, message in got:
            assert message["Cc"] == "cc@example.net"
            assert message.get_content().strip() == message["To"][:3]
            assert b"secret@" not in message.as_bytes()
        ids = [each["id"] for each in answer["results"]]
        assert len(set(ids)) == 6


async def test_files_and_images_go_with_it(tmp_path: Path) -> None:
    files = [
        {"name": "Rechnung Nr. 7 – äöü.pdf", "type": "application/pdf", "content": "JVBERi0="},
        {"name": "logo.png", "type": "image/png", "content": "iVBORw0KGgo=", "content_id": "logo"},
    ]
    body = email(BOB, html='<img src="cid:logo">', text="Hello", attachments=files)
    async with api(tmp_path) as running:
        assert (await running.call("POST", "/v1/emails", body))[0] == 200
        message = read(running.mx.received[0].raw)
        assert message.get_content_type() == "multipart/mixed"
        [pdf] = list(message.iter_attachments())
        assert (pdf.get_filename(), pdf.get_content()) == ("Rechnung Nr. 7 – äöü.pdf", b"%PDF-")
        html = message.get_body(("related", "html"))
        assert html.get_content_type() == "multipart/related"
        image = next(part for part in message.walk() if part.get_content_type() == "image/png")
        assert (image["Content-ID"], image.get_content()) == ("<logo>", b"\x89PNG\r\n\x1a\n")
        assert message.get_body(("plain",)).get_content().strip() == "Hello"


async def test_extensions_reply_to_fields_custom_data_stream(tmp_path: Path) -> None:
    body = email(
        BOB,
        reply_to='"Help, please" <help@example.com>',
        headers={"X-Campaign": "Frühling", "List-Unsubscribe": "<https://example.com/u>"},
        vars={"order": "7", "who": "Zoë"},
        stream="news",
    )
    async with api(tmp_path) as running:
        assert (await running.call("POST", "/v1/emails", body))[0] == 200
        message = read(running.mx.received[0].raw)
        assert message["Reply-To"] == '"Help, please" <help@example.com>'
        assert message["X-Campaign"] == "Frühling"
        assert json.loads(message["X-Vars"]) == {"order": "7", "who": "Zoë"}


async def test_what_is_deferred_is_a_503_and_the_repeat_sends_only_that(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        running.mx.script("rcpt", "450 4.2.1 busy", to=CAROL)
        key = {"Idempotency-Key": "order-7"}
        status, answer = await running.call("POST", "/v1/emails", email(BOB, CAROL), headers=key)
        assert (status, answer["success"]) == (503, 0)
        assert "1 of 2 recipients are not final yet" in answer["message"]
        assert {each["email"]: each["status"] for each in answer["results"]} == {BOB: "delivered", CAROL: "deferred"}
        status, again = await running.call("POST", "/v1/emails", email(BOB, CAROL), headers=key)
        assert status == 200
        assert [each["id"] for each in again["results"]] == [each["id"] for each in answer["results"]]
        assert (await running.call("POST", "/v1/emails", email(BOB, CAROL), headers=key))[0] == 200
        assert sorted(one.recipients[0] for one in running.mx.received) == [BOB, CAROL]
        status, other = await running.call("POST", "/v1/emails", email(BOB, subject="other"), headers=key)
        assert (status, other["field"]) == (422, "Idempotency-Key")
        elsewhere = email(BOB, from_email="a@rival.example")
        assert (await running.call("POST", "/v1/emails", elsewhere, headers=key, token=OTHER))[0] == 200


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "x" * 257])
async def test_what_is_no_key_protects_nobody_and_is_told(key: str, tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        status, answer = await running.call("POST", "/v1/emails", email(BOB), headers={"Idempotency-Key": key})
        assert (status, answer["field"]) == (400, "Idempotency-Key")
        assert running.mx.messages == 0


async def test_without_a_key_the_same_octets_repeat_what_was_not_final(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        running.mx.script("rcpt", "450 4.2.1 busy", to=CAROL)
        assert (await running.call("POST", "/v1/emails", email(BOB, CAROL)))[0] == 503
        assert (await running.call("POST", "/v1/emails", email(BOB, CAROL)))[0] == 200
        assert sorted(one.recipients[0] for one in running.mx.received) == [BOB, CAROL]
        assert (await running.call("POST", "/v1/emails", email(BOB, CAROL)))[0] == 200  # on purpose
        assert running.mx.messages == 4


async def test_what_fails_for_everybody_is_an_error_with_the_next_hops_words(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        running.mx.script("rcpt", "550 5.1.1 no such user", to=BOB, always=True)
        status, answer = await running.call("POST", "/v1/emails", email(BOB))
        assert (status, answer["message"]) == (422, "550 5.1.1 no such user")
        assert (await running.call("POST", "/v1/emails", email(BOB, CAROL)))[0] == 200


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"subject": None}, 400, "subject"),
        ({"to": []}, 400, "to"),
        ({"to": [{"email": "nobody"}]}, 400, "to.0.email"),
        ({"to": [{"email": BOB}, {"email": "a@b@c"}]}, 400, "to.1.email"),
        ({"to": "bob"}, 400, "to"),
        ({"cc": ["x y@z"]}, 400, "cc.0"),
        ({"from_email": ""}, 400, "from_email"),
        ({"from_name": "a\r\nBcc: x@y"}, 400, "from_email (name)"),
        ({"subject": "a\nBcc: x@y"}, 400, "subject"),
        ({"html": None}, 400, "html"),
        ({"template_uid": "welcome"}, 400, "template_uid"),
        ({"html": None, "template_uid": "nothing"}, 404, "template_uid"),
        ({"headers": {"Bcc": "x@y"}}, 400, "headers.Bcc"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, 400, "headers.X-A"),
        ({"headers": {"DKIM-Signature": "x"}}, 400, "headers.DKIM-Signature"),
        ({"headers": {"": "x"}}, 400, "headers."),
        ({"attachments": [{"name": "a", "type": "text/plain", "content": "%"}]}, 400, "attachments.0.content"),
        ({"attachments": [{"name": "a", "type": "a\r\nb", "content": ""}]}, 400, "attachments.0.type"),
        ({"attachments": [{"name": "a", "type": "message/rfc822", "content": ""}]}, 400, "attachments.0.type"),
        ({"stream": "other"}, 400, "stream"),
        ({"wait": "accepted"}, 400, "wait"),
        ({"wait": "never"}, 400, "wait"),
        ({"reply_to": "nobody"}, 400, "reply_to"),
        ({"vars": {"a": "x" * 20_000}}, 400, "vars"),
        ({"dialect": "php"}, 400, "dialect"),
    ],
)
async def test_bad_input_names_its_field(change: dict[str, Any], status: int, field: str, tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        got, answer = await running.call("POST", "/v1/emails", email(**change))
        assert (got, answer.get("field"), answer["success"]) == (status, field, 0), answer
        assert running.mx.messages == 0


@pytest.mark.parametrize(
    "octets", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"to":' + b"9" * 5000 + b"}"]
)
async def test_no_body_gets_a_500(octets: bytes, tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        status, answer = await running.call("POST", "/v1/emails", octets)
        assert (status, answer["success"]) == (400, 0)


@pytest.mark.parametrize("token", [None, "", "x", TOKEN[:-1], TOKEN + "x", "mta_abcdefghijkl_" + "B" * 43])
async def test_a_bad_token_is_a_401(token: str | None, tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        status, answer = await running.call("POST", "/v1/emails", email(BOB), token=token)
        assert (status, answer["error_code"], answer["message"]) == (401, 101, "Auth token not valid")


@pytest.mark.parametrize("path", ["/v1/emails", "/v3/mail/send", "/email", "/emails"])
async def test_no_body_is_read_for_a_bad_token(path: str, tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.house.port("api"))
        writer.write(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{" % path.encode())
        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 401 ")
        writer.close()


@pytest.mark.parametrize(
    ("path", "header", "expected"),
    [
        ("/v1/emails", "X-Auth-Token", lambda text: {"success": 0, "error_code": 413, "message": text}),
        ("/v3/mail/send", "Bearer", lambda text: {"errors": [{"message": text, "field": None, "help": None}]}),
        ("/email", "X-Postmark-Server-Token", lambda text: {"ErrorCode": 300, "Message": text}),
        ("/emails", "Bearer", lambda text: {"statusCode": 413, "name": "application_error", "message": text}),
    ],
)
async def test_what_the_server_itself_refuses_has_the_form_of_the_door(
    path: str, header: str, expected: Callable[[str], Any], tmp_path: Path
) -> None:
    async with api(tmp_path) as running:
        headers = {"Authorization": f"Bearer {TOKEN}"} if header == "Bearer" else {header: TOKEN}
        headers["Content-Length"] = "99999999999"
        status, answer = await running.call("POST", path, {}, token=None, headers=headers)
        [text] = re.findall(r"a request may hold [0-9,]+ octets", json.dumps(answer))
        assert (status, answer) == (413, expected(text))


async def test_a_bearer_token_does_too(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        headers = {"Authorization": f"bearer {TOKEN}"}
        assert (await running.call("POST", "/v1//emails/", email(BOB), token=None, headers=headers))[0] == 200


async def test_a_batch_is_answered_line_by_line_as_results_come(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        running.mx.script("rcpt", "450 4.2.1 busy", to=CAROL)
        running.mx.script("rcpt", "550 5.1.1 no", to=DAVE)
        status, lines = await running.call("POST", "/v1/emails/batch", email(BOB, CAROL, DAVE))
        assert status == 200
        assert {line["email"]: line["status"] for line in lines[:-1]} == {
            BOB: "delivered", CAROL: "deferred", DAVE: "failed",
        }  # fmt: skip
        assert lines[-1] == {"done": True, "delivered": 1, "deferred": 1, "failed": 1}


async def test_who_does_not_wait_gets_a_202_where_the_operator_allows_it(tmp_path: Path) -> None:
    async with api(tmp_path, http_api="accept = true") as running:
        running.mx.script("dot", delay=0.3)
        status, answer = await running.call("POST", "/v1/emails", email(BOB, wait="accepted"))
        assert (status, [each["status"] for each in answer["results"]]) == (202, ["accepted"])
        assert "not delivered yet" in answer["message"]
        async with asyncio.timeout(5):
            while not running.mx.received:
                await asyncio.sleep(0.01)


async def test_a_repeat_is_not_told_that_held_mail_is_delivered(tmp_path: Path) -> None:
    async with api(tmp_path, http_api="accept = true") as running:
        running.mx.script("rcpt", "450 4.2.1 busy", to=BOB, always=True)
        body, key = email(BOB, wait="accepted"), {"Idempotency-Key": "held"}
        assert (await running.call("POST", "/v1/emails", body, headers=key))[0] == 202
        async with asyncio.timeout(5):
            while not running.house.mta.status()["held"]:
                await asyncio.sleep(0.01)
        status, answer = await running.call("POST", "/v1/emails", body, headers=key)
        assert (status, [each["status"] for each in answer["results"]]) == (202, ["accepted"])
        assert running.mx.messages == 0


async def test_a_client_that_goes_and_comes_again_gets_one_mail(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        running.mx.script("dot", delay=0.5)
        key = {"Idempotency-Key": "once"}
        first = asyncio.create_task(running.call("POST", "/v1/emails", email(BOB), headers=key))
        async with asyncio.timeout(5):
            while not any(line == "DATA" for line in running.mx.commands):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        first.cancel()
        status, answer = await running.call("POST", "/v1/emails", email(BOB), headers=key)
        assert (status, answer["results"][0]["status"]) == (200, "delivered")
        assert running.mx.messages == 1


async def test_json_is_read_as_such_whatever_it_is_called(tmp_path: Path) -> None:
    """Curl calls it a form, unless it is told otherwise."""
    async with api(tmp_path) as running:
        for kind in ("application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8", ""):
            body = json.dumps(email(BOB, subject=kind))
            assert (await running.call("POST", "/v1/emails", body, headers={"Content-Type": kind}))[0] == 200
        assert running.mx.messages == 4


@pytest.mark.parametrize(
    ("plugins", "kind", "warning"),
    [
        ('["merge_tags", "http_api"]', "mta", "plugins.1: it serves HTTP, and there is no listener of that kind"),
        ('["merge_tags"]', "http", 'listener.0.kind: no listed plugin serves anything by HTTP: list "http_api"'),
        ('["merge_tags", "http_api"]', "http", ""),
    ],
)
async def test_check_says_where_nobody_can_ask_or_be_answered(
    plugins: str, kind: str, warning: str, tmp_path: Path
) -> None:
    listener = f'[[listener]]\nname = "in"\nkind = "{kind}"\naddresses = ["127.0.0.1:8025"]\n'
    (tmp_path / "mtaframe.toml").write_text(f"plugins = {plugins}\n{listener}")
    found = [str(fault) for fault in await faults_of(tmp_path)]
    assert [fault for fault in found if "HTTP" in fault] == ([found[-1]] if warning else [])
    assert warning in (found[-1] if found else "")


async def test_who_asks_for_too_many_copies_is_told_so_before_anything_is_read(tmp_path: Path) -> None:
    nobody = [{"email": "no address"}] * 10_001
    async with api(tmp_path) as running:
        for body in (email() | {"to": nobody}, email(BOB, CAROL, cc=["no address"] * 5000)):
            status, answer = await running.call("POST", "/v1/emails", body)
            assert (status, answer["field"]) == (400, "to")
            assert "copies in one call" in answer["message"]
        mail = {
            "personalizations": [{"to": nobody[:6000]}, {"to": nobody[:1], "bcc": nobody[:6000]}],
            "from": {"email": "shop@example.com"},
            "subject": "x",
            "content": [{"type": "text/plain", "value": "x"}],
        }
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        status, answer = await running.call("POST", "/v3/mail/send", mail, token=None, headers=bearer)
        assert (status, answer["errors"][0]["field"]) == (400, "personalizations")
        mail = {"from": "shop@example.com", "to": ["x" * 200] * 501, "subject": "x", "text": "x"}
        status, answer = await running.call("POST", "/emails", mail, token=None, headers=bearer)
        assert (status, answer["message"]) == (422, "to: is too long")


async def test_what_is_everybodys_is_not_kept_for_each_copy(tmp_path: Path) -> None:
    names = {f"n{number}": "x" for number in range(2000)}
    to = [{"email": f"u{number}@example.net", "merge_vars": {"A": "x"}} for number in range(501)]
    async with api(tmp_path) as running:
        status, answer = await running.call("POST", "/v1/emails", email(global_merge_vars=names) | {"to": to})
        assert (status, answer["field"]) == (400, "to")
        assert "too many beside so many copies" in answer["message"]
        body = email(BOB, CAROL, html="[n7]", global_merge_vars=names)
        assert (await running.call("POST", "/v1/emails", body))[0] == 200
        assert all(b"\r\n\r\nx\r\n" in one.raw for one in running.mx.received)
