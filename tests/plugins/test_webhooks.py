"""What endpoints are told, of whose mail, signed how; with a real receiver that checks each signature."""

import logging
import time
from collections.abc import AsyncIterator
from email.utils import parseaddr
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from mtaframe import CommandError, EventType, Message, Outcome, Reply, decoded_value
from mtaframe.clock import SystemClock
from mtaframe.state.memory import Sequences
from mtaframe.storage import Counter
from mtaframe.testing import (
    RecordingMta,
    ScriptedDns,
    account,
    address,
    delivery,
    envelope,
    event,
    message,
    result,
    route,
    session,
)
from mtaframe_plugins.webhooks import Webhooks
from mtaframe_plugins.webhooks.notice import author, custom_data, sound_object
from tests.plugins.webhooks_receiver import SECRET, TOKEN, Receiver, until

ACCOUNTS = (account("acme"), account("beta"))


@pytest.fixture
async def mta() -> AsyncIterator[RecordingMta]:
    mta = RecordingMta(clock=SystemClock(), accounts=ACCOUNTS)
    yield mta
    await mta.http.close()  # type: ignore[attr-defined]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


def endpoint(url: str, **changes: object) -> dict[str, object]:
    return {"url": url, "secret": SECRET, "token": TOKEN, "private": True, **changes}


async def webhooks(mta: RecordingMta, *endpoints: dict[str, object], **config: object) -> Webhooks:
    plugin = Webhooks(Webhooks.Config.model_validate({"endpoint": list(endpoints), **config}), mta)
    await plugin.start()
    return plugin


async def test_a_message_on_its_way_is_told_step_by_step(mta: RecordingMta, receiver: Receiver) -> None:
    plugin = await webhooks(mta, endpoint(receiver.url))
    mail = message(fields={"From": "Shop <shop@example.com>", "X-Vars": '{"order": "7", "n": 1}'})
    sent = envelope(["a@example.net", "b@example.org"], account="acme", stream="news", id="m7")
    plugin.on_data(sent, mail)
    for each in mta.events:
        plugin.on_event(each)
    refused = result(Outcome.FAILED, reply=Reply(550, "5.1.1", "no such user"), remote="mx.example.org")
    plugin.on_result(delivery(envelope=sent, message=mail), result(remote="mx.example.net"))
    plugin.on_result(delivery("b@example.org", envelope=sent, message=mail), refused)
    await until(lambda: len(receiver.taken) == 4)
    told = sorted(receiver.taken, key=lambda each: each["sequence"])
    assert [(each["event"], each["to_email"]) for each in told] == [
        ("request", "a@example.net"),
        ("request", "b@example.org"),
        ("delivered", "a@example.net"),
        ("bounce_hard", "b@example.org"),
    ]
    assert [each["sequence"] for each in told] == [1, 2, 3, 4]
    assert len({each["id"] for each in told}) == 4
    for each in told:
        assert (each["message_id"], each["account"], each["stream"]) == ("m7", "acme", "news")
        assert (each["tags"], each["vars"]) == ([], {"order": "7", "n": 1})
        assert each["timestamp"].endswith("Z")
        assert each["datetime"] == each["timestamp"].replace("T", " ")[:19]
    assert told[0] | {"timestamp": "", "datetime": "", "id": ""} == {
        "message_id": "m7",
        "event": "request",
        "datetime": "",
        "timestamp": "",
        "summary": "The message was taken in for this recipient.",
        "to_email": "a@example.net",
        "to_domain": "example.net",
        "from_email": "shop@example.com",
        "user_id": "acme",
        "tags": [],
        "vars": {"order": "7", "n": 1},
        "id": "",
        "sequence": 1,
        "account": "acme",
        "stream": "news",
    }
    assert told[3]["summary"] == "The remote server refused the message for good (550 5.1.1)."
    assert (told[3]["server_response"], told[3]["code"], told[3]["status"], told[3]["by"], told[3]["remote"]) == (
        "550 5.1.1 no such user",
        550,
        "5.1.1",
        "smtp",
        "mx.example.org",
    )
    assert told[2]["server_response"] == "250 2.0.0 ok"
    assert receiver.unproven == 0
    headers = receiver.headers[0]
    assert (headers["content-type"], headers["x-secret-token"]) == ("application/json", TOKEN)
    assert headers["webhook-id"] == receiver.events[0]["id"]
    await plugin.stop()


