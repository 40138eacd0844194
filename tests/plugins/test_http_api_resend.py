"""http_api: Resend's calls for sending, as its own client library makes them and as nobody should."""

import asyncio
import gc
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import resend
from resend.exceptions import (
    InvalidApiKeyError,
    MissingRequiredFieldsError,
    ResendError,
    ValidationError,
)

from tests.plugins.api_house import BOB, CAROL, DAVE, TOKEN, Api, api, by_recipient, kept_template, parsed


@pytest.fixture(autouse=True)
def settings_of_the_library() -> Iterator[None]:
    """They are global there."""
    before = resend.api_key, resend.api_url
    yield
    resend.api_key, resend.api_url = before


def body(*to: str, **more: Any) -> dict[str, Any]:
    return {"from": "shop@example.com", "to": list(to or (BOB,)), "subject": "Hi", "text": "Hello"} | more


async def post(running: Api, path: str, data: Any, token: str = TOKEN, **headers: str) -> tuple[int, Any]:
    named = {"Authorization": f"Bearer {token}"}
    return await running.call("POST", path, data, token=None, headers=named | headers)


async def send(running: Api, data: Any, options: Any = None, token: str = TOKEN) -> Any:
    """By the official client: one mail, or a list of them."""
    resend.api_key, resend.api_url = token, running.url
    call = resend.Batch.send if isinstance(data, list) else resend.Emails.send
    return await asyncio.to_thread(call, data, options)


async def test_the_official_client_sends(tmp_path: Path) -> None:
    mail = body(
        f"Bob <{BOB}>", CAROL, cc="cc@example.net", bcc=["secret@example.net"], html='<img src="cid:logo">',
        text="Hello [NAME] {{x}}", reply_to=["help@example.com", "Sales <sales@example.com>"],
        headers={"X-Campaign": "Frühling"}, tags=[{"name": "order", "value": "7"}, {"name": "vip"}],
        attachments=[
            {"filename": "Rechnung.pdf", "content": list(b"%PDF-")},
            {"filename": "note.txt", "content": "SGVsbG8="},
            {"filename": "logo.png", "content": "iVBORw0KGgo=", "content_id": "logo"},
            {"filename": "x.bin", "content": {"type": "Buffer", "data": [0, 255]}, "content_type": "x-one/two; z=1"},
        ],
    )  # fmt: skip
    mail["from"] = "Der Händler <shop@example.com>"
    async with api(tmp_path) as running:
        sent = await send(running, mail)
        got = by_recipient(running)
        assert len(got) == 4
        for message in got.values():
            assert message["Message-ID"] == f"<{sent['id']}@mta.example.com>"
            assert (message["From"], message["Subject"]) == ("Der Händler <shop@example.com>", "Hi")
            assert (message["To"], message["Cc"]) == (f"Bob <{BOB}>, {CAROL}", "cc@example.net")
            assert message["Reply-To"] == "help@example.com, Sales <sales@example.com>"
            assert message["X-Campaign"] == "Frühling"
            assert json.loads(message["X-Vars"]) == {"order": "7", "vip": ""}
            assert b"secret@" not in message.as_bytes()
            assert message.get_body(("plain",)).get_content().strip() == "Hello [NAME] {{x}}"
            files = {part.get_filename(): part for part in message.iter_attachments()}
            kinds = [files[name].get_content_type() for name in files]
            assert kinds == ["application/pdf", "text/plain", "x-one/two"]
            assert files["Rechnung.pdf"].get_content() == b"%PDF-"
            assert files["x.bin"].get_payload(decode=True) == b"\x00\xff"
            [image] = [part for part in message.walk() if part.get_content_type() == "image/png"]
            assert image["Content-ID"] == "<logo>"


