"""MimePost's own client for Python, unchanged but for its host, against a running server: every call that it has.

It is of the API's first generation, of 2021, and asks for ``/v1//emails/`` where its host ends in a slash, as its own
does.
"""

import asyncio
import email
import email.policy
import json
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import MimePost
import pytest
from MimePost.rest import ApiException

from mtaframe import Message
from mtaframe.testing import ScriptedMx
from tests.end_to_end.api_server import api_server
from tests.plugins.api_house import BOB, CAROL, TOKEN
from tests.plugins.dkim_oracle import dkimpy_accepts

NAMES = {BOB: "Bob", CAROL: "Carol"}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def client(host: str, token: str = TOKEN) -> Any:
    configuration = MimePost.Configuration()
    configuration.host = host
    configuration.api_key["X-Auth-Token"] = token
    return MimePost.ApiClient(configuration)


def mail() -> Any:
    def named(name: str) -> Any:
        return [MimePost.EmailMergeVars(name="NAME", value=name)]

    return MimePost.Email(
        html="<p>Hello [NAME], it is [YEAR]</p>",
        subject="For [NAME]",
        from_email="shop@example.com",
        from_name="The Shop",
        global_merge_vars=[MimePost.EmailGlobalMergeVars(name="YEAR", value="2026")],
        to=[MimePost.EmailTo(email=address, merge_vars=named(name)) for address, name in NAMES.items()],
        cc=["cc@example.net"],
        bcc=["bcc@example.net"],
        attachments=[MimePost.EmailAttachments(name="a.txt", type="text/plain", content="aGk=")],
        vars={"invoice_id": "7"},
    )


@pytest.mark.parametrize("slash", ["", "/"], ids=["without a slash", "with a slash"])
async def test_every_call_of_the_client(slash: str, tmp_path: Path) -> None:
    async with ScriptedMx() as mx, api_server(tmp_path, mx) as server:
        api = client(f"{server.url}/v1{slash}")
        for calls in (sends, manages_domains, manages_webhooks, keeps_profile_and_settings, reads_figures):
            await asyncio.to_thread(calls, api)
        stats = await asyncio.to_thread(fetched, f"{server.url}/v1/stats/?start_date={today()}&end_date={today()}")
        assert stats["data"]["total_summary"]["delivered"]["count"] == 6
        assert list(stats["data"]["datewise_summary"]) == [today()]
    await arrived_as_two_messages(mx, server.dns)


def sends(api: Any) -> None:
    answer = MimePost.EmailsApi(api).send_email(mail())
    assert (answer.success, answer.error_code, answer.message) == (1, 0, "Mails accepted")


async def arrived_as_two_messages(mx: ScriptedMx, dns: Any) -> None:
    got = {recipient: one.raw for one in mx.received for recipient in one.recipients if recipient in NAMES}
    for address, name in NAMES.items():
        message = email.message_from_bytes(got[address], policy=email.policy.default)
        assert (message["To"], message["Subject"], message["From"]) == (
            address, f"For {name}", "The Shop <shop@example.com>",
        )  # fmt: skip
        assert message.get_body(("html",)).get_content().strip() == f"<p>Hello {name}, it is 2026</p>"  # type: ignore[union-attr]
        [attached] = message.iter_attachments()  # type: ignore[attr-defined]
        assert (attached.get_filename(), attached.get_content().strip()) == ("a.txt", "hi")
        assert json.loads(message["X-Vars"]) == {"invoice_id": "7"}
        assert dkimpy_accepts(Message.parse(got[address]), 0, dns)
    assert (len(mx.received), sum(len(one.recipients) for one in mx.received)) == (2, 6)