@pytest.mark.parametrize(
    ("outcome", "changes", "kind", "has_response"),
    [
        (Outcome.DEFERRED, {}, "deferred", True),
        (Outcome.FAILED, {"reply": Reply(552, "5.2.2", "full")}, "bounce_soft", True),
        (Outcome.FAILED, {"reply": Reply(550, "5.7.1", "spam"), "remote": "mx.example.net"}, "block_hard", True),
        (Outcome.FAILED, {"by": "spam_filter"}, "block_hard", False),
        (Outcome.DEFERRED, {"by": "thresholds"}, "block_soft", False),
        (Outcome.DISCARDED, {"by": "policy"}, "block_hard", False),
        (Outcome.DELIVERED, {"by": "sandbox", "route": route(transport="sandbox")}, "delivered", True),
    ],
)
async def test_a_result_is_told_as_what_it_counts_as(
    outcome: Outcome,
    changes: dict[str, Any],
    kind: str,
    has_response: bool,
    mta: RecordingMta,
    receiver: Receiver,
) -> None:
    plugin = await webhooks(mta, endpoint(receiver.url))
    plugin.on_result(delivery(), result(outcome, **changes))
    await until(lambda: receiver.taken)
    assert receiver.taken[0]["event"] == kind
    assert ("server_response" in receiver.taken[0]) == has_response
    await plugin.stop()


async def test_every_other_event_is_told_with_its_data(mta: RecordingMta, receiver: Receiver) -> None:
    plugin = await webhooks(mta, endpoint(receiver.url))
    data = {"url": "https://example.com/x", "ip": "192.0.2.1", "user_agent": "x", "to_email": "other", "sequence": 9}
    plugin.on_event(event(EventType.CLICK, id="c1", account="acme", data=data))
    plugin.on_event(event(EventType.ACCOUNT_LIMITED, id="c2", account="acme", message_id=None, recipient=None))
    await until(lambda: len(receiver.taken) == 2)
    click, limited = sorted(receiver.taken, key=lambda each: each["id"])
    assert (click["url"], click["ip"], click["to_email"]) == ("https://example.com/x", "192.0.2.1", "bob@example.net")
    assert (click["sequence"], limited["sequence"]) == (1, 2)
    assert (limited["event"], limited["to_email"], limited["message_id"]) == ("account_limited", None, None)
    assert limited["summary"] == "The account may send less."
    await plugin.stop()


async def test_an_endpoint_is_told_only_of_what_it_wants(mta: RecordingMta) -> None:
    async with Receiver() as everything, Receiver() as acme, Receiver() as bounces, Receiver() as news:
        plugin = await webhooks(
            mta,
            endpoint(everything.url),
            endpoint(acme.url, accounts=["acme"]),
            endpoint(bounces.url, events=["bounce_hard"]),
            endpoint(news.url, accounts=["beta"], streams=["news"]),
        )
        for owner, stream in (("acme", None), ("beta", "news"), ("beta", "other"), (None, None)):
            copy = delivery(envelope=envelope(account=owner, stream=stream))
            plugin.on_result(copy, result())
            plugin.on_result(copy, result(Outcome.FAILED))
        plugin.on_event(event(EventType.BLOCK_HARD, account="beta", data={"stream": "news"}))
        await plugin.stop()
        assert len(everything.taken) == 9
        assert {each["account"] for each in acme.taken} == {"acme"}
        assert [each["event"] for each in bounces.taken] == ["bounce_hard"] * 4
        assert sorted(each["event"] for each in news.taken) == ["block_hard", "bounce_hard", "delivered"]
        numbers = sorted((each["account"] or "", each["sequence"]) for each in everything.taken)
        assert numbers == [("", 1), ("", 2), ("acme", 1), ("acme", 2), *(("beta", number) for number in range(1, 6))]


