"""http_api: domains, added, proven by the DNS, approved, used, and signed for."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import MimePost
import pytest
from click.testing import CliRunner

from mtaframe import CommandError, Message, OwnDomain, ProvenKey, ProvenSelector, author_domains
from mtaframe.cli import main
from mtaframe.settings import StateSettings
from mtaframe.state import open_state
from mtaframe.testing import RecordingMta, ScriptedDns, VirtualClock, account
from mtaframe_plugins.http_api import HttpApi
from mtaframe_plugins.http_api.domain_proofs import domain_name, is_included, selector
from mtaframe_plugins.http_api.domains import Domains
from mtaframe_plugins.http_api.templates import Template, Templates
from tests.plugins.api_house import ACCOUNTS, BOB, OTHER, TOKEN, Api, api, email
from tests.plugins.dkim_oracle import KeyFile, dkimpy_accepts, ed25519_key, signed_names
from tests.plugins.shared_state import views

HOST = "proven._domainkey.mta.example.com"
PLUGINS = ("admission", "merge_tags", "http_api", "dkim")
OLD = {"User-Agent": "Swagger-Codegen/1.0.0/python"}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    return ed25519_key(tmp_path_factory.mktemp("keys") / "proven.pem")


@asynccontextmanager
async def proving(folder: Path, key: KeyFile, *, dkim: str | None = None, **files: str) -> AsyncIterator[Any]:
    """A running API whose DNS the test writes, with a key for what is proven."""
    table = f'[proven]\ndomain = "mta.example.com"\nselector = "proven"\nfile = "{key.path}"\n'
    async with ScriptedDns({HOST: {"TXT": [key.record]}}) as dns:
        settings = f'[dns]\nservers = ["{dns.server}"]'
        written = {"dkim": table if dkim is None else dkim, **files}
        async with api(folder, PLUGINS, listener=settings, **written) as running:
            yield running, dns


async def post(running: Api, path: str, **more: Any) -> Any:
    status, answer = await running.call("POST", path, "{}", **more)
    assert status == 200
    return answer


async def added(running: Api, name: str = "new.example", **more: Any) -> int:
    status, answer = await running.call("POST", "/v1/domains/", {"domain": name}, **more)
    assert (status, answer["success"]) == (200, 1), answer
    return int(answer["data"]["domain_id"])


async def get(running: Api, number: int, **more: Any) -> Any:
    status, answer = await running.call("GET", f"/v1/domains/{number}", **more)
    assert status == 200
    return answer["data"]


def publish(dns: ScriptedDns, domain: Any) -> None:
    record = domain["required_dkim_record"]
    dns.set(record["HOST"], {record["TYPE"]: [f"{record['VALUE']}."]})


async def proven(running: Api, dns: ScriptedDns, name: str = "new.example", **more: Any) -> int:
    number = await added(running, name, **more)
    publish(dns, await get(running, number, **more))
    assert (await post(running, f"/v1/domains/{number}/verify_dkim/", **more))["success"] == 1
    return number


async def test_a_domain_is_added_proven_used_and_signed_for(tmp_path: Path, key: KeyFile) -> None:
    async with proving(tmp_path, key) as (running, dns):
        body = email(BOB, from_email="a@new.example")
        number = await added(running, " New.Example. ")
        whole = await get(running, number)
        assert (whole["domain"], whole["status"], whole["status_desc"]) == (
            "new.example", "NOT_VERIFIED", "not verified: DKIM",
        )  # fmt: skip
        assert (whole["verified"], whole["approved"], whole["spf_verified"], whole["dkim_verified"]) == (0, 0, 1, 0)
        assert whole["required_dkim_record"] == {
            "TYPE": "CNAME", "HOST": f"{whole['selector']}._domainkey.new.example", "VALUE": HOST,
        }  # fmt: skip
        assert (
            whole["required_spf_record"] == whole["required_tracking_record"] == {"TYPE": "", "HOST": "", "VALUE": ""}
        )
        status, answer = await running.call("POST", "/v1/emails", body)
        assert (status, "From domain" in answer["message"]) == (400, True)
        publish(dns, whole)
        answer = await post(running, f"/v1/domains/{number}/verify_dkim/")
        assert (answer["success"], answer["message"], answer["data"]) == (1, "DKIM verified", "")
        assert (await post(running, f"/v1/domains/{number}/approve/"))["success"] == 1
        whole = await get(running, number)
        assert (whole["status"], whole["verified"], whole["approved"], whole["active"]) == ("APPROVED", 1, 1, 1)
        assert (await running.call("POST", "/v1/emails", body))[0] == 200
        message = Message.parse(running.mx.received[0].raw)
        assert signed_names(message) == [("new.example", whole["selector"])]
        assert dkimpy_accepts(message, 0, {f"{whole['selector']}._domainkey.new.example": key.record})
        status, _ = await running.call("POST", "/v1/emails", body, token=OTHER)
        assert status == 400


async def test_a_record_of_its_own_with_the_same_key_does_as_well(tmp_path: Path, key: KeyFile) -> None:
    async with proving(tmp_path, key) as (running, dns):
        number = await added(running)
        host = (await get(running, number))["required_dkim_record"]["HOST"]
        answers = []
        for records in (["v=DKIM1; p=AAAA"], [key.record, "v=DKIM1; p=AAAA"], [key.record]):
            dns.set(host, {"TXT": records, "TTL": 1})
            answers.append((await post(running, f"/v1/domains/{number}/verify_dkim"))["message"])
            await asyncio.sleep(1.1)
        assert answers == ["DKIM not verified", "DKIM not verified", "DKIM verified"]


async def test_a_check_that_fails_is_a_200_without_success(tmp_path: Path, key: KeyFile) -> None:
    async with proving(tmp_path, key, http_api='spf_include = "spf.mta.example.com"') as (running, dns):
        number = await added(running)
        dns.fail("new.example", "SERVFAIL")
        answer = await post(running, f"/v1/domains/{number}/verify_spf")
        assert (answer["success"], answer["data"]) == (0, "")
        assert answer["message"] == "SPF not verified: the DNS gives no answer now; try again"
        dns.heal()
        dns.set("new.example", {"TXT": ["v=spf1 -all"], "TTL": 1})
        assert (await post(running, f"/v1/domains/{number}/verify_spf"))["message"] == "SPF not verified"
        answer = await post(running, f"/v1/domains/{number}/approve")
        assert (answer["success"], answer["message"]) == (0, "Domain not approved: not verified: DKIM and SPF")
        whole = await get(running, number)
        assert whole["required_spf_record"] == {
            "TYPE": "TXT", "HOST": "new.example", "VALUE": "v=spf1 include:spf.mta.example.com ~all",
        }  # fmt: skip
        publish(dns, whole)
        assert (await post(running, f"/v1/domains/{number}/verify_dkim"))["success"] == 1
        assert (await get(running, number))["status_desc"] == "not verified: SPF"
        await asyncio.sleep(1.1)
        dns.set("new.example", {"TXT": ["other", "v=spf1 a INCLUDE:spf.mta.example.com. ~all"], "TTL": 1})
        assert (await post(running, f"/v1/domains/{number}/verify_spf"))["success"] == 1
        assert (await post(running, f"/v1/domains/{number}/verify_tracking"))["success"] == 1
        assert (await get(running, number))["status"] == "APPROVED"


async def test_without_a_key_nothing_can_be_proven(tmp_path: Path, key: KeyFile) -> None:
    async with proving(tmp_path, key, dkim="") as (running, _):
        number = await added(running)
        answer = await post(running, f"/v1/domains/{number}/verify_dkim")
        assert (answer["success"], "has no key" in answer["message"]) == (0, True)
        assert (await get(running, number))["required_dkim_record"]["TYPE"] == ""


async def test_a_clients_generation_decides_the_form_of_one_domain(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        number = await added(running)
        [old] = await get(running, number, headers=OLD)
        assert old == await get(running, number)


async def test_the_files_domains_are_there_and_stay(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        [row] = (await running.call("GET", "/v1/domains/"))[1]["data"]
        assert (row["domain"], row["status"], row["verified"], row["status_desc"]) == (
            "example.com", "APPROVED", 1, "given by the operator",
        )  # fmt: skip
        assert row["id"] < 2**31
        assert (await get(running, row["id"]))["required_dkim_record"]["TYPE"] == ""
        assert await added(running, "example.com") == row["id"]
        for what in ("verify_spf", "verify_dkim", "verify_tracking", "approve"):
            assert (await post(running, f"/v1/domains/{row['id']}/{what}"))["success"] == 1
        status, answer = await running.call("DELETE", f"/v1/domains/{row['id']}", "{}")
        assert (status, "operator" in answer["message"]) == (400, True)
        assert len((await running.call("GET", "/v1/domains"))[1]["data"]) == 1


async def test_a_domain_that_is_deleted_is_used_no_more(tmp_path: Path, key: KeyFile) -> None:
    async with proving(tmp_path, key) as (running, dns):
        number = await proven(running, dns)
        status, answer = await running.call("DELETE", f"/v1/domains/{number}", {"domain": "new.example"})
        assert (status, answer["data"]) == (200, {"domain_id": str(number)})
        body = email(BOB, from_email="a@new.example")
        assert (await running.call("POST", "/v1/emails", body))[0] == 400
        again = await added(running)
        assert again != number
        assert (await post(running, f"/v1/domains/{again}/verify_dkim"))["success"] == 1, "the record is the same"


@pytest.mark.parametrize(
    "name",
    ["", "com", "a b.example", "-a.example", "a..example", "192.0.2.1", "x" * 64 + ".example", "a.b" * 90, "a_b",
     "ü" * 9999, "rival.example", "x\ud800.example"],
)  # fmt: skip
async def test_a_bad_or_anothers_domain_is_a_400(name: str, tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        status, answer = await running.call("POST", "/v1/domains", {"domain": name})
        assert (status, answer["success"]) == (400, 0), answer
        assert len((await running.call("GET", "/v1/domains"))[1]["data"]) == 1


async def test_what_is_not_there_is_a_404(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        number = await added(running)
        for path in ("x", "99", "9" * 5000, "١", str(number)):
            token = OTHER if path == str(number) else None
            more = {"token": token} if token else {}
            assert (await running.call("GET", f"/v1/domains/{path}", **more))[0] == 404
            assert (await running.call("DELETE", f"/v1/domains/{path}", **more))[0] == 404
            assert (await running.call("POST", f"/v1/domains/{path}/verify_dkim", **more))[0] == 404


async def test_what_one_account_has_proven_no_other_can_add(tmp_path: Path, key: KeyFile) -> None:
    async with proving(tmp_path, key) as (running, dns):
        await proven(running, dns)
        status, answer = await running.call("POST", "/v1/domains", {"domain": "new.example"}, token=OTHER)
        assert (status, answer["message"]) == (400, "domain: belongs to another account")


async def test_a_proof_that_is_gone_keeps_a_domain_from_nobody(key: KeyFile) -> None:
    clock = VirtualClock()
    public = key.record.partition("p=")[2]

    async def proven_key(_: ProvenKey) -> tuple[str, str]:
        return HOST, public

    host = f"{selector('shop', 'new.example')}._domainkey.new.example"
    async with ScriptedDns({host: {"TXT": [key.record]}}, ttl=60) as dns:
        accounts = [account("shop", domains=frozenset()), account("rival", domains=frozenset())]
        mta = RecordingMta(
            clock=clock, resolver=dns.resolver(clock), accounts=accounts, answers={ProvenKey: proven_key}
        )
        domains = Domains(mta, HttpApi.Config())
        domain = await domains.verified_key("shop", await domains.add("shop", "new.example"))
        assert domains.is_approved(domain)
        assert await domains.is_anothers("rival", "new.example")
        dns.fail(host, "SERVFAIL")
        clock.advance(61)
        assert await domains.is_anothers("rival", "new.example"), "no answer is no proof of the contrary"
        dns.heal()
        dns.set(host, None)
        assert not await domains.is_anothers("rival", "new.example")
        assert not await domains.is_own(OwnDomain("shop", "new.example"))


async def test_the_operator_has_the_last_word_where_domains_are_moderated(tmp_path: Path, key: KeyFile) -> None:
    async with proving(tmp_path, key, http_api="moderate_domains = true") as (running, dns):
        number = await proven(running, dns)
        body = email(BOB, from_email="a@new.example")
        whole = await get(running, number)
        assert (whole["status"], whole["approved"]) == ("WAITING_APPROVA", 0)
        answer = await post(running, f"/v1/domains/{number}/approve")
        assert (answer["success"], answer["message"]) == (1, "Domain waits for the operator's approval")
        assert (await running.call("POST", "/v1/emails", body))[0] == 400
        mta = running.house.mta
        [row] = await mta.command("http_api.approvals", {})
        assert (row["kind"], row["account"], row["name"], row["since"]) == (
            "domain", "shop", "new.example", whole["entered"],
        )  # fmt: skip
        decide = {"kind": "domain", "account": "shop", "name": "new.example"}
        await mta.command("http_api.decide", decide | {"verdict": "reject", "reason": "not yours"})
        whole = await get(running, number)
        assert (whole["status"], whole["status_desc"]) == ("NOT_VERIFIED", "rejected by the operator: not yours")
        assert (await post(running, f"/v1/domains/{number}/verify_dkim"))["success"] == 1
        assert (await post(running, f"/v1/domains/{number}/approve"))["success"] == 0
        assert (await running.call("POST", "/v1/emails", body))[0] == 400
        assert (await running.call("DELETE", f"/v1/domains/{number}"))[0] == 400, "else it could be added anew"
        said = await mta.command("http_api.decide", decide | {"verdict": "approve"})
        assert said == "domain new.example of shop: approved"
        assert await mta.command("http_api.approvals", {}) == []
        assert (await running.call("POST", "/v1/emails", body))[0] == 200


async def test_the_operator_approves_templates(tmp_path: Path) -> None:
    async with api(tmp_path, http_api="moderate_templates = true") as running:
        made = {"template_uid": "welcome", "name": "Welcome", "html_body": "<p>Hello</p>"}
        assert (await running.call("POST", "/v1/templates", made))[0] == 201
        body = email(html=None, template_uid="welcome")
        status, answer = await running.call("POST", "/v1/emails", body)
        assert (status, answer["error_code"]) == (404, 106)
        mta = running.house.mta
        assert [row["name"] for row in await mta.command("http_api.approvals", {})] == ["welcome"]
        decide = {"kind": "template", "account": "shop", "name": "welcome"}
        await mta.command("http_api.decide", decide | {"verdict": "approve"})
        whole = (await running.call("GET", "/v1/templates/welcome"))[1]["data"]
        assert (whole["status"], whole["moderated_by"]) == ("approved", "operator")
        assert whole["moderated_at"]
        assert (await running.call("POST", "/v1/emails", body))[0] == 200
        copied = (await running.call("POST", "/v1/templates/welcome/copy"))[1]["data"]["new_template_uid"]
        await running.call("PUT", "/v1/templates/welcome", {"html_body": "<p>Other</p>"})
        waiting = {row["name"] for row in await mta.command("http_api.approvals", {})}
        assert waiting == {"welcome", copied}
        assert (await running.call("POST", "/v1/emails", body))[0] == 404
        await mta.command("http_api.decide", decide | {"verdict": "reject", "reason": "rude"})
        whole = (await running.call("GET", "/v1/templates/welcome"))[1]["data"]
        assert (whole["status"], whole["rejection_reason"]) == ("rejected", "rude")
        assert (await running.call("GET", "/v1/templates?status=rejected"))[1]["total"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "account"},
        {"account": "nobody"},
        {"name": "other.example"},
        {"verdict": "perhaps"},
        {"kind": "template"},
    ],
)
async def test_a_decision_about_nothing_says_so(change: dict[str, str], tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        await added(running)
        decide = {"kind": "domain", "account": "shop", "name": "new.example", "verdict": "approve"} | change
        with pytest.raises(CommandError):
            await running.house.mta.command("http_api.decide", decide)
        assert (await running.call("GET", "/v1/domains"))[1]["data"][1]["approved"] == 0


async def test_an_account_may_add_so_many(tmp_path: Path) -> None:
    async with api(tmp_path, http_api="max_domains = 1") as running:
        number = await added(running)
        assert await added(running) == number, "the same again is the same"
        status, answer = await running.call("POST", "/v1/domains", {"domain": "more.example"})
        assert (status, "no more" in answer["message"]) == (400, True)


async def test_all_workers_know_at_once_and_nothing_is_asked_for_who_has_none(key: KeyFile) -> None:
    clock = VirtualClock()

    async def proven_key(_: ProvenKey) -> tuple[str, str]:
        return HOST, key.record.partition("p=")[2]

    host = f"{selector('shop', 'new.example')}._domainkey.new.example"
    async with ScriptedDns({host: {"CNAME": f"{HOST}."}, HOST: {"TXT": [key.record]}}) as dns:
        accounts = [account("shop", domains=frozenset()), account("branch", parent="shop", domains=frozenset())]
        one, other = (
            Domains(
                RecordingMta(
                    clock=clock,
                    resolver=dns.resolver(clock),
                    accounts=accounts,
                    answers={ProvenKey: proven_key},
                    state=view,
                ),
                HttpApi.Config(),
            )
            for view in views(clock)
        )
        own, branch = OwnDomain("shop", "new.example"), ProvenSelector("branch", "new.example")
        assert not await other.is_own(own)
        domain = await one.add("shop", "new.example")
        assert not await other.is_own(own)
        await one.verified_key("shop", domain)
        assert await other.is_own(own)
        assert not await other.is_own(OwnDomain("branch", "new.example"))
        assert await other.proven_selector(branch) == domain.selector
        await other.drop("shop", domain)
        assert not await one.is_own(own)
        assert await one.proven_selector(branch) is None
        late = await one.seen("shop", domain, has_key=True)
        assert late.has_key
        assert await one.all("shop") == [], "what was deleted meanwhile stays so"


async def test_the_file_wins_over_what_was_proven(tmp_path: Path, key: KeyFile) -> None:
    async with proving(tmp_path, key) as (running, dns):
        await proven(running, dns)
        body = email(BOB, from_email="a@new.example")
        assert (await running.call("POST", "/v1/emails", body))[0] == 200
        running.house.write("accounts.toml", ACCOUNTS.replace('"rival.example"', '"rival.example", ".example"'))
        await running.house.mta.reload()
        status, answer = await running.call("POST", "/v1/emails", body)
        assert (status, "From domain" in answer["message"]) == (400, True)


async def test_what_was_added_is_no_text_in_the_state_file_and_outlives_a_restart(tmp_path: Path) -> None:
    clock, settings = VirtualClock(), StateSettings(folder=str(tmp_path / "state"))
    accounts = [account("shop")]
    state = await open_state(settings, tmp_path, clock)
    mta = RecordingMta(clock=clock, accounts=accounts, state=state)
    await Domains(mta, HttpApi.Config()).add("shop", "canary-domain.example")
    await Templates(mta).add("shop", Template(0, "canary-uid", "canary-name", text="canary-text"), 1)
    await state.close()
    octets = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert octets
    assert b"canary" not in octets
    state = await open_state(settings, tmp_path, clock)
    mta = RecordingMta(clock=clock, accounts=accounts, state=state)
    assert [each.name for each in await Domains(mta, HttpApi.Config()).all("shop")][1:] == ["canary-domain.example"]
    found = await Templates(mta).find("shop", "canary-uid")
    assert found is not None
    assert found.text == "canary-text"
    await state.close()


def test_a_domain_has_the_form_that_it_has_in_a_from_field() -> None:
    message = Message.parse("From: a@B\u00dccher.example\r\n\r\n".encode())
    for text in ("B\u00fccher.example", "Bu\u0308cher.example", "xn--bcher-kva.EXAMPLE."):
        assert {domain_name(text)} == author_domains(message)


def test_an_spf_record_is_one_and_names_us() -> None:
    assert is_included(["v=spf1 +include:spf.example ~all"], "spf.example")
    for records in (
        [],
        ["v=spf1 include:spf.example.org -all"],
        ["v=spf1 -include:spf.example -all"],
        ["v=spf10 include:spf.example"],
        ["v=spf1 include:spf.example", "v=spf1 -all"],
    ):
        assert not is_included(records, "spf.example")


# By the programs that are there for it.


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("slash", ["", "/"])
async def test_mimeposts_own_client_reads_all_of_it(slash: str, tmp_path: Path, key: KeyFile) -> None:
    async with proving(tmp_path, key) as (running, dns):
        client = MimePost.DomainsApi(MimePost.ApiClient(MimePost.Configuration()))
        client.api_client.configuration.host = f"{running.url}/v1{slash}"
        client.api_client.configuration.api_key["X-Auth-Token"] = TOKEN

        async def called(name: str, *arguments: Any, **more: Any) -> Any:
            return await asyncio.to_thread(getattr(client, name), *arguments, **more)

        assert (await called("domains_post", domain={"domain": "new.example"})).success == 1
        given, added_one = (await called("domains_get")).data
        assert (given.domain, given.status) == ("example.com", "APPROVED")
        [single] = (await called("domains_id_get", added_one.id)).data
        assert (single.domain, single.selector, single.status, single.approved) == (
            "new.example", added_one.selector, "NOT_VERIFIED", 0,
        )  # fmt: skip
        assert (await called("domains_id_approve_post", single.id)).success == 0
        dns.set(f"{single.selector}._domainkey.new.example", {"CNAME": f"{HOST}."})
        assert (await called("domains_id_verify_dkim_post", single.id)).success == 1
        assert (await called("domains_id_verify_spf_post", single.id)).success == 1
        assert (await called("domains_id_verify_tracking_post", single.id)).success == 1
        assert (await called("domains_id_approve_post", single.id)).success == 1
        assert [each.status for each in (await called("domains_get")).data] == ["APPROVED"] * 2
        assert (await called("domains_id_delete", single.id)).success == 1
        with pytest.raises(MimePost.rest.ApiException) as caught:
            await called("domains_id_get", single.id)
        assert caught.value.status == 404


async def test_the_command_line_shows_and_decides_what_waits(tmp_path: Path) -> None:
    async with api(tmp_path, http_api="moderate_templates = true") as running:
        for uid in ("one", "two"):
            made = {"template_uid": uid, "name": "Welcome", "text_body": "Hello"}
            assert (await running.call("POST", "/v1/templates", made))[0] == 201

        async def run(*arguments: str, code: int = 0) -> str:
            command = [*arguments, "--conf", str(tmp_path)]
            answer = await asyncio.to_thread(CliRunner().invoke, main, command)
            assert answer.exit_code == code, answer.output
            return answer.output

        rows = json.loads(await run("approvals", "list", "--json"))
        assert [(row["kind"], row["account"], row["name"]) for row in rows] == [
            ("template", "shop", "one"), ("template", "shop", "two"),
        ]  # fmt: skip
        shown = await run("approvals", "show", "template", "shop", "one")
        assert shown.startswith("kind     template\naccount  shop\nname     one\ntitle    Welcome\nstatus   pending\n")
        assert "\ntext:\nHello\n" in shown
        version = json.loads(await run("approvals", "show", "template", "shop", "one", "--json"))["version"]
        approve = f"approvals approve template shop one --seen {version}"
        assert shown.endswith(f"\nmtaframe {approve}\n")
        assert (await running.call("PUT", "/v1/templates/one", {"text_body": "Something else"}))[0] == 200
        assert "it was changed since" in await run(*approve.split(), code=3)
        version = json.loads(await run("approvals", "show", "template", "shop", "one", "--json"))["version"]
        seen = ("--seen", version)
        assert await run("approvals", "approve", "template", "shop", "one", *seen) == "template one of shop: approved\n"
        assert "no such template" in await run("approvals", "show", "template", "shop", "three", code=3)
        await run("approvals", "reject", "template", "shop", "two", "--reason", "rude")
        assert (await running.call("GET", "/v1/templates/two"))[1]["data"]["rejection_reason"] == "rude"
        assert await run("approvals", "list") == "none\n"
        statuses = [row["status"] for row in (await running.call("GET", "/v1/templates"))[1]["data"]]
        assert statuses == ["approved", "rejected"]
