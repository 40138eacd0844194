"""Webhooks that account holders make: listed, made, changed, deleted and tried; whose, how many, what is refused."""

import json
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from mtaframe import (
    DropEndpoint,
    EndpointFault,
    Endpoints,
    EventType,
    SaveEndpoint,
    TryEndpoint,
)
from mtaframe.clock import SystemClock
from mtaframe.state.memory import Documents
from mtaframe.testing import RecordingMta, account, delivery, envelope, event, message, result
from mtaframe_plugins.webhooks import Webhooks
from mtaframe_plugins.webhooks.made import of_the_configuration, opened
from tests.plugins.made_webhooks import ask, drop, listed, made, proven, reachable, save, tell, try_, webhooks
from tests.plugins.webhooks_receiver import SECRET, TOKEN, Receiver, until

__all__ = ["reachable"]

ACCOUNTS = (account("acme"), account("beta"), account("child", parent="acme"), account("grandchild", parent="child"))
ELSEWHERE = "https://hooks.example.com/mail"


@pytest.fixture
async def mta() -> AsyncIterator[RecordingMta]:
    mta = RecordingMta(clock=SystemClock(), accounts=ACCOUNTS)
    yield mta
    await mta.http.close()  # type: ignore[attr-defined]


@pytest.fixture
async def plugin(mta: RecordingMta) -> AsyncIterator[Webhooks]:
    plugin = await webhooks(mta)
    yield plugin
    await plugin.stop()


async def test_a_webhook_is_made_listed_changed_and_deleted(mta: RecordingMta, plugin: Webhooks) -> None:
    before = mta.clock.now()
    assert await listed(plugin) == ()
    one = await made(plugin, ELSEWHERE, description="Bücher", events=[EventType.CLICK, EventType.OPEN])
    assert (one.id, one.account, one.url, one.description) == (1, "acme", ELSEWHERE, "Bücher")
    assert (one.events, one.is_active) == ({EventType.CLICK, EventType.OPEN}, True)
    assert (one.is_writable, one.failed) == (True, 0)
    assert before <= one.entered_at <= mta.clock.now()
    other = await made(plugin, ELSEWHERE)
    assert other.id == 2
    assert len({one.secret, other.secret, one.signing_secret, other.signing_secret}) == 4
    assert await listed(plugin) == (one, other)
    changed = await made(plugin, ELSEWHERE + "?2", 1, is_active=False)
    assert (changed.url, changed.description, changed.events, changed.is_active) == (
        ELSEWHERE + "?2",
        "",
        frozenset(),
        False,
    )
    assert (changed.secret, changed.signing_secret, changed.entered_at) == (
        one.secret,
        one.signing_secret,
        one.entered_at,
    )
    assert await listed(plugin) == (changed, other)
    assert [await drop(plugin, 1), await drop(plugin, 1)] == [True, False]
    assert await save(plugin, ELSEWHERE, 1) is None
    assert await listed(plugin) == (other,)
    assert (await made(plugin, ELSEWHERE)).id == 3


async def test_accounts_see_and_touch_only_their_own(plugin: Webhooks) -> None:
    mine = await made(plugin, ELSEWHERE)
    assert await listed(plugin, "beta") == ()
    assert await save(plugin, ELSEWHERE, mine.id, account="beta") is None
    assert not await drop(plugin, mine.id, "beta")
    assert await listed(plugin) == (mine,)
    assert (await made(plugin, ELSEWHERE, account="beta")).id == 1
    assert await save(plugin, ELSEWHERE, account="nobody") == EndpointFault("there is no such account")


@pytest.mark.usefixtures("reachable")
async def test_it_is_told_of_its_account_with_both_of_its_secrets(mta: RecordingMta, plugin: Webhooks) -> None:
    async with Receiver() as receiver:
        mine = await made(plugin, receiver.url)
        sent = envelope(["a@example.net"], account="acme", id="m7")
        plugin.on_data(sent, message())
        for each in mta.events:
            plugin.on_event(each)
        plugin.on_result(delivery(envelope=sent), result())
        plugin.on_event(event(EventType.CLICK, account="acme"))
        for stranger in ("beta", None):
            tell(plugin, stranger)
        await until(lambda: len(receiver.taken) == 3)
        await plugin.stop()
        assert [(each["event"], each["account"]) for each in receiver.taken] == [
            ("request", "acme"),
            ("delivered", "acme"),
            ("click", "acme"),
        ]
        assert [each["sequence"] for each in receiver.taken] == [1, 2, 3]
        assert proven(receiver, mine) == 3


