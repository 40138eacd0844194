"""The HTTP API on a real server with two workers: a thousand recipients, kills, and what every worker knows."""

import asyncio
import email
import email.policy
import json
import os
import random
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mtaframe import Message
from mtaframe.testing import ScriptedMx
from tests.end_to_end.api_server import ApiServer, api_server
from tests.plugins.api_house import BOB, CAROL, DAVE, TOKEN
from tests.plugins.api_house import email as body
from tests.plugins.dkim_oracle import dkimpy_accepts

MANY = 1000
CANARY = re.compile(r"canary(\d+)x")
RECIPIENT = re.compile(r"reader(\d+)@")


def read(raw: bytes) -> Any:
    return email.message_from_bytes(raw, policy=email.policy.default)


async def test_a_thousand_recipients_with_cc_and_bcc_get_what_is_theirs_and_nothing_else(tmp_path: Path) -> None:
    to = [
        {"email": f"reader{n}@example.net", "merge_vars": [{"name": "NAME", "value": f"canary{n}x <&>"}]}
        for n in range(MANY)
    ]
    mail = body(
        to=to,
        cc=["copy@example.org"],
        bcc=["blind@example.org"],
        subject="For [NAME]",
        html='<p>Hello [NAME], <a href="https://example.com/?u=[NAME]">yours</a></p>',
        text="Hello [NAME]",
    )
    async with ScriptedMx() as mx, api_server(tmp_path, mx) as server:
        status, answer = await server.call("POST", "/v1/emails", mail)
        assert status == 200, answer
        assert Counter(each["status"] for each in answer["results"]) == {"delivered": 3 * MANY}
        assert len({each["id"] for each in answer["results"]}) == 3 * MANY
    got = Counter(recipient for one in mx.received for recipient in one.recipients)
    assert got == {**{f"reader{n}@example.net": 1 for n in range(MANY)}, "copy@example.org": MANY,
                   "blind@example.org": MANY}  # fmt: skip
    for one in mx.received:
        message = read(one.raw)
        number = RECIPIENT.search(message["To"])[1]  # type: ignore[index]
        for recipient in one.recipients:
            assert recipient in (f"reader{number}@example.net", "copy@example.org", "blind@example.org")
        texts = [part.get_content() for part in message.walk() if not part.is_multipart()]
        everything = "\n".join([one.raw.decode("latin-1"), message["Subject"], *texts])
        assert set(CANARY.findall(everything)) == {number}
        assert set(RECIPIENT.findall(everything)) == {number}
        assert "blind" not in everything
        assert message["Cc"] == "copy@example.org"
        assert message["Subject"] == f"For canary{number}x <&>"
        assert f"Hello canary{number}x &lt;&amp;&gt;, " in texts[1]
        assert f"?u=canary{number}x%20%3C%26%3E" in texts[1]
    for one in random.sample(mx.received, 20):
        assert dkimpy_accepts(Message.parse(one.raw), 0, server.dns)


