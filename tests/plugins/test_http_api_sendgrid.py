"""http_api: SendGrid's POST /v3/mail/send, as its own client library sends it and as nobody should."""

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sendgrid
from python_http_client.exceptions import BadRequestsError, ServiceUnavailableError, UnauthorizedError
from sendgrid.helpers import mail as words

from mtaframe import Message, Plugin, hookimpl
from tests.plugins.api_house import BOB, CAROL, DAVE, TOKEN, Api, api, by_recipient, kept_template, parsed

PATH = "/v3/mail/send"


def body(*to: str, **more: Any) -> dict[str, Any]:
    personalizations = [{"to": [{"email": each}]} for each in to or (BOB,)]
    return {
        "personalizations": personalizations,
        "from": {"email": "shop@example.com"},
        "subject": "Hi",
        "content": [{"type": "text/plain", "value": "Hello"}],
    } | more


async def post(running: Api, data: Any, token: str = TOKEN, **headers: str) -> tuple[int, Any]:
    return await running.call("POST", PATH, data, token=None, headers={"Authorization": f"Bearer {token}", **headers})


def client(running: Api, token: str = TOKEN) -> Any:
    return sendgrid.SendGridAPIClient(token, host=running.url)


async def test_the_official_client_sends_and_each_personalization_is_a_message(tmp_path: Path) -> None:
    mail = words.Mail(
        from_email=words.From("shop@example.com", "Der Händler"),
        subject="For -name-",
        plain_text_content="Hello -name-",
        html_content="<p>Hello -name-</p>",
    )
    for address, name in ((BOB, "Bob <b>"), (CAROL, "Carol")):
        one = words.Personalization()
        one.add_to(words.To(address, name))
        one.add_substitution(words.Substitution("-name-", name))
        one.add_cc(words.Cc("cc@example.net"))
        one.add_bcc(words.Bcc("secret@example.net"))
        one.add_header(words.Header("X-For", "you"))
        mail.add_personalization(one)
    mail.reply_to = words.ReplyTo("help@example.com", "Help")
    mail.add_header(words.Header("List-Unsubscribe", "<https://example.com/u>"))
    mail.add_category(words.Category("news"))
    mail.add_custom_arg(words.CustomArg("order", "7"))
    mail.add_attachment(
        words.Attachment(
            words.FileContent(base64.b64encode(b"%PDF-").decode()), words.FileName("Rechnung.pdf"),
            words.FileType("application/pdf"), words.Disposition("attachment"),
        )
    )  # fmt: skip
    mail.add_attachment(
        words.Attachment(
            words.FileContent("iVBORw0KGgo="), words.FileName("logo.png"), words.FileType("image/png"),
            words.Disposition("inline"), words.ContentId("logo"),
        )
    )  # fmt: skip
    async with api(tmp_path) as running:
        answer = await asyncio.to_thread(client(running).send, mail)
        assert (answer.status_code, answer.body) == (202, b"")
        assert sum(len(one.recipients) for one in running.mx.received) == 6
        got = by_recipient(running)
        assert [got[each]["To"] for each in (BOB, CAROL)] == [f'"Bob <b>" <{BOB}>', f"Carol <{CAROL}>"]
        first = f"<{answer.headers['X-Message-Id']}@mta.example.com>"
        assert first == got[CAROL]["Message-ID"] != got[BOB]["Message-ID"]  # the library puts the last one first
        assert [got[each]["Subject"] for each in (BOB, CAROL)] == ["For Bob <b>", "For Carol"]
        for message in got.values():
            assert message["From"] == "Der Händler <shop@example.com>"
            assert message["Cc"] == "cc@example.net"
            assert message["Reply-To"] == "Help <help@example.com>"
            assert (message["X-For"], message["List-Unsubscribe"]) == ("you", "<https://example.com/u>")
            assert json.loads(message["X-Vars"]) == {"order": "7", "category": "news"}
            assert b"secret@" not in message.as_bytes()
            [pdf] = list(message.iter_attachments())
            assert (pdf.get_filename(), pdf.get_content()) == ("Rechnung.pdf", b"%PDF-")
            [image] = [part for part in message.walk() if part.get_content_type() == "image/png"]
            assert image["Content-ID"] == "<logo>"
        assert got[BOB].get_body(("html",)).get_content().strip() == "<p>Hello Bob &lt;b&gt;</p>"
        assert got[CAROL].get_body(("plain",)).get_content().strip() == "Hello Carol"