async def test_our_own_reports_are_no_news_nor_is_what_a_result_has_told(mta: RecordingMta, receiver: Receiver) -> None:
    plugin = await webhooks(mta, endpoint(receiver.url))
    report = envelope(reverse_path=None, session=session(protocol="DSN"), account="acme")
    plugin.on_data(report, message())
    plugin.on_result(delivery(envelope=report), result())
    plugin.on_event(event(EventType.BOUNCE_HARD, account="acme", data={"unreported": "not wanted"}))
    await plugin.stop()
    assert mta.events == []
    assert receiver.events == []


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b'{"a": "b"}', {"a": "b"}),
        (b'{"a":\r\n "b"}', {"a": "b"}),
        ('{"a": "ü"}'.encode(), {"a": "ü"}),
        (b"=?utf-8?q?{=22a=22:_=22=C3=BC=22}?=", {"a": "ü"}),
        (b"{}", None),
        (b'["a"]', None),
        (b'{"a": NaN}', None),
        (b'{"a": 1e999}', None),
        (b'{"a": [-1e999]}', None),
        (b'{"a": "\xff"}', None),
        (b'{"a": "\\ud800"}', None),
        (b'{"a": ' + b"[" * 4000 + b"}", None),
        (b'{"a": "' + b"x" * 5000 + b'"}', None),
        (b"no", None),
        (b"", None),
    ],
)
def test_custom_data_counts_only_if_it_is_a_sound_object(field: bytes, expected: object) -> None:
    text = custom_data(Message.parse(b"X-Vars: " + field + b"\r\n\r\n"))
    assert sound_object(text or "") == (expected or {})


async def test_numbers_go_on_where_the_last_instance_left_them(mta: RecordingMta, receiver: Receiver) -> None:
    counter = Counter("webhooks.sequence", account="acme")
    await mta.state.sequences.next(counter, 41)
    plugin = await webhooks(mta, endpoint(receiver.url))
    for _ in range(3):
        plugin.on_result(delivery(envelope=envelope(account="acme")), result())
    await until(lambda: len(receiver.taken) == 3)
    assert sorted(each["sequence"] for each in receiver.taken) == [42, 43, 44]
    await plugin.stop()
    again = await webhooks(mta, endpoint(receiver.url))
    again.on_result(delivery(envelope=envelope(account="acme")), result())
    await again.stop()
    assert receiver.taken[-1]["sequence"] == 45


class Gone(Sequences):
    """The numbers of a server whose supervisor has died."""

    async def next(self, sequence: Counter, count: int = 1) -> int:
        raise ConnectionError