@pytest.mark.usefixtures("reachable")
async def test_it_gets_the_events_that_it_wants_and_nothing_while_it_is_off(
    mta: RecordingMta, plugin: Webhooks
) -> None:
    async with Receiver() as receiver:
        mine = await made(plugin, receiver.url, events=[EventType.CLICK])
        sent = envelope(["a@example.net"], account="acme")
        tell(plugin)
        await until(lambda: not plugin._unnumbered and plugin._numbering is None)
        plugin.on_data(sent, message())
        assert mta.events == [], "once it is known that nobody wants to know, nothing is emitted"
        plugin.on_event(event(EventType.CLICK, account="acme"))
        await until(lambda: receiver.taken)
        await made(plugin, receiver.url, mine.id, is_active=False)
        plugin.on_event(event(EventType.CLICK, account="acme"))
        await until(lambda: not plugin._unnumbered and plugin._numbering is None)
        await made(plugin, receiver.url, mine.id, events=[EventType.OPEN])
        plugin.on_event(event(EventType.OPEN, account="acme"))
        await plugin.stop()
        assert [each["event"] for each in receiver.events] == ["click", "open"]
        assert [each["sequence"] for each in receiver.taken] == [1, 2], "what nobody wants gets no number"


@pytest.mark.usefixtures("reachable")
async def test_a_parent_sees_the_events_of_those_below_it_and_no_child_those_above(plugin: Webhooks) -> None:
    async with Receiver() as top, Receiver() as middle:
        await made(plugin, top.url)
        await made(plugin, middle.url, account="child")
        for name in ("acme", "child", "grandchild", "beta"):
            tell(plugin, name)
        await plugin.stop()
        assert sorted(each["account"] for each in top.taken) == ["acme", "child", "grandchild"]
        assert sorted(each["account"] for each in middle.taken) == ["child", "grandchild"]


@pytest.mark.usefixtures("reachable")
async def test_any_2xx_is_success_and_an_event_that_fails_counts_once(plugin: Webhooks, mta: RecordingMta) -> None:
    async with Receiver(500, 500, 500, always=202) as receiver:
        plugin = await webhooks(mta, retries=["1ms"] * 5, connections=1)
        mine = await made(plugin, receiver.url)
        tell(plugin, count=2)
        await until(lambda: len(receiver.taken) == 2)
        assert len(receiver.events) == 5
        [found] = await listed(plugin)
        assert 1 <= found.failed <= 2
        assert found.failed == len({each["id"] for each in receiver.events[:3]})
        await drop(plugin, mine.id)
        await plugin.stop()
    assert [each.failed for each in await listed(plugin)] == []


FILE: dict[str, Any] = {"url": "http://user:pass@10.0.0.1/hook?x=1", "secret": SECRET, "token": TOKEN, "private": True}


async def test_what_the_configuration_names_an_account_for_is_listed_without_secrets(mta: RecordingMta) -> None:
    mine = {**FILE, "accounts": ["acme"], "events": ["spam"]}
    everybodys = {**FILE, "url": "http://10.0.0.2/"}
    plugin = await webhooks(mta, mine, everybodys)
    own = await made(plugin, ELSEWHERE)
    first, second = await listed(plugin)
    assert second == own
    assert (first.url, first.events, first.is_writable) == ("http://10.0.0.1/hook?x=1", {EventType.SPAM}, False)
    assert (first.secret, first.signing_secret, first.is_active) == ("", "", True)
    assert -(2**31) <= first.id == of_the_configuration(FILE["url"]) < 0
    assert await listed(plugin, "beta") == ()
    assert await save(plugin, ELSEWHERE, first.id) == EndpointFault("this webhook is in the server's configuration")
    assert await save(plugin, ELSEWHERE, -7) is None
    assert not await drop(plugin, first.id)
    assert await listed(plugin) == (first, second)
    await plugin.stop()