async def test_recipients_of_one_personalization_see_each_other(tmp_path: Path) -> None:
    mail = words.Mail("shop@example.com", [words.To(BOB), words.To(CAROL)], "Hi", "Hello")
    async with api(tmp_path) as running:
        await asyncio.to_thread(client(running).send, mail)
        got = by_recipient(running)
        assert [got[each]["To"] for each in (BOB, CAROL)] == [f"{BOB}, {CAROL}"] * 2
        assert got[BOB]["Message-ID"] == got[CAROL]["Message-ID"]


async def test_a_personalization_has_a_subject_sender_fields_and_custom_data_of_its_own(tmp_path: Path) -> None:
    data = body(headers={"X-A": "all", "X-B": "all"}, custom_args={"a": "all", "b": "all"})
    data["personalizations"] = [
        {"to": [{"email": BOB}]},
        {
            "to": [{"email": CAROL}],
            "from": {"email": "news@example.com", "name": "News"},
            "subject": "Own",
            "headers": {"x-a": "own"},
            "custom_args": {"a": 1, "c": True},
        },
        {"to": [{"email": DAVE}]},
    ]
    async with api(tmp_path) as running:
        assert (await post(running, data))[0] == 202
        got = by_recipient(running)
        for each in (BOB, DAVE):
            assert (got[each]["Subject"], got[each]["From"]) == ("Hi", "shop@example.com")
            assert json.loads(got[each]["X-Vars"]) == {"a": "all", "b": "all"}
        assert (got[CAROL]["Subject"], got[CAROL]["From"]) == ("Own", "News <news@example.com>")
        assert got[CAROL].get_all("X-A") == ["own"]
        assert got[CAROL]["X-B"] == "all"
        assert json.loads(got[CAROL]["X-Vars"]) == {"a": "1", "b": "all", "c": "true"}
        assert len({message["Message-ID"] for message in got.values()}) == 3


async def test_a_stored_template_with_its_own_subject_is_filled_in(tmp_path: Path) -> None:
    data = body(template_id="d-welcome", content=None, subject=None)
    items = [{"title": "Tea"}, {"title": "<Cup>"}]
    data["personalizations"] = [
        {"to": [{"email": each}], "dynamic_template_data": {"name": name, "items": items}}
        for each, name in ((BOB, "Bob"), (CAROL, "Carol"))
    ]
    html = "<p>{{ name }}{% for item in items %}, {{ item.title }}{% endfor %}</p>"
    async with api(tmp_path) as running:
        await kept_template(running, "welcome", html=html, subject="For {{name}}")
        assert (await post(running, data))[0] == 202
        got = by_recipient(running)
        assert [got[each]["Subject"] for each in (BOB, CAROL)] == ["For Bob", "For Carol"]
        assert got[CAROL].get_content().strip() == "<p>Carol, Tea, &lt;Cup&gt;</p>"
        assert (await post(running, data | {"template_id": "d-other"}))[1]["errors"][0]["field"] == "template_id"


async def test_what_one_is_told_of_trouble_is_an_error_of_the_official_client(tmp_path: Path) -> None:
    mail = words.Mail("shop@example.com", [words.To(BOB), words.To(CAROL)], "Hi", "Hello")
    async with api(tmp_path) as running:
        with pytest.raises(UnauthorizedError) as refused:
            await asyncio.to_thread(client(running, "SG.wrong").send, mail)
        assert refused.value.to_dict["errors"][0]["message"].startswith("The provided authorization grant is invalid")
        running.mx.script("rcpt", "450 4.2.1 busy", to=CAROL)
        with pytest.raises(ServiceUnavailableError) as deferred:
            await asyncio.to_thread(client(running).send, mail)
        assert deferred.value.headers["Retry-After"] == "60"
        assert "1 of 2 recipients are not final yet" in deferred.value.to_dict["errors"][0]["message"]
        assert (await asyncio.to_thread(client(running).send, mail)).status_code == 202
        assert sorted(one.recipients[0] for one in running.mx.received) == [BOB, CAROL]
        running.mx.script("rcpt", "550 5.1.1 no such user", to=BOB, always=True)
        with pytest.raises(BadRequestsError) as failed:
            await asyncio.to_thread(client(running).send, words.Mail("shop@example.com", BOB, "Hi", "Hello"))
        assert failed.value.to_dict["errors"] == [{"message": "550 5.1.1 no such user", "field": None, "help": None}]