async def test_what_one_worker_sent_every_worker_shows(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, api_server(tmp_path, mx) as server:
        for _ in range(6):
            assert (await server.call("POST", "/v1/emails", body(BOB)))[0] == 200
        for _ in range(4):
            _, logs = await server.call("GET", "/v1/emaillogs?status=delivered")
            assert logs["total"] == 6
        assert "bob" not in server.mtaframe.log


async def test_of_other_bodies_under_one_key_at_the_same_moment_one_is_taken_and_the_others_are_told(
    tmp_path: Path,
) -> None:
    async with ScriptedMx() as mx, api_server(tmp_path, mx) as server:
        for key in ("one", "two", "three"):
            mx.received.clear()
            calls = [server.call("POST", "/v1/emails", body(subject=f"{key} {n}"), key=key) for n in range(4)]
            answers = await asyncio.gather(*calls)
            assert sorted(status for status, _ in answers) == [200, 422, 422, 422]
            assert mx.messages == 1


async def test_equal_batches_without_a_key_at_the_same_moment_are_one_mail_and_so_are_their_repeats(
    tmp_path: Path,
) -> None:
    batch = [{"From": "shop@example.com", "To": f"{BOB}, {CAROL}", "Subject": "Hi", "TextBody": "Hello"}]
    async with ScriptedMx() as mx, api_server(tmp_path, mx) as server:
        for number in range(3):
            mx.received.clear()
            batch[0]["Subject"] = f"Hi {number}"
            mx.script("rcpt", "450 4.2.1 busy", to=CAROL)
            answers = await asyncio.gather(*(server.call("POST", "/email/batch", batch) for _ in range(4)))
            assert len({answer[0]["MessageID"] for _, answer in answers}) == 1
            status, answer = await server.call("POST", "/email/batch", batch)
            assert (status, answer[0]["ErrorCode"]) == (200, 0)
            assert Counter(one.recipients[0] for one in mx.received) == {BOB: 1, CAROL: 1}


async def test_who_goes_and_comes_again_at_once_without_a_key_gets_one_mail(tmp_path: Path) -> None:
    """Another worker may hear of the second call before the first one hears that its client has gone."""
    async with ScriptedMx() as mx, api_server(tmp_path, mx) as server:
        for number in range(10):
            mx.received.clear()
            mx.arrived.clear()
            mx.script("dot", delay=0.3)
            octets = request(json.dumps(body(subject=f"{number}")).encode())
            (_, gone), (reader, writer) = [await connected(server.url) for _ in range(2)]
            gone.write(octets)
            async with asyncio.timeout(10):
                while not mx.arrived:
                    await asyncio.sleep(0.01)
            gone.transport.abort()
            writer.write(octets)
            assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 200 ")
            writer.close()
            await asyncio.sleep(0.4)
            assert mx.messages == 1, number


async def test_settings_that_are_changed_at_the_same_moment_are_all_changed(tmp_path: Path) -> None:
    names = [f"name-{number}" for number in range(10)]
    async with ScriptedMx() as mx, api_server(tmp_path, mx) as server:
        calls = [server.call("POST", "/v1/settings", {"name": name, "value": name}) for name in names]
        assert {status for status, _ in await asyncio.gather(*calls)} == {200}
        assert (await server.call("GET", "/v1/settings"))[1]["data"] == {name: name for name in names}
        await server.call("POST", "/v1/settings", {"name": names[3], "value": None})
        await server.call("POST", "/v1/settings", {"name": names[5], "value": "other"})
        _, answer = await server.call("GET", "/v1/settings")
        assert (answer["name"], answer["value"], len(answer["data"])) == (names[5], "other", 9)


async def connected(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))


def request(data: bytes) -> bytes:
    head = f"POST /v1/emails HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {TOKEN}\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