async def test_the_official_client_sends_a_batch_in_order(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        sent = await send(running, [body(BOB), body(CAROL), body(BOB)])
        ids = [each["id"] for each in sent["data"]]
        got = [(one.recipients[0], parsed(one.raw)["Message-ID"]) for one in running.mx.received]
        expected = [(to, f"<{one}@mta.example.com>") for to, one in zip((BOB, CAROL, BOB), ids, strict=True)]
        assert sorted(got) == sorted(expected)
        assert "errors" not in sent


async def test_a_batch_is_checked_as_a_whole(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        with pytest.raises(ValidationError, match=r"1\.to: "):
            await send(running, [body(BOB), body("nobody")])
        with pytest.raises(MissingRequiredFieldsError, match=r"1\.html: "):
            await send(running, [body(BOB), body(text=None)])
        assert running.mx.messages == 0


async def test_who_nobody_got_is_named_and_what_is_deferred_comes_again(tmp_path: Path) -> None:
    batch = [body(BOB), body(CAROL), body(DAVE)]
    async with api(tmp_path) as running:
        running.mx.script("rcpt", "550 5.1.1 no such user", to=DAVE, always=True)
        running.mx.script("rcpt", "450 4.2.1 busy", to=CAROL)
        with pytest.raises(ResendError) as deferred:
            await send(running, batch)
        assert (deferred.value.code, deferred.value.headers["Retry-After"]) == (503, "60")
        sent = await send(running, batch)
        assert len(sent["data"]) == 3
        [error] = sent["errors"]
        assert error["index"] == 2
        assert error["message"].startswith("550 5.1.1")
        assert sorted(one.recipients[0] for one in running.mx.received) == [BOB, CAROL]
        with pytest.raises(ValidationError, match=r"550 5\.1\.1 no such user"):
            await send(running, body(DAVE))


async def test_a_template_of_the_account_is_filled_in(tmp_path: Path) -> None:
    template = {"id": "welcome", "variables": {"name": "Bob", "items": [1, 2]}}
    async with api(tmp_path) as running:
        kept = await kept_template(running, "welcome", html="<p>{{ name }} {{ items|sum }}</p>", subject="For {{name}}")
        for each in (template, template | {"id": str(kept.id)}):
            await send(running, body(text=None, subject=None, template=each))
            message = parsed(running.mx.received[-1].raw)
            assert (message["Subject"], message.get_content().strip()) == ("For Bob", "<p>Bob 3</p>")
        with pytest.raises(ResendError) as missing:
            await send(running, body(text=None, template={"id": "none"}))
        assert (missing.value.code, missing.value.error_type) == (404, "not_found")


async def test_idempotency_is_as_the_official_client_has_it(tmp_path: Path) -> None:
    options = {"idempotency_key": "order-7"}
    async with api(tmp_path) as running:
        first, again = [await send(running, body(BOB), options) for _ in range(2)]
        assert first["id"] == again["id"]
        assert running.mx.messages == 1
        with pytest.raises(ResendError) as other:
            await send(running, body(CAROL), options)
        assert (other.value.code, other.value.error_type) == (409, "invalid_idempotent_request")
        with pytest.raises(ResendError) as wrong:
            await send(running, body(CAROL), {"idempotency_key": "x" * 257})
        assert (wrong.value.code, wrong.value.error_type) == (400, "invalid_idempotency_key")
        options = {"idempotency_key": "batch-7"}
        sent = [(await send(running, [body(BOB), body(BOB)], options))["data"] for _ in range(2)]
        assert sent[0] == sent[1]
        assert running.mx.messages == 3


async def test_a_bad_key_is_an_error_of_the_official_client(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        with pytest.raises(InvalidApiKeyError):
            await send(running, body(BOB), token="re_wrong")
        status, answer = await running.call("POST", "/emails", body(BOB), token=None)
        assert (status, answer["statusCode"], answer["name"]) == (401, 401, "missing_api_key")


async def test_nulls_and_times_that_are_due_are_accepted(tmp_path: Path) -> None:
    nothing = dict.fromkeys(
        ["cc", "bcc", "reply_to", "html", "template", "headers", "attachments", "tags", "scheduled_at", "topic_id"]
    )
    async with api(tmp_path) as running:
        assert (await post(running, "/emails/", body(**nothing)))[0] == 200
        for at in ("2024-08-05T11:52:01.858Z", "2024-08-05", datetime.now(UTC).isoformat()):
            assert (await post(running, "/emails", body(scheduled_at=at)))[0] == 200
        assert (await post(running, "/emails", body() | {"to": BOB}))[0] == 200


async def test_who_goes_amid_a_batch_keeps_no_configuration_alive_and_comes_again_to_what_is_left(
    tmp_path: Path,
) -> None:
    batch = [body(subject=str(number)) for number in range(25)]
    async with api(tmp_path) as running:
        generation = running.house.mta.generation
        assert generation is not None
        running.mx.script("dot", delay=0.5, always=True)
        gc.disable()  # what waits for the collector waits long in a worker
        try:
            first = asyncio.create_task(post(running, "/emails/batch", batch))
            async with asyncio.timeout(10):
                while len(running.mx.arrived) < 20:
                    await asyncio.sleep(0.01)
                first.cancel()
                while running.mx.messages < 20:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            assert generation._leases == 0
        finally:
            gc.enable()
        assert (await post(running, "/emails/batch", batch))[0] == 200
        subjects = sorted(int(parsed(one.raw)["Subject"]) for one in running.mx.received)
        assert subjects == list(range(25))


async def test_a_batch_is_json_though_curl_calls_it_a_form(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert (await post(running, "/emails/batch", [body(), body()], **form))[0] == 200
        assert running.mx.messages == 2


LATER = (datetime.now(UTC) + timedelta(days=1)).isoformat()


@pytest.mark.parametrize(
    ("change", "field", "name"),
    [
        ({"from": None}, "from", "validation_error"),
        ({"from": ""}, "from", "validation_error"),
        ({"from": "a@example.com, b@example.com"}, "from", "validation_error"),
        ({"to": []}, "to", "validation_error"),
        ({"to": [""]}, "to", "missing_required_field"),
        ({"to": [BOB, "a@b@c"]}, "to.1", "validation_error"),
        ({"to": f"{BOB}\r\nBcc: x@y"}, "to", "validation_error"),
        ({"cc": "nobody"}, "cc", "validation_error"),
        ({"bcc": [1, []]}, "bcc.1", "validation_error"),
        ({"reply_to": "nobody"}, "reply_to", "validation_error"),
        ({"subject": None}, "subject", "missing_required_field"),
        ({"subject": "a\nBcc: x@y"}, "subject", "validation_error"),
        ({"text": None}, "html", "missing_required_field"),
        ({"template": {"id": "x"}}, "template", "validation_error"),
        ({"template": {}}, "template.id", "missing_required_field"),
        ({"headers": {"Bcc": "x@y"}}, "headers.Bcc", "validation_error"),
        ({"headers": {"X-A": "a\r\nb"}}, "headers.X-A", "validation_error"),
        ({"attachments": [{"path": "https://example.com/x"}]}, "attachments.0.path", "invalid_attachment"),
        ({"attachments": [{"filename": "x"}]}, "attachments.0.content", "missing_required_field"),
        ({"attachments": [{"content": "%"}]}, "attachments.0.content", "invalid_attachment"),
        ({"attachments": [{"content": [256]}]}, "attachments.0.content", "invalid_attachment"),
        ({"attachments": [{"content": [True]}]}, "attachments.0.content", "invalid_attachment"),
        ({"attachments": [{"content": {"data": "x"}}]}, "attachments.0.content", "invalid_attachment"),
        ({"attachments": [{"content": "", "content_id": "a b"}]}, "attachments.0.content_id", "invalid_attachment"),
        ({"tags": [{"value": "x"}]}, "tags.0.name", "missing_required_field"),
        ({"tags": [{"name": "x", "value": "x" * 20_000}]}, "tags", "validation_error"),
        ({"scheduled_at": LATER}, "scheduled_at", "validation_error"),
        ({"scheduled_at": "in 1 hour"}, "scheduled_at", "validation_error"),
    ],
)
async def test_bad_input_is_a_422_that_names_its_field(
    change: dict[str, Any], field: str, name: str, tmp_path: Path
) -> None:
    async with api(tmp_path) as running:
        status, answer = await post(running, "/emails", body(**change))
        assert (status, answer["statusCode"], answer["name"]) == (422, 422, name), answer
        assert answer["message"].startswith(f"{field}: ")
        status, answer = await post(running, "/emails/batch", [body(**change)])
        assert (status, answer["name"]) == (422, name)
        assert answer["message"].startswith(f"0.{field}: ")
        assert running.mx.messages == 0


@pytest.mark.parametrize(
    ("path", "octets", "status"),
    [
        ("/emails", b"", 422),
        ("/emails", b"{", 400),
        ("/emails", b"[]", 422),
        ("/emails", b"null", 422),
        ("/emails", b"\xff", 400),
        ("/emails", b"[" * 100_000, 400),
        ("/emails/batch", b"{}", 422),
        ("/emails/batch", b"[]", 422),
        ("/emails/batch", b"[null]", 422),
    ],
)
async def test_no_body_gets_a_500(path: str, octets: bytes, status: int, tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        got, answer = await post(running, path, octets)
        assert (got, answer["statusCode"]) == (status, status)


async def test_what_is_too_much_and_what_the_operator_does_not_allow(tmp_path: Path) -> None:
    async with api(tmp_path, http_api="raw_html = false\nmax_copies = 2") as running:
        assert (await post(running, "/emails", body()))[1]["message"].startswith("html: ")
        await kept_template(running, "welcome", text="x")
        by_template = body(text=None, template={"id": "welcome"})
        status, answer = await post(running, "/emails", by_template | {"to": [BOB, CAROL, DAVE]})
        assert (status, answer["message"][:3]) == (422, "to:")
        assert (await post(running, "/emails/batch", [by_template] * 3))[0] == 422
        assert (await post(running, "/emails/batch", [by_template] * 101))[0] == 422
        assert running.mx.messages == 0