async def test_the_repeat_of_a_call_with_several_messages_sends_what_was_not_final(tmp_path: Path) -> None:
    data = body(BOB, CAROL, DAVE)
    for number, each in enumerate(data["personalizations"]):
        each["subject"] = f"Number {number}"
    async with api(tmp_path) as running:
        running.mx.script("rcpt", "450 4.2.1 busy", to=CAROL)
        status, answer = await post(running, data)
        assert status == 503
        assert [each["status"] for each in answer["results"]] == ["delivered", "deferred", "delivered"]
        assert (await post(running, data))[0] == 202
        assert sorted(one.recipients[0] for one in running.mx.received) == [BOB, CAROL, DAVE]
        assert (await post(running, data))[0] == 202  # on purpose: all had it
        assert running.mx.messages == 6


async def test_data_of_a_template_that_is_none_changes_no_word(tmp_path: Path) -> None:
    data = body(BOB, content=[{"type": "text/plain", "value": "Your name, {{name}}"}], subject="A name")
    data["personalizations"][0]["dynamic_template_data"] = {"name": "Joe", "e": "x", "items": [1]}
    data["personalizations"][0]["substitutions"] = {"Your": "My"}
    async with api(tmp_path) as running:
        assert (await post(running, data))[0] == 202
        message = by_recipient(running)[BOB]
        assert (message["Subject"], message.get_content().strip()) == ("A name", "My name, {{name}}")


async def test_under_an_idempotency_key_a_repeat_sends_nothing(tmp_path: Path) -> None:
    data = body(BOB, CAROL)
    data["personalizations"][1]["subject"] = "Own"
    key = {"Idempotency-Key": "order-7"}
    async with api(tmp_path) as running:
        assert [(await post(running, data, **key))[0] for _ in range(2)] == [202, 202]
        assert running.mx.messages == 2
        status, answer = await post(running, body(BOB), **key)
        assert (status, answer["errors"][0]["field"]) == (400, "Idempotency-Key")


async def test_the_sandbox_checks_everything_and_sends_nothing(tmp_path: Path) -> None:
    mail = words.Mail("shop@example.com", BOB, "Hi", "Hello")
    mail.mail_settings = words.MailSettings(sandbox_mode=words.SandBoxMode(enable=True))
    async with api(tmp_path) as running:
        assert (await asyncio.to_thread(client(running).send, mail)).status_code == 200
        sandbox = {"mail_settings": {"sandbox_mode": {"enable": True}}}
        assert (await post(running, body("nobody", **sandbox)))[0] == 400
        assert running.mx.messages == 0


async def test_what_is_passed_over_or_null_is_accepted(tmp_path: Path) -> None:
    data = body(
        asm={"group_id": 1}, tracking_settings={"click_tracking": {"enable": True}}, batch_id="x", ip_pool_name="y",
        categories="one", reply_to=None, reply_to_list=[{"email": "a@example.com"}, {"email": "b@example.com"}],
        attachments=None, headers=None, sections=None, custom_args=None, send_at=int(time.time()), template_id=None,
        mail_settings={"footer": {"enable": True}, "sandbox_mode": None},
    )  # fmt: skip
    data["personalizations"][0] |= {
        "cc": None, "bcc": None, "subject": None, "headers": None, "substitutions": None, "custom_args": None,
        "dynamic_template_data": None, "send_at": 1, "from": None,
    }  # fmt: skip
    async with api(tmp_path) as running:
        assert (await post(running, data))[0] == 202
        [received] = running.mx.received
        message = parsed(received.raw)
        assert message["Reply-To"] == "a@example.com, b@example.com"
        assert json.loads(message["X-Vars"]) == {"category": "one"}