async def test_an_account_has_no_more_of_them_than_it_may(mta: RecordingMta) -> None:
    plugin = await webhooks(mta, max_per_account=2)
    first = await made(plugin, ELSEWHERE)
    await made(plugin, ELSEWHERE)
    full = EndpointFault("this account has as many webhooks as it may have")
    assert await save(plugin, ELSEWHERE) == full
    await made(plugin, ELSEWHERE, account="beta")
    await made(plugin, ELSEWHERE + "?2", first.id)
    assert await drop(plugin, first.id)
    await made(plugin, ELSEWHERE)
    assert await save(plugin, ELSEWHERE) == full
    await plugin.stop()


@pytest.mark.usefixtures("reachable")
async def test_with_a_limit_of_0_there_are_none(mta: RecordingMta, plugin: Webhooks) -> None:
    async with Receiver() as receiver:
        await made(plugin, receiver.url)
        off = await webhooks(mta, max_per_account=0)
        off.adopt(plugin)
        assert await listed(off) == ()
        assert await save(off, receiver.url) == EndpointFault("webhooks are made by the operator of this server")
        tell(off)
        await off.stop()
        assert receiver.events == []
        tell(plugin)
        await plugin.stop()
        assert len(receiver.taken) == 1, "the instance before tells its own to the end"


@pytest.mark.parametrize(
    ("url", "description", "field"),
    [
        ("", "", "url"),
        ("canary", "", "url"),
        ("ftp://canary.example/", "", "url"),
        ("https://[canary/", "", "url"),
        ("https://canary.example:99999/", "", "url"),
        ("https://canary.example/\r\nX: y", "", "url"),
        ("https://canary.example/\ud800", "", "url"),
        ("https://canary.example/" + "x" * 2000, "", "url"),
        (ELSEWHERE, "canary" * 100, "description"),
        (ELSEWHERE, "canary\r\n", "description"),
        (ELSEWHERE, "canary\ud800", "description"),
    ],
)
async def test_a_fault_names_the_field_and_quotes_nothing(
    url: str, description: str, field: str, plugin: Webhooks
) -> None:
    fault = await save(plugin, url, description=description)
    assert isinstance(fault, EndpointFault)
    assert fault.field == field
    assert "canary" not in fault.text
    assert fault.text
    assert await listed(plugin) == ()


@pytest.mark.usefixtures("reachable")
async def test_a_trial_is_signed_as_the_webhook_is_and_says_what_was_answered(plugin: Webhooks) -> None:
    async with Receiver() as receiver:
        mine = await made(plugin, receiver.url, is_active=False)
        assert await try_(plugin, receiver.url) == 200
        assert proven(receiver, mine) == 1
        [told] = receiver.events
        assert (told["test"], told["event"], told["account"], told["sequence"]) == (True, "delivered", "acme", 0)
        receiver.always = 503
        assert await try_(plugin, receiver.url) == 503
        assert await try_(plugin, receiver.url, "beta") == 503
        assert "x-secret-token" not in receiver.headers[-1], "nobody tries with the secrets of another"
        assert "webhook-signature" not in receiver.headers[-1]
        [found] = await listed(plugin)
        assert found.failed == 0
    reason = await try_(plugin, receiver.url)
    assert isinstance(reason, str)
    assert reason.startswith("no answer")
    assert await try_(plugin, "canary") == 'a URL is written as "https://example.com/path"'


async def test_a_trial_of_what_the_operator_set_up_goes_where_that_leads(mta: RecordingMta) -> None:
    async with Receiver() as receiver:
        plugin = await webhooks(mta, {**FILE, "url": receiver.url, "accounts": ["acme"]})
        assert await try_(plugin, receiver.url) == 200
        assert receiver.unproven == 0
        assert await try_(plugin, receiver.url, "beta") == "the address may not be connected to"
        assert len(receiver.events) == 1
        await plugin.stop()


