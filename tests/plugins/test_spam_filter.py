"""spam_filter with a scripted rspamd: what its opinions mean, and what happens when it has none."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mtaframe import Defer, Delivery, Message, Private, Reject, event_type, variable
from mtaframe.cli.check import faults_of
from mtaframe.testing import RecordingMta, account, delivery, envelope, message, recipient, result, session
from mtaframe_plugins.spam_filter import SpamFilter
from mtaframe_plugins.spam_filter.merge import is_worth_a_scan
from tests.plugins.scripted_rspamd import CUT, DROP, GTUBE, HANG, ScriptedRspamd, opinion

SPAM = "550 5.7.1 the message looks like spam"
LATER = "451 4.7.1 try again later"


@asynccontextmanager
async def plugin(rspamd: ScriptedRspamd | str, **config: Any) -> AsyncIterator[SpamFilter]:
    mta = RecordingMta(accounts=[account("shop"), account("bulk")])
    url = rspamd if isinstance(rspamd, str) else rspamd.url
    spam_filter = SpamFilter(SpamFilter.Config.model_validate({"url": url} | config), mta)
    await spam_filter.start()
    try:
        yield spam_filter
    finally:
        await mta.http.close()  # type: ignore[attr-defined]


def said(answer: object) -> str:
    """An answer of a hook in short: the reply, the fields of a tag, or nothing."""
    if isinstance(answer, Delivery):
        answer = answer.message
    if isinstance(answer, Message):
        return f"{answer.first('X-Spam')} {answer.first('X-Spam-Score')}"
    return answer.reply.line if isinstance(answer, (Reject, Defer)) else repr(answer)


async def on_data(spam_filter: SpamFilter, mail: Message | None = None, **changes: Any) -> str:
    return said(await spam_filter.on_data(envelope(**changes), mail or message()))


async def answer_to(*answers: Any, **config: Any) -> str:
    async with ScriptedRspamd(*answers) as rspamd, plugin(rspamd, **config) as spam_filter:
        return await on_data(spam_filter)


# What an opinion means.


@pytest.mark.parametrize(
    ("action", "answer"),
    [
        ("no action", "None"),
        ("greylist", "None"),
        ("add header", "Yes 1.50"),
        ("rewrite subject", "Yes 1.50"),
        ("soft reject", LATER),
        ("reject", SPAM),
        ("quarantine", SPAM),
        ("discard", SPAM),
    ],
)
async def test_each_action_has_its_answer(action: str, answer: str) -> None:
    assert await answer_to(opinion(action)) == answer


@pytest.mark.parametrize("action", ["greylist", "add header", "rewrite subject", "soft reject", "reject"])
@pytest.mark.parametrize(
    ("wanted", "answer"), [("pass", "None"), ("tag", "Yes 1.50"), ("defer", LATER), ("reject", SPAM)]
)
async def test_the_operator_has_the_last_word(action: str, wanted: str, answer: str) -> None:
    rule = {f"on_{action.replace(' ', '_')}": wanted}
    assert await answer_to(opinion(action), rule=[rule]) == answer


@pytest.mark.parametrize(
    ("said_by_rspamd", "answer"),
    [
        (opinion("reject", 19.9), LATER),
        (opinion("reject", 20), SPAM),
        (opinion("greylist", 4.5), "None"),
        (opinion("no action", 4.5), "None"),
        (opinion("no action", 5), "Yes 5.00"),
        (opinion("add header", 10.0), LATER),
        (opinion("reject", 3.0), SPAM),  # by a rule of rspamd's own, not by the score
        (opinion("reject", 15.0, is_skipped=True), SPAM),
        (opinion("soft reject", 3.0), LATER),
        (opinion("add header", 3.0, thresholds={"add header": 6.0}), "Yes 3.00"),
    ],
)
async def test_limits_of_our_own_replace_those_by_score(said_by_rspamd: dict[str, Any], answer: str) -> None:
    rule = {"reject_score": 20.0, "defer_score": 10.0, "tag_score": 5}
    assert await answer_to(said_by_rspamd, rule=[rule]) == answer


async def test_one_limit_of_our_own_replaces_all_of_rspamds() -> None:
    assert await answer_to(opinion("reject", 19.9), rule=[{"tag_score": 19.9}]) == "Yes 19.90"
    assert await answer_to(opinion("add header", 14), rule=[{"reject_score": 14.5}]) == "None"


async def test_the_first_rule_for_account_and_stream_decides() -> None:
    rules = [
        {"accounts": ["shop"], "streams": ["receipts"], "on_reject": "pass"},
        {"accounts": ["shop"], "on_reject": "tag"},
        {"streams": ["news"], "scan": False},
        {"on_reject": "defer"},
    ]
    async with ScriptedRspamd(opinion("reject")) as rspamd, plugin(rspamd, rule=rules) as spam_filter:
        assert await on_data(spam_filter, account="shop", stream="receipts") == "None"
        assert await on_data(spam_filter, account="shop", stream="news") == "Yes 1.50"
        assert await on_data(spam_filter, account="bulk", stream="receipts") == LATER
        asked = len(rspamd.asked)
        assert await on_data(spam_filter, account="bulk", stream="news") == "None"
        assert len(rspamd.asked) == asked


async def test_where_no_rule_fits_the_defaults_hold() -> None:
    assert await answer_to(opinion("reject"), rule=[{"accounts": ["shop"], "on_reject": "pass"}]) == SPAM


async def test_a_tag_takes_the_place_of_fields_that_came_along() -> None:
    mail = message(fields={"X-Spam": "No", "x-spam-score": "-10"})
    async with ScriptedRspamd(opinion("add header", 7.125)) as rspamd, plugin(rspamd) as spam_filter:
        tagged = await spam_filter.on_data(envelope(), mail)
    assert isinstance(tagged, Message)
    assert [f.value for f in (*tagged.all("X-Spam"), *tagged.all("X-Spam-Score"))] == ["Yes", "7.12"]
    assert tagged.header.startswith(b"X-Spam: Yes\r\nX-Spam-Score: 7.12\r\nFrom: ")
    assert tagged.body is mail.body


async def test_the_fields_have_the_operators_names() -> None:
    config = {"flag_field": "X-Junk", "score_field": ""}
    async with ScriptedRspamd(opinion("add header")) as rspamd, plugin(rspamd, **config) as spam_filter:
        tagged = await spam_filter.on_data(envelope(), message())
    assert isinstance(tagged, Message)
    assert tagged.header == b"X-Junk: Yes\r\n" + message().header


def test_a_refusal_is_a_block() -> None:
    stopped = result(by="spam_filter", outcome=result().outcome.FAILED, route=None)
    assert event_type(stopped).value == "block_hard"


# What rspamd is told.


async def test_rspamd_is_told_who_sends_what_to_whom() -> None:
    mail = message(b"Subject: x\r\nFrom: a@example.com\r\n\r\n.dot\r\n\xff")
    async with ScriptedRspamd() as rspamd, plugin(rspamd, password="secret") as spam_filter:
        await on_data(
            spam_filter,
            mail,
            recipients=["bob@example.net", '"x,y"@example.net'],
            session=session(client="192.0.2.7", ehlo="client.example"),
            account="shop",
        )
        await on_data(spam_filter, reverse_path=None, session=session(client="", ehlo="a\rb"))
    first, second = rspamd.asked
    assert (first.path, first.body) == ("/checkv2", mail.raw)
    told = {
        "IP": "192.0.2.7",
        "Helo": "client.example",
        "From": "<alice@example.com>",
        "Rcpt": '<bob@example.net>, <"x,y"@example.net>',
        "User": "shop",
        "Queue-Id": "m1",
        "MTA-Name": "mta.example.com",
        "Password": "secret",
    }
    assert {name: first.headers[name] for name in told} == told
    assert second.headers["From"] == "<>"
    assert not {"IP", "Helo", "User"} & set(second.headers)
    assert first.connection is second.connection


async def test_a_thousand_recipients_have_no_room_in_a_header_section() -> None:
    many = [f"{'x' * 50}{number}@example.net" for number in range(1000)]
    async with ScriptedRspamd() as rspamd, plugin(rspamd) as spam_filter:
        assert await on_data(spam_filter, recipients=many) == "None"
    assert 7_900 < len(rspamd.asked[0].headers["Rcpt"]) <= 8_000
    assert rspamd.asked[0].headers["Rcpt"].endswith("@example.net>")


# No message goes out unseen by accident.

FAULTS: dict[str, Any] = {
    "drop": DROP,
    "slow": HANG,
    "cut": CUT,
    "500": 500,
    "403": 403,
    "302": 302,
    "204": 204,
    "empty": b"",
    "garbage": b"<html>",
    "not UTF-8": b'{"action": "\xff"}',
    "deep": b"[" * 100_000,
    "no object": b"[]",
    "no action": {"score": 1.0},
    "unknown action": opinion("no aktion"),
    "action of another type": opinion("x") | {"action": ["no action"]},
    "no score": {"action": "no action"},
    "score as text": opinion(score="1.0"),
    "NaN": b'{"action": "no action", "score": NaN}',
    "huge": b'{"action": "no action", "score": 1' + b"0" * 400 + b"}",
    "true": opinion(score=True),
    "endless": b" " * 1_000_001,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_without_a_usable_opinion_the_message_waits(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    assert await answer_to(FAULTS[fault], timeout="300ms") == LATER
    assert [record.levelname for record in caplog.records if record.name == "mtaframe.spam_filter"] == ["WARNING"]
    assert "scan id=m1 fault=" in caplog.text
    assert "example" not in caplog.text


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        ("defer", LATER),
        ("pass", "None"),
        ("tag", "Yes None"),
        ("reject", "550 5.7.1 the message can't be checked here"),
    ],
)
async def test_the_operator_chooses_what_no_opinion_means(wanted: str, answer: str) -> None:
    async with ScriptedRspamd() as gone:
        pass
    async with plugin(gone, when_unreachable=wanted) as spam_filter:
        assert await on_data(spam_filter) == answer


async def test_a_slow_rspamd_costs_no_more_than_its_time() -> None:
    clock = asyncio.get_running_loop().time
    began = clock()
    assert await answer_to(HANG, timeout="200ms") == LATER
    assert clock() - began < 1.0


async def test_a_connection_that_rspamd_closed_meanwhile_is_replaced() -> None:
    assert await answer_to(DROP, opinion("add header")) == "Yes 1.50"


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        ("reject", "552 5.3.4 the message is too large to be checked"),
        ("pass", "None"),
        ("tag", "Yes None"),
        ("defer", LATER),
    ],
)
async def test_a_message_over_the_size_has_its_answer(wanted: str, answer: str) -> None:
    config = {"max_size": f"{message().size} B", "when_too_large": wanted}
    async with ScriptedRspamd(opinion("reject")) as rspamd, plugin(rspamd, **config) as spam_filter:
        assert await on_data(spam_filter, message(body="Hello!.\n")) == answer
        assert rspamd.asked == []
        assert await on_data(spam_filter, message()) == SPAM


async def test_dsns_are_scanned_unless_the_operator_lets_them_pass() -> None:
    async with ScriptedRspamd(opinion("reject")) as rspamd:
        async with plugin(rspamd) as spam_filter:
            assert await on_data(spam_filter, reverse_path=None) == SPAM
        async with plugin(rspamd, null_reverse_path="pass") as spam_filter:
            assert await on_data(spam_filter, message(fields={"From": None}), reverse_path=None) == "None"
            assert await on_data(spam_filter) == SPAM
    assert len(rspamd.asked) == 2


async def test_our_own_reports_quote_what_was_refused_and_still_go_out() -> None:
    async with ScriptedRspamd() as rspamd, plugin(rspamd) as spam_filter:
        ours = session(protocol="DSN")
        assert await on_data(spam_filter, message(GTUBE), reverse_path=None, session=ours) == "None"
        assert await on_data(spam_filter, message(GTUBE), reverse_path=None) != "None"


# Copies with values of their own.

LONG = "x" * 65


async def copies(spam_filter: SpamFilter, *values: dict[str, str]) -> list[str]:
    """What before_sign says to each copy, whose body is its values."""
    to = [recipient(f"r{number}@example.net", merge_vars=each) for number, each in enumerate(values)]
    mail = envelope(to)
    return [
        said(
            await spam_filter.before_sign(
                delivery(each, envelope=mail, message=message(body="".join(each.merge_vars.values())))
            )
        )
        for each in to
    ]


@pytest.mark.parametrize(
    ("values", "is_scanned"),
    [
        ({}, False),
        ({"NAME": "Joe", "TOTAL": "19.50", "CITY": "St. Gallen"}, False),
        ({"NAME": "x" * 64}, False),
        ({"NAME": "x" * 33, "CITY": "x" * 32}, True),
        ({"LINK": "https://a.example"}, True),
        ({"LINK": "HTTP://x"}, True),
        ({"LINK": "www.spam.example"}, True),
        ({"LINK": "spam.example/x"}, True),
        ({"LINK": "spam.example"}, True),
        ({"NAME": "Joe, buy at spam.example now"}, True),
        ({"NAME": "(spam.example), spam.example."}, True),
        ({"NAME": "spam.пример !"}, True),
        ({"NAME": "spam.xn--e1afmkfd !"}, True),
        ({"NAME": "Joe, 3.5kg of 1.2.3 p.m. No.7"}, False),
        ({"LINK": "mailto:x"}, True),
        ({"NAME": "<b>"}, True),
    ],
)
async def test_values_are_scanned_if_they_can_bring_something_in(values: dict[str, str], is_scanned: bool) -> None:
    async with ScriptedRspamd() as rspamd, plugin(rspamd) as spam_filter:
        assert await copies(spam_filter, values) == ["None"]
        assert len(rspamd.asked) == is_scanned


@pytest.mark.parametrize(
    ("data", "is_worth"),
    [
        ({"ITEMS": [{"NAME": "Joe", "COUNT": 2, "NEW": True}, None]}, False),
        ({"ITEMS": [{"NAME": "Joe", "LINK": ["https://a.example"]}]}, True),
        ({"ITEMS": ["x" * 33, {"NAME": "x" * 32}]}, True),
    ],
)
def test_values_in_lists_and_objects_count_like_others(data: object, is_worth: bool) -> None:
    values = variable(data)
    assert isinstance(values, Private)
    assert is_worth_a_scan(values) is is_worth


async def test_each_set_of_values_is_scanned_once_and_judged_alone() -> None:
    bad = {"TEXT": GTUBE.decode()}
    async with ScriptedRspamd() as rspamd, plugin(rspamd) as spam_filter:
        assert await copies(spam_filter, {"TEXT": LONG}, bad, {"TEXT": LONG}, bad, {"NAME": "Eve"}) == [
            "None",
            SPAM,
            "None",
            SPAM,
            "None",
        ]
        assert [asked.headers["Rcpt"] for asked in rspamd.asked] == ["<r0@example.net>", "<r1@example.net>"]
        await copies(spam_filter, {"TEXT": LONG})
        assert len(rspamd.asked) == 3, "another message is another question"


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        ("defer", LATER),
        ("reject", "550 5.7.1 the message has too many variants to be checked"),
        ("pass", "None"),
        ("tag", "Yes None"),
    ],
)
async def test_more_sets_than_scans_have_their_answer(wanted: str, answer: str) -> None:
    config = {"merge_scans": 2, "when_over_merge_scans": wanted}
    async with ScriptedRspamd() as rspamd, plugin(rspamd, **config) as spam_filter:
        sets = [{"TEXT": LONG + str(number)} for number in (0, 1, 2, 0)]
        assert await copies(spam_filter, *sets) == ["None", "None", answer, "None"]
        assert len(rspamd.asked) == 2


async def test_a_copy_is_tagged_by_its_own_scan() -> None:
    async with ScriptedRspamd(opinion("add header", 9)) as rspamd, plugin(rspamd) as spam_filter:
        assert await copies(spam_filter, {"TEXT": LONG}, {"NAME": "Eve"}) == ["Yes 9.00", "None"]


async def test_a_copy_without_an_opinion_waits() -> None:
    async with ScriptedRspamd(500) as rspamd, plugin(rspamd) as spam_filter:
        assert await copies(spam_filter, {"TEXT": LONG}, {"TEXT": LONG}) == [LATER, LATER]
        assert len(rspamd.asked) == 1


async def test_without_scans_values_are_not_counted() -> None:
    async with plugin("", merge_scans=0) as spam_filter:
        assert await copies(spam_filter, {"TEXT": LONG}) == ["None"]
        assert await on_data(spam_filter) == "None"


# The configuration.


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"url": "rspamd:11333"}, "the URL of rspamd is written as"),
        ({"url": "ftp://127.0.0.1"}, "the URL of rspamd is written as"),
        ({"url": "http://user@127.0.0.1/"}, "the URL of rspamd is written as"),
        ({"url": "http://[x/"}, "the URL of rspamd is written as"),
        ({"rule": [{"on_reject": "tag"}, {"streams": ["news"]}]}, "write it last"),
        ({"rule": [{"on_reject": "tempfail"}]}, "Input should be"),
        ({"flag_field": "X Spam"}, "pattern"),
        ({"timeout": "0s"}, "greater than 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(config: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        SpamFilter.Config.model_validate(config)


async def test_check_warns_of_a_filter_that_would_miss_merge_values(tmp_path: Path) -> None:
    (tmp_path / "spam_filter.toml").write_text('url = ""')
    listener = '[[listener]]\nname = "a"\nkind = "mta"\naddresses = ["127.0.0.1:0"]\n'
    for plugins, warnings in (
        (
            '["spam_filter", "merge_tags"]',
            ['"spam_filter" must see what "merge_tags" does: list it behind "merge_tags"'],
        ),
        ('["merge_tags", "spam_filter"]', []),
        ('["spam_filter"]', []),
    ):
        (tmp_path / "mtaframe.toml").write_text(f"plugins = {plugins}\n{listener}")
        assert [str(fault).partition("plugins.0: ")[2] for fault in await faults_of(tmp_path)] == warnings


async def test_an_account_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match='there is no account "shpo"'):
        async with plugin("", rule=[{"accounts": ["shpo"]}]):
            pass


async def test_findings_are_logged_without_a_word_of_the_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mtaframe.spam_filter")
    assert await answer_to(opinion("reject", 17.25)) == SPAM
    assert caplog.messages == ["scan id=m1 account=- stream=- action=reject score=17.25 answer=reject"]