FIRST = "personalizations.0"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"personalizations": []}, "personalizations"),
        ({"personalizations": None}, "personalizations"),
        ({"personalizations": [{}]}, f"{FIRST}.to"),
        ({"personalizations": [{"to": [{"name": "x"}]}]}, f"{FIRST}.to.0.email"),
        ({"personalizations": [{"to": [{"email": "a@b@c"}]}]}, f"{FIRST}.to.0.email"),
        ({"personalizations": [{"to": [{"email": BOB}], "cc": [{"email": "x"}]}]}, f"{FIRST}.cc.0.email"),
        ({"personalizations": [{"to": [{"email": BOB}], "subject": "a\nb"}]}, f"{FIRST}.subject"),
        ({"personalizations": [{"to": [{"email": BOB}], "headers": {"Bcc": "x"}}]}, f"{FIRST}.headers.Bcc"),
        ({"personalizations": [{"to": [{"email": BOB}], "substitutions": {"": "x"}}]}, f"{FIRST}.substitutions"),
        ({"personalizations": [{"to": [{"email": BOB}], "substitutions": {"a": []}}]}, f"{FIRST}.substitutions"),
        ({"personalizations": [{"to": [{"email": BOB}], "substitutions": {"a" * 65: "x"}}]}, f"{FIRST}.substitutions"),
        ({"personalizations": [{"to": [{"email": BOB}], "custom_args": {"a": {}}}]}, f"{FIRST}.custom_args"),
        ({"personalizations": [{"to": [{"email": BOB}], "send_at": 1 << 62}]}, f"{FIRST}.send_at"),
        ({"personalizations": [{"to": [{"email": BOB}], "from": {"email": "x"}}]}, f"{FIRST}.from.email"),
        ({"from": None}, "from"),
        ({"from": {"email": ""}}, "from.email"),
        ({"from": {"email": "shop@example.com", "name": "a\r\nBcc: x@y"}}, "from.email (name)"),
        ({"subject": None}, "subject"),
        ({"subject": "a\r\nBcc: x@y"}, "subject"),
        ({"content": []}, "content"),
        ({"content": [{"type": "text/calendar", "value": "x"}]}, "content.0.type"),
        ({"content": [{"type": "text/html", "value": "x"}] * 2}, "content.1.type"),
        ({"content": [{"type": "text/html"}]}, "content.0.value"),
        ({"template_id": "d-none"}, "content"),
        ({"template_id": "d-none", "content": None}, "template_id"),
        ({"reply_to": {"email": "a@b.c"}, "reply_to_list": [{"email": "a@b.c"}]}, "reply_to_list"),
        ({"reply_to": {"email": "nobody"}}, "reply_to.email"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, "headers.X-A"),
        ({"headers": {"X-A": []}}, "headers.X-A"),
        ({"attachments": [{"content": "%", "filename": "a"}]}, "attachments.0.content"),
        ({"attachments": [{"content": "", "type": "a\r\nb"}]}, "attachments.0.type"),
        ({"attachments": [{"content": "", "disposition": "inline", "content_id": "a b"}]}, "attachments.0.content_id"),
        ({"sections": {"a": "b"}}, "sections"),
        ({"custom_args": {"a": "x" * 20_000}}, "custom_args"),
        ({"send_at": int(time.time()) + 100_000}, "send_at"),
        ({"send_at": "soon"}, "send_at"),
        ({"categories": [1, []]}, "categories.1"),
    ],
)
async def test_bad_input_is_a_400_that_names_its_field(change: dict[str, Any], field: str, tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        status, answer = await post(running, body(**change))
        [error] = answer["errors"]
        assert (status, error["field"]) == (400, field), answer
        assert running.mx.messages == 0


@pytest.mark.parametrize("octets", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000])
async def test_no_body_gets_a_500(octets: bytes, tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        status, answer = await post(running, octets)
        assert (status, len(answer["errors"])) == (400, 1)


async def test_all_names_of_substitutions_together_are_bounded(tmp_path: Path) -> None:
    data = body()
    data["personalizations"] = [
        {"to": [{"email": f"u{each}@example.net"}], "substitutions": {f"{each:060}": "x"}} for each in range(400)
    ]
    async with api(tmp_path) as running:
        status, answer = await post(running, data)
        assert (status, answer["errors"][0]["field"]) == (400, "personalizations")


async def test_what_the_operator_or_the_account_does_not_allow(tmp_path: Path) -> None:
    async with api(tmp_path, http_api="raw_html = false\nmax_copies = 2") as running:
        assert (await post(running, body()))[1]["errors"][0]["field"] == "content"
        await kept_template(running, "welcome", html="<p>x</p>")
        three = body(BOB, CAROL, DAVE, content=None, template_id="d-welcome")
        assert (await post(running, three))[1]["errors"][0]["field"] == "personalizations"
        assert (await post(running, three | {"personalizations": three["personalizations"][:2]}))[0] == 202
        status, answer = await post(running, body(), **{"On-Behalf-Of": "other"})
        assert (status, answer["errors"][0]["field"]) == (403, "On-Behalf-Of")


class Bodies(Plugin):
    """Keeps each message's body."""

    kept: ClassVar[list[bytes]] = []

    @hookimpl
    def on_data(self, message: Message) -> None:
        Bodies.kept.append(message.body)


async def test_messages_of_one_call_share_their_content_in_memory(tmp_path: Path) -> None:
    data = body(*(f"u{number}@example.net" for number in range(60)))
    for number, each in enumerate(data["personalizations"]):
        each["subject"] = f"Number {number}"
    data["attachments"] = [{"content": base64.b64encode(bytes(100_000)).decode(), "filename": "a.bin"}]
    async with api(tmp_path, classes={"bodies": Bodies}) as running:
        assert (await post(running, data))[0] == 202
        assert running.mx.messages == 60
        assert len(Bodies.kept) == 60
        assert len({id(each) for each in Bodies.kept}) == 1
