"""http_api: Postmark's calls for sending, as its own client library makes them and as nobody should."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from postmark import ServerClient
from postmark.exceptions import (
    InactiveRecipientException,
    InvalidAPIKeyException,
    ServerException,
    ValidationException,
)
from postmark.models.outbound import Attachment, Email, Header
from postmark.models.templates import TemplateEmail

from tests.plugins.api_house import BOB, CAROL, DAVE, TOKEN, Api, api, by_recipient, kept_template, parsed

TEST = "POSTMARK_API_TEST"


def body(*to: str, **more: Any) -> dict[str, Any]:
    return {"From": "shop@example.com", "To": ", ".join(to or (BOB,)), "Subject": "Hi", "TextBody": "Hello"} | more


def by_template(*to: str, **more: Any) -> dict[str, Any]:
    return {"From": "shop@example.com", "To": ", ".join(to or (BOB,)), "TemplateAlias": "welcome"} | more


async def post(running: Api, path: str, data: Any, token: str = TOKEN, **headers: str) -> tuple[int, Any]:
    named = {"X-Postmark-Server-Token": token}
    return await running.call("POST", path, data, token=None, headers=named | headers)


def client(running: Api, token: str = TOKEN, retries: int = 0) -> ServerClient:
    return ServerClient(token, retries=retries, timeout=20, base_url=running.url)


async def test_the_official_client_sends(tmp_path: Path) -> None:
    mail = Email(
        sender='"Der Händler" <shop@example.com>', to=f"Bob <{BOB}>, {CAROL}", cc="cc@example.net",
        bcc="secret@example.net", subject="Grüße", html_body='<img src="cid:logo">', text_body="Hello [NAME] {{x}}",
        reply_to="help@example.com, Sales <sales@example.com>", tag="welcome", metadata={"order": "7"},
        headers=[Header(name="X-Campaign", value="Frühling"), Header(name="X-Campaign", value="2")],
        track_opens=True, message_stream="outbound",
        attachments=[
            Attachment(name="Rechnung.pdf", content="JVBERi0=", content_type="application/pdf"),
            Attachment(name="logo.png", content="iVBORw0KGgo=", content_type="image/png", content_id="cid:logo"),
        ],
    )  # fmt: skip
    async with api(tmp_path) as running, client(running) as postmark:
        sent = await postmark.outbound.send(mail)
        assert (sent.success, sent.message, sent.to) == (True, "OK", f"{BOB}, {CAROL}")
        got = by_recipient(running)
        assert len(got) == 4
        for message in got.values():
            assert message["Message-ID"] == f"<{sent.message_id}@mta.example.com>"
            assert (message["From"], message["Subject"]) == ("Der Händler <shop@example.com>", "Grüße")
            assert (message["To"], message["Cc"]) == (f"Bob <{BOB}>, {CAROL}", "cc@example.net")
            assert message["Reply-To"] == "help@example.com, Sales <sales@example.com>"
            assert message.get_all("X-Campaign") == ["Frühling", "2"]
            assert json.loads(message["X-Vars"]) == {"order": "7", "tag": "welcome"}
            assert b"secret@" not in message.as_bytes()
            assert message.get_body(("plain",)).get_content().strip() == "Hello [NAME] {{x}}"
            [pdf] = list(message.iter_attachments())
            assert (pdf.get_filename(), pdf.get_content()) == ("Rechnung.pdf", b"%PDF-")
            [image] = [part for part in message.walk() if part.get_content_type() == "image/png"]
            assert (image["Content-ID"], image.get_content()) == ("<logo>", b"\x89PNG\r\n\x1a\n")


async def test_the_official_client_sends_a_batch_and_each_message_has_its_row(tmp_path: Path) -> None:
    to = (BOB, "x", CAROL, DAVE)
    mails = [Email(sender="shop@example.com", to=each, subject="Hi", text_body=each) for each in to]
    async with api(tmp_path) as running, client(running) as postmark:
        running.mx.script("rcpt", "450 4.2.1 busy", to=CAROL)
        running.mx.script("rcpt", "550 5.1.1 no such user", to=DAVE)
        sent = await postmark.outbound.send_batch(mails)
        assert [each.error_code for each in sent] == [0, 300, 100, 406]
        assert sent[1].message.startswith("To: ")
        assert f"Found inactive addresses: {DAVE}." in sent[3].message
        assert [one.recipients for one in running.mx.received] == [[BOB]]
        [again] = await postmark.outbound.send_batch(mails[2:3])
        assert again.success
        assert sorted(by_recipient(running)) == [BOB, CAROL]


async def test_the_official_client_sends_by_templates_with_nested_models(tmp_path: Path) -> None:
    model = {"name": "Bob", "vip": True, "nothing": None, "items": [{"title": "Tea", "price": 2}, {"title": "<Cup>"}]}
    html = "<p>{{ name }}{% for item in items %}, {{ item.title }}{% endfor %}{{ nothing }}{% if vip %}!{% endif %}</p>"
    async with api(tmp_path) as running, client(running) as postmark:
        kept = await kept_template(running, "welcome", html=html, text="{{name}}", subject="For {{ name }}")
        one = TemplateEmail(sender="shop@example.com", to=BOB, template_alias="welcome", template_model=model)
        two = TemplateEmail(
            sender="shop@example.com", to=CAROL, template_id=kept.id, template_model=model | {"name": "Carol"}
        )
        assert (await postmark.outbound.send_with_template(one)).success
        assert parsed(running.mx.received[0].raw)["Subject"] == "For Bob"
        sent = await postmark.outbound.send_batch_with_template([one, two])
        assert [each.error_code for each in sent] == [0, 0]
        got = by_recipient(running)
        assert got[CAROL]["Subject"] == "For Carol"
        assert got[CAROL].get_body(("html",)).get_content().strip() == "<p>Carol, Tea, &lt;Cup&gt;!</p>"
        assert got[BOB].get_body(("plain",)).get_content().strip() == "Bob"
        with pytest.raises(ValidationException) as failed:
            await postmark.outbound.send(Email(sender="shop@example.com", to=BOB))
        assert failed.value.error_code == 300
        await kept_template(running, "draft", html="x", status="pending")
        for alias, number in (("draft", None), ("none", None), (None, 99)):
            data = by_template(TemplateAlias=alias, TemplateId=number)
            status, answer = await post(running, "/email/withTemplate", data)
            assert (status, answer["ErrorCode"]) == (422, 1101)


async def test_what_one_is_told_of_trouble_is_an_error_of_the_official_client(tmp_path: Path) -> None:
    mail = Email(sender="shop@example.com", to=f"{BOB}, {CAROL}", subject="Hi", text_body="Hello")
    async with api(tmp_path) as running, client(running) as postmark:
        async with client(running, "wrong") as other:
            with pytest.raises(InvalidAPIKeyException) as unknown:
                await other.outbound.send(mail)
        assert (unknown.value.error_code, unknown.value.http_status) == (10, 401)
        running.mx.script("rcpt", "450 4.2.1 busy", to=CAROL)
        with pytest.raises(ServerException) as deferred:
            await postmark.outbound.send(mail)
        assert (deferred.value.error_code, deferred.value.http_status) == (100, 503)
        assert (await postmark.outbound.send(mail)).success
        assert sorted(one.recipients[0] for one in running.mx.received) == [BOB, CAROL]
        running.mx.script("rcpt", "550 5.1.1 no such user", to=BOB, always=True)
        partly = await postmark.outbound.send(mail)
        assert (partly.success, partly.message) == (
            True, f"Message OK, but will not deliver to these inactive addresses: {BOB}."
        )  # fmt: skip
        with pytest.raises(InactiveRecipientException) as failed:
            await postmark.outbound.send(Email(sender="shop@example.com", to=BOB, subject="Hi", text_body="Hello"))
        assert failed.value.inactive_recipients == [BOB]
        running.mx.script("rcpt", "550 5.7.1 we do not like you", to=DAVE)
        status, answer = await post(running, "/email", body(DAVE))
        assert (status, answer["ErrorCode"], answer["Message"]) == (422, 300, "550 5.7.1 we do not like you")


async def test_the_official_client_repeats_by_itself_and_each_gets_it_once(tmp_path: Path) -> None:
    async with api(tmp_path) as running, client(running, retries=2) as postmark:
        running.mx.script("rcpt", "450 4.2.1 busy", to=CAROL)
        sent = await postmark.outbound.send(
            Email(sender="shop@example.com", to=f"{BOB}, {CAROL}", subject="Hi", text_body="Hello")
        )
        assert sent.success
        assert sorted(one.recipients[0] for one in running.mx.received) == [BOB, CAROL]


async def test_a_batch_that_is_repeated_after_a_cut_sends_each_message_once(tmp_path: Path) -> None:
    mails = [Email(sender="shop@example.com", to=each, subject="Hi", text_body=each) for each in (BOB, CAROL, DAVE)]
    async with api(tmp_path) as running:
        running.mx.script("rcpt", delay=1.5, to=CAROL)
        async with ServerClient(TOKEN, retries=3, timeout=1, base_url=running.url) as postmark:
            sent = await postmark.outbound.send_batch(mails)
        assert [each.error_code for each in sent] == [0, 0, 0]
        assert sorted(one.recipients[0] for one in running.mx.received) == [BOB, CAROL, DAVE]


async def test_equal_messages_of_a_batch_are_as_many_and_a_key_makes_the_repeat_send_none(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        for expected in (2, 4):
            status, answer = await post(running, "/email/batch", [body(BOB), body(BOB)])
            assert (status, [each["ErrorCode"] for each in answer]) == (200, [0, 0])
            assert running.mx.messages == expected
        key = {"Idempotency-Key": "order-7"}
        first, again = [await post(running, "/email/batch", [body(BOB), body(BOB)], **key) for _ in range(2)]
        assert [each["MessageID"] for each in first[1]] == [each["MessageID"] for each in again[1]]
        assert running.mx.messages == 6
        status, answer = await post(running, "/email", body(CAROL), **key)
        assert (status, answer["ErrorCode"]) == (422, 300)


async def test_the_test_token_checks_everything_and_sends_nothing(tmp_path: Path) -> None:
    async with api(tmp_path) as running, client(running, TEST) as postmark:
        mail = Email(sender="anybody@example.org", to=BOB, subject="Hi", text_body="Hello", message_stream="mine")
        sent = await postmark.outbound.send(mail)
        assert (sent.success, sent.message) == (True, "Test job accepted")
        status, answer = await post(running, "/email/batch", [body(MessageStream="mine"), body("x")], TEST)
        assert (status, [each["ErrorCode"] for each in answer]) == (200, [0, 300])
        assert (await post(running, "/email/withTemplate", by_template(), TEST))[1]["ErrorCode"] == 1101
        assert (await post(running, "/email/batch", [], TEST)) == (200, [])
        for path in ("/emails", "/v1/emails", "/v3/mail/send"):
            headers = {"Authorization": f"Bearer {TEST}"}
            assert (await running.call("POST", path, {}, token=TEST, headers=headers))[0] in (401, 403)
        assert running.mx.messages == 0


async def test_nulls_trailing_slashes_and_streams(tmp_path: Path) -> None:
    nothing = dict.fromkeys(
        ["Cc", "Bcc", "ReplyTo", "Headers", "Attachments", "Metadata", "Tag", "TrackOpens", "TrackLinks",
         "MessageStream", "HtmlBody"]
    )  # fmt: skip
    async with api(tmp_path) as running:
        assert (await post(running, "/email/", body(**nothing)))[0] == 200
        assert (await post(running, "/email", body(Headers=[{"Name": "X-A", "Value": None}])))[0] == 200
        for stream in ("news", "outbound", "broadcast"):
            assert (await post(running, "/email", body(MessageStream=stream)))[0] == 200
        await kept_template(running, "welcome", text="x")
        empty = {"TemplateId": None, "TemplateModel": None, "InlineCss": True}
        assert (await post(running, "//email/withTemplate/", by_template(**empty)))[0] == 200
        assert (await post(running, "/email/batchWithTemplates/", {"Messages": [by_template()]}))[0] == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"From": None}, "From"),
        ({"From": ""}, "From"),
        ({"From": "a@example.com, b@example.com"}, "From"),
        ({"From": "nobody"}, "From"),
        ({"To": None}, "To"),
        ({"To": ""}, "To"),
        ({"To": [BOB]}, "To"),
        ({"To": "a@b@c"}, "To"),
        ({"To": f"{BOB}\r\nBcc: x@y"}, "To"),
        ({"To": "(" * 50_000}, "To"),
        ({"To": "team: bob@example.net;"}, "To"),
        ({"Cc": "nobody"}, "Cc"),
        ({"Bcc": "nobody"}, "Bcc"),
        ({"Subject": "a\nBcc: x@y"}, "Subject"),
        ({"TextBody": None}, "HtmlBody"),
        ({"ReplyTo": "nobody"}, "ReplyTo"),
        ({"Headers": [{"Value": "x"}]}, "Headers.0.Name"),
        ({"Headers": [{"Name": "Bcc", "Value": "x@y"}]}, "Headers.Bcc"),
        ({"Headers": [{"Name": "X-A", "Value": "a\r\nb"}]}, "Headers.X-A"),
        ({"Attachments": [{"Name": "a", "Content": "%", "ContentType": "text/plain"}]}, "Attachments.0.content"),
        ({"Attachments": [{"Content": ""}]}, "Attachments.0.Name"),
        ({"Metadata": {"a": {}}}, "Metadata"),
        ({"Metadata": {"a": "x" * 20_000}}, "Metadata"),
        ({"MessageStream": "other"}, "MessageStream"),
    ],
)
async def test_bad_input_is_a_422_that_names_its_field(change: dict[str, Any], field: str, tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        status, answer = await post(running, "/email", body(**change))
        assert (status, answer["ErrorCode"]) == (422, 300)
        assert answer["Message"].startswith(f"{field}: ")
        status, rows = await post(running, "/email/batch", [body(CAROL), body(**change)])
        assert (status, [each["ErrorCode"] for each in rows]) == (200, [0, 300])
        assert rows[1]["Message"] == answer["Message"]
        assert running.mx.messages == 1


@pytest.mark.parametrize(
    ("path", "octets", "code"),
    [
        ("/email", b"", 300),
        ("/email", b"{", 402),
        ("/email", b"[]", 300),
        ("/email", b"null", 300),
        ("/email", b"\xff", 402),
        ("/email/batch", b"{}", 300),
        ("/email/batch", b"[" * 100_000, 402),
        ("/email/batch", b"[" + b"{}," * 500 + b"{}]", 410),
        ("/email/withTemplate", b'{"From":"shop@example.com","To":"bob@example.net"}', 300),
        ("/email/withTemplate", b'{"From":"a@b.c","To":"a@b.c","TemplateId":"x"}', 300),
        ("/email/batchWithTemplates", b"[]", 300),
        ("/email/batchWithTemplates", b'{"Messages":null}', 300),
    ],
)
async def test_no_body_gets_a_500(path: str, octets: bytes, code: int, tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        status, answer = await post(running, path, octets)
        assert (status, answer["ErrorCode"]) == (422, code)


async def test_a_row_of_a_batch_may_be_anything(tmp_path: Path) -> None:
    rows = [None, 1, "x", [], {}, [[]], {"From": 1, "To": {}}, body(BOB, TextBody=1.5)]
    async with api(tmp_path) as running:
        status, answer = await post(running, "/email/batch", rows)
        assert (status, [each["ErrorCode"] for each in answer]) == (200, [300] * 7 + [0])


async def test_what_the_operator_does_not_allow(tmp_path: Path) -> None:
    async with api(tmp_path, http_api="raw_html = false\nmax_copies = 2") as running:
        assert (await post(running, "/email", body()))[1]["Message"].startswith("HtmlBody: ")
        await kept_template(running, "welcome", text="x")
        status, answer = await post(running, "/email/withTemplate", by_template(BOB, CAROL, DAVE))
        assert (status, answer["ErrorCode"], answer["Message"][:3]) == (422, 300, "To:")
        many = {"Messages": [by_template(each) for each in (BOB, CAROL, DAVE)]}
        status, answer = await post(running, "/email/batchWithTemplates", many)
        assert (status, answer["ErrorCode"], answer["Message"][:3]) == (422, 300, "To:")
        assert running.mx.messages == 0


async def test_who_has_no_account_has_no_long_list_read(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        for path, data in (
            ("/email", body(TextBody="x" * 1_000_000)),
            ("/email/batch", [body(TextBody="x" * 2000)] * 485),
        ):
            status, answer = await post(running, path, data, TEST)
            assert (status, answer["Message"]) == (422, "a test may hold 1,000,000 octets"), path


@pytest.mark.parametrize(
    "header",
    [b"Content-Length: 1000001", b"Content-Length: 9\r\nContent-Encoding: gzip", b"Transfer-Encoding: chunked"],
)
async def test_who_has_no_account_has_nothing_read_that_may_be_long(header: bytes, tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.house.port("api"))
        writer.write(b"POST /email HTTP/1.1\r\nHost: x\r\nX-Postmark-Server-Token: %b\r\n" % TEST.encode())
        writer.write(header + b"\r\n\r\n")
        answered = await asyncio.wait_for(reader.readuntil(b"}"), 5)
        assert answered.startswith(b"HTTP/1.1 422 ")
        assert b'"Message":"a test ' in answered
        writer.close()