async def test_trials_are_bounded_by_the_hour(plugin: Webhooks) -> None:
    answers = [await try_(plugin, "http://127.0.0.1:1/") for _ in range(61)]
    assert answers == ["the address may not be connected to"] * 60 + ["too many trials in this hour"]
    assert await try_(plugin, "http://127.0.0.1:1/", "beta") == "the address may not be connected to"


async def test_it_never_leads_to_this_machine(plugin: Webhooks) -> None:
    async with Receiver() as receiver:
        await made(plugin, receiver.url)
        tell(plugin)
        await until(lambda: [line.failed for _, _, line in plugin._all_lines()] == [1])
        [found] = await listed(plugin)
        assert found.failed == 1
        await plugin.stop()
        assert receiver.events == []


class Broken(Documents):
    """A state whose owner is gone."""

    async def names(self, account: str, kind: str) -> list[str]:
        raise ConnectionError("canary")

    async def get(self, account: str, kind: str, name: str) -> bytes | None:
        raise ConnectionError("canary")


async def test_a_state_that_does_not_answer_is_no_fault_of_the_plugin(
    mta: RecordingMta, plugin: Webhooks, caplog: pytest.LogCaptureFixture
) -> None:
    mta.state.documents = Broken()  # type: ignore[misc]
    assert await ask(plugin, Endpoints("acme")) is None
    assert await save(plugin, ELSEWHERE) == EndpointFault("webhooks can't be kept now, try again later")
    assert await drop(plugin, 1) is False
    assert await try_(plugin, ELSEWHERE) == "webhooks can't be kept now, try again later"
    assert len(caplog.records) == 4
    assert "canary" not in caplog.text


async def test_where_nobody_keeps_webhooks_the_defaults_say_so() -> None:
    mta = RecordingMta()
    assert await mta.ask(Endpoints("acme")) is None
    saved = await mta.ask(SaveEndpoint("acme", None, ELSEWHERE, "", frozenset(), True))
    assert saved == EndpointFault("this server keeps no webhooks")
    assert not await mta.ask(DropEndpoint("acme", 1))
    assert await mta.ask(TryEndpoint("acme", ELSEWHERE)) == "this server keeps no webhooks"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("1", {"url": "canary"}),
        ("1", {"events": ["of the future"]}),
        ("1", {"secret": "canary"}),
        ("1", {"entered_at": "canary"}),
        ("1", {"token": ""}),
        ("1", {"events": 1}),
        ("1", {"url": 1}),
        ("1", {"description": "\n"}),
        ("canary", {}),
    ],
)
async def test_a_document_that_is_none_of_ours_counts_as_none(
    name: str, changes: dict[str, object], mta: RecordingMta, plugin: Webhooks, caplog: pytest.LogCaptureFixture
) -> None:
    await made(plugin, ELSEWHERE)
    content = await mta.state.documents.get("acme", "webhook", "1")
    assert content is not None
    assert opened("acme", "1", content) is not None
    bad = json.dumps(json.loads(content) | changes).encode()
    assert all(opened("acme", "1", junk) is None for junk in (b"", b"[]", b"{}", b"\xff", content[:-1]))
    await mta.state.documents.drop("acme")
    await mta.state.documents.put("acme", "webhook", name, bad)
    assert await listed(plugin) == ()
    assert "a webhook can't be read account=acme" in caplog.text


@pytest.mark.usefixtures("reachable")
async def test_nothing_of_a_webhook_is_logged_or_printed(
    plugin: Webhooks, mta: RecordingMta, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Receiver(always=500) as receiver:
        mine = await made(plugin, receiver.url + "?canary", description="canary")
        tell(plugin, count=6)
        await until(lambda: [line.failed >= 5 for _, _, line in plugin._all_lines()] == [True])
        [kept] = await plugin._holding.shelf.all("acme")
        shown: Sequence[object] = [kept, mine, kept.wish, mta.questions]
        everything = caplog.text + repr(shown)
        await plugin.stop()
    everything += caplog.text
    assert "canary" not in everything
    assert mine.secret not in everything
    assert mine.signing_secret not in everything
    assert "host=" not in everything
    assert "webhook endpoint fails account=acme id=1" in everything