async def test_an_event_that_can_get_no_number_is_told_without_one(
    mta: RecordingMta, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    mta.state.sequences = Gone()  # type: ignore[misc]
    plugin = await webhooks(mta, endpoint(receiver.url))
    for _ in range(3):
        plugin.on_result(delivery(), result())
    await plugin.stop()
    assert [each["sequence"] for each in receiver.taken] == [0, 0, 0]
    assert [record.getMessage() for record in caplog.records] == [
        "events are told without a number fault=ConnectionError"
    ]


async def test_without_secret_and_token_there_is_no_signature(mta: RecordingMta, receiver: Receiver) -> None:
    plugin = await webhooks(mta, endpoint(receiver.url, secret=None, token=None))
    plugin.on_result(delivery(), result())
    await plugin.stop()
    assert not {"webhook-signature", "x-secret-token"} & set(receiver.headers[0])
    assert "webhook-id" in receiver.headers[0]


@pytest.mark.parametrize("where", ["127.0.0.1", "inside.example", "[::1]", "[::ffff:127.0.0.1]", "localhost"])
async def test_a_url_inside_is_never_asked_unless_the_operator_says_so(where: str, receiver: Receiver) -> None:
    zone = {"inside.example": {"A": ["127.0.0.1"]}, "localhost": {"A": ["127.0.0.1"]}}
    async with ScriptedDns(zone) as dns:
        mta = RecordingMta(clock=SystemClock(), resolver=dns.resolver(), accounts=ACCOUNTS)
        url = receiver.url.replace("127.0.0.1", where)
        plugin = await webhooks(mta, endpoint(url, private=False))
        plugin.on_result(delivery(), result())
        await until(lambda: plugin._lines[url].failed)
        [shown] = await plugin.show()
        assert (shown["sent"], shown["to retry"]) == (0, 1)
        assert receiver.events == []
        await plugin.stop()
        assert receiver.events == []
        if where in ("127.0.0.1", "inside.example"):
            allowed = await webhooks(mta, endpoint(url))
            allowed.on_result(delivery(), result())
            await allowed.stop()
            assert len(receiver.taken) == 1
        await mta.http.close()  # type: ignore[attr-defined]


async def test_nothing_of_a_recipient_is_logged_or_printed(
    mta: RecordingMta, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.always = 500
    plugin = await webhooks(mta, endpoint(receiver.url), retries=["1ms"] * 5, max_queue=2)
    to = address("canary@canary.example")
    bad = result(Outcome.FAILED, reply=Reply(550, "5.1.1", "canary unknown"), remote="mx.canary.example")
    mail = message(fields={"X-Vars": '{"canary": "canary"}', "Subject": "canary"})
    for _ in range(10):
        plugin.on_result(delivery(to, envelope=envelope([to]), message=mail), bad)
    await until(lambda: plugin._lines[receiver.url].failed >= 5)
    queue = plugin._lines[receiver.url].queue
    shown = repr([*queue._waiting, *queue._parked.values(), *(each.notice for each in queue._parked.values())])
    assert shown.count("Item(") == len(queue) > 0
    everything = "".join([shown, repr(plugin.config), str(await plugin.show()), caplog.text])
    await plugin.stop()
    assert "events lost at the end host=127.0.0.1" in caplog.text
    everything += caplog.text
    assert "canary" not in everything
    assert "queue is full" in everything
    assert SECRET not in everything
    assert TOKEN not in everything


async def test_the_test_command_says_what_the_endpoint_answered(mta: RecordingMta, receiver: Receiver) -> None:
    plugin = await webhooks(mta, endpoint(receiver.url, accounts=["acme"]))
    [row] = await plugin.test(receiver.url)
    assert (row["event"], row["status"], row["success"]) == ("delivered", "200", True)
    assert row["seconds"] < 5
    rows = await plugin.test(receiver.url, event="all")
    assert [each["event"] for each in rows] == [kind.value for kind in EventType]
    assert receiver.unproven == 0
    assert {(each["test"], each["account"], each["to_email"], each["sequence"]) for each in receiver.taken} == {
        (True, "acme", "recipient@example.com", 0)
    }
    receiver.always = 503
    [row] = await plugin.test(receiver.url, event="open")
    assert (row["status"], row["success"]) == ("503", False)
    await receiver.close()
    [row] = await plugin.test(receiver.url)
    assert (row["status"][:9], row["success"]) == ("no answer", False)
    with pytest.raises(CommandError, match='no event "no"'):
        await plugin.test(receiver.url, event="no")
    with pytest.raises(CommandError, match="no endpoint"):
        await plugin.test("http://127.0.0.1/")
    await plugin.stop()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"url": "ftp://example.com/"}, "a URL is written as"),
        ({"url": "https:///x"}, "a URL is written as"),
        ({"url": "https://example.com:x/"}, "a URL is written as"),
        ({"url": "https://example.com/a b"}, "a URL is written as"),
        ({"secret": "hunter2canary"}, "whsec_"),
        ({"secret": "whsec_aHVudGVyMg=="}, "24 to 64"),
        ({"secret": "whsec_canary!"}, "24 to 64"),
        ({"token": "can ary\n"}, "printable ASCII"),
        ({"events": ["delivred"]}, "delivered"),
        ({"timeout": "0s"}, "greater than 0"),
    ],
)
def test_a_fault_in_the_configuration_is_told_without_the_secret(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Webhooks.Config.model_validate({"endpoint": [endpoint("https://example.com/") | changes]})
    assert says in str(caught.value)
    assert "canary" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["(" * 600, "a:" * 600, "x <" + "(" * 600 + "@y>", "a b " * 100_000 + "x@y", "x@" + "a." * 200_000 + "b"]
)
def test_a_hostile_from_field_stops_no_mail_and_fills_no_queue(value: str) -> None:
    began = time.process_time()
    found = author(Message(f"From: {value}\r\n".encode(), b""), address("me@example.com"))
    assert found == "me@example.com"
    assert time.process_time() - began < 2


async def test_a_url_stands_once_and_its_accounts_exist(mta: RecordingMta) -> None:
    with pytest.raises(ValidationError, match="the same URL"):
        Webhooks.Config.model_validate(
            {"endpoint": [endpoint("https://example.com/"), endpoint("https://example.com/")]}
        )
    with pytest.raises(ValueError, match='no account "nobody"'):
        await webhooks(mta, endpoint("https://example.com/", accounts=["nobody"]))


@given(st.text("ab1@.<>,;:()\"\\ =?é[]-'!", max_size=30))
@example('"a, b" <a@b-a.a>')
@example("a b <a.a@b>")
@example("a@b.a")
def test_the_short_way_to_the_author_finds_what_the_long_one_does(value: str) -> None:
    _, long_way = parseaddr(decoded_value(value.strip()))
    found = author(Message(f"From: {value}\r\n".encode(), b""), None)
    assert found == (long_way if "@" in long_way else None)