@pytest.mark.parametrize("whole", [True, False], ids=["the server", "its workers"])
async def test_a_kill_between_call_and_answer_and_a_repeat_is_one_mail_each(whole: bool, tmp_path: Path) -> None:
    """Bob has the mail already; Carol's next hop had not yet taken it. Neither is lost, and neither gets it twice."""
    async with ScriptedMx() as mx, api_server(tmp_path, mx) as server:
        mx.script("rcpt", delay=30, to=CAROL)
        call = asyncio.create_task(server.call("POST", "/v1/emails", body(BOB, CAROL, DAVE), key="order-7"))
        async with asyncio.timeout(10):
            while mx.messages < 2:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        if whole:
            await server.mtaframe.stop(kill=True)
        else:
            await killed_workers(server)
        with pytest.raises(aiohttp.ClientError):
            await call
        if whole:
            await server.mtaframe.start()
        mx.unscript()
        status, answer = await again(server, body(BOB, CAROL, DAVE), "order-7")
        assert (status, [each["status"] for each in answer["results"]]) == (200, ["delivered"] * 3)
        assert Counter(one.recipients[0] for one in mx.received) == {BOB: 1, CAROL: 1, DAVE: 1}
        assert (await server.call("POST", "/v1/emails", body(BOB, subject="x"), key="order-7"))[0] == 422


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_kills_at_any_moment_lose_nothing(tmp_path: Path) -> None:
    """Twice gets a mail only who was between the next hop's answer and our note of it: one in hundreds, if any."""
    addresses = [f"r{n}@example.net" for n in range(20)]
    rounds, twice = 30, 0
    async with ScriptedMx() as mx, api_server(tmp_path, mx) as server:
        for number in range(rounds):
            mx.received.clear()
            for address in addresses:
                mx.script("rcpt", delay=random.uniform(0, 0.4), to=address)
            mail = body(*addresses, subject=f"round {number}")
            call = asyncio.create_task(server.call("POST", "/v1/emails", mail, key=f"round-{number}"))
            await asyncio.sleep(random.uniform(0.05, 0.6))
            await server.mtaframe.stop(kill=True)
            await asyncio.gather(call, return_exceptions=True)
            mx.unscript()
            await server.mtaframe.start()
            status, _ = await again(server, mail, f"round-{number}")
            assert status == 200
            got = Counter(recipient for one in mx.received for recipient in one.recipients)
            assert set(got) == set(addresses), "lost"
            twice += sum(count - 1 for count in got.values())
    assert twice <= rounds * len(addresses) / 100


async def again(server: ApiServer, mail: Any, key: str) -> tuple[int, Any]:
    """The same call until it has its final answer."""
    async with asyncio.timeout(30):
        while True:
            try:
                status, answer = await server.call("POST", "/v1/emails", mail, key=key)
            except aiohttp.ClientError:
                status, answer = 503, None
            if status != 503:
                return status, answer
            await asyncio.sleep(0.1)


async def killed_workers(server: ApiServer) -> None:
    for worker in (await server.mtaframe.status())["workers"]:
        os.kill(worker["pid"], signal.SIGKILL)


async def test_nothing_of_a_call_is_on_disk_or_in_the_log(tmp_path: Path) -> None:
    """Whatever the outcome, and whatever an account holder keeps here: a canary in each field is found nowhere."""
    mail = body(
        to=[
            {"email": f"canary-{kind}@example.net", "name": "canary-name", "merge_vars": {"V": "canary-value"}}
            for kind in ("taken", "busy", "none")
        ],
        subject="canary-subject [V]",
        html="<p>canary-html [V]</p>",
        from_name="canary-from",
        reply_to="canary-reply@example.com",
        headers={"X-Canary": "canary-field"},
        vars={"canary-key": "canary-data"},
        attachments=[{"name": "canary-file.txt", "type": "text/plain", "content": "Y2FuYXJ5LWNvbnRlbnQ="}],
    )
    template = {"template_uid": "canary-uid", "name": "canary-template", "html_body": "canary-body", "variables": []}
    async with ScriptedMx() as mx, api_server(tmp_path, mx) as server:
        mx.script("rcpt", "450 4.2.1 canary-text", to="canary-busy@example.net", always=True)
        mx.script("rcpt", "550 5.1.1 canary-text", to="canary-none@example.net", always=True)
        for key in (None, "canary-idempotency"):
            assert (await server.call("POST", "/v1/emails", mail, key=key))[0] == 503
        for path, data in (
            ("/v1/templates", template),
            ("/v1/webhooks", {"url": "https://example.com/canary-hook", "desc": "canary-desc"}),
            ("/v1/account/profile", {"first_name": "canary-first"}),
            ("/v1/settings", {"name": "canary-setting", "value": "canary-setting"}),
        ):
            assert (await server.call("POST", path, data))[0] in (200, 201)
        await asyncio.sleep(1.5)
        await server.mtaframe.stop(kill=True)
        everything = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert any(path.name == "state.db" for path in everything)
        for spelling in (b"canary", b"canary".hex().encode(), b"Y2FuYXJ5", "canary".encode("utf-16-le")):
            assert [str(path) for path, octets in everything.items() if spelling in octets] == []
        assert "canary" not in server.mtaframe.log