def manages_domains(api: Any) -> None:
    domains = MimePost.DomainsApi(api)
    listed = domains.domains_get()
    assert (listed.success, [(each.domain, each.status) for each in listed.data]) == (1, [("example.com", "APPROVED")])
    added = domains.domains_post(domain=MimePost.Domain(domain="new.example"))
    assert added.success == 1
    number = next(each.id for each in domains.domains_get().data if each.domain == "new.example")
    one = domains.domains_id_get(number)
    assert [(each.domain, each.status, each.verified) for each in one.data] == [("new.example", "NOT_VERIFIED", 0)]
    for verify in (domains.domains_id_verify_spf_post, domains.domains_id_verify_dkim_post):
        assert verify(number).message
    assert domains.domains_id_verify_tracking_post(number).message
    assert domains.domains_id_approve_post(number).success == 0, "it is not verified"
    assert domains.domains_id_delete(number).success == 1
    assert [each.domain for each in domains.domains_get().data] == ["example.com"]


def manages_webhooks(api: Any) -> None:
    webhooks = MimePost.WebhooksApi(api)
    body = {"desc": "mine", "url": "https://example.com/hook", "events": ["delivered"], "active": 1}
    number = webhooks.webhooks_post(webhook=MimePost.Webhook(**body)).data.id
    [listed] = webhooks.webhooks_get().data
    assert (listed.id, listed.url, listed.desc, listed.events) == (number, body["url"], "mine", ["delivered"])
    changed = MimePost.Webhook1(**{**body, "desc": "other"})
    assert webhooks.webhooks_id_put(number, webhook=changed).success == 1
    shown = webhooks.webhooks_id_get(number).data
    assert (shown.desc, shown.active) == ("other", 1)
    assert webhooks.webhooks_id_delete(number).success == 1
    assert webhooks.webhooks_get().data == []
    refused(lambda: webhooks.webhooks_id_get(number), 404)


def keeps_profile_and_settings(api: Any) -> None:
    accounts = MimePost.AccountsApi(api)
    assert accounts.account_profile_post(MimePost.AccountProfile(first_name="Ann", city="Graz")).success == 1
    profile = accounts.account_profile_get().data
    assert (profile.first_name, profile.city) == ("Ann", "Graz")
    assert accounts.settings_post(MimePost.AccountSettings(name="language", value="de")).success == 1
    setting = accounts.settings_get()
    assert (setting.name, setting.value) == ("language", "de")


def reads_figures(api: Any) -> None:
    stats = MimePost.StatsApi(api)
    logs = stats.emaillogs_get(today(), today(), status="delivered", to=BOB, page=1, limit=5)
    [row] = logs.data
    assert (row.to_email, row.status, row.details[:3]) == (BOB, "delivered", "250")
    assert row.message_id.endswith("@mta.example.com")
    assert stats.stats_get(today(), today()).success == 1


async def test_a_bad_token_is_the_clients_own_exception(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, api_server(tmp_path, mx) as server:
        api = client(f"{server.url}/v1", token="nothing")
        await asyncio.to_thread(lambda: refused(lambda: MimePost.DomainsApi(api).domains_get(), 401))


async def test_what_is_not_final_is_an_exception_and_the_repeat_is_not(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, api_server(tmp_path, mx) as server:
        mx.script("rcpt", "450 4.2.1 busy", to=CAROL)
        api = client(f"{server.url}/v1/")
        body = mail()
        body.cc = body.bcc = None
        await asyncio.to_thread(lambda: refused(lambda: MimePost.EmailsApi(api).send_email(body), 503))
        await asyncio.to_thread(MimePost.EmailsApi(api).send_email, body)
        assert sorted(one.recipients[0] for one in mx.received) == [BOB, CAROL]


def refused(call: Callable[[], Any], status: int) -> None:
    with pytest.raises(ApiException) as caught:
        call()
    assert caught.value.status == status
    assert json.loads(caught.value.body)["success"] == 0


def today() -> str:
    return datetime.now(UTC).strftime("%Y%m%d")


def fetched(url: str) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"X-Auth-Token": TOKEN})) as answer:
        return json.load(answer)
