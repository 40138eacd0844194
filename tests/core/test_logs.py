"""Log lines: the same keys for people and machines, and a recipient as the operator wants it shown."""

import json
import logging
from datetime import UTC, datetime

import pytest

from mtaframe.logs import Json, Lines, RecipientTag
from mtaframe.testing import address

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("mtaframe", logging.ERROR, __file__, 1, text, arguments, None)


def test_json_has_the_keys_of_the_text_and_values_of_several_words_whole() -> None:
    line = Json().format(record("plugin fault plugin=%s hook=%s fault=%s", "x", "on_data", "wrong answer: no Message"))
    said = json.loads(line)
    assert said.pop("at").endswith("+00:00")
    assert said == {
        "level": "error",
        "event": "plugin fault",
        "plugin": "x",
        "hook": "on_data",
        "fault": "wrong answer: no Message",
    }


def test_a_line_without_keys_is_an_event_alone() -> None:
    assert json.loads(Json().format(record("stopping")))["event"] == "stopping"
    assert Lines(with_time=False).format(record("stopping")) == "ERROR stopping"


@pytest.mark.parametrize(("mode", "shown"), [("domain", "example.net"), ("none", "-")])
def test_a_recipient_is_its_domain_or_nothing(mode: str, shown: str) -> None:
    assert RecipientTag(mode)(address("bob@example.net"), NOW) == shown


def test_a_tag_is_the_same_all_day_and_another_the_next_day_and_elsewhere() -> None:
    tag, other = RecipientTag("tag"), RecipientTag("tag")
    bob, carol = address("bob@example.net"), address("carol@example.net")
    first = tag(bob, NOW)
    assert first == tag(bob, NOW)
    assert len({first, tag(carol, NOW), other(bob, NOW), tag(bob, NOW.replace(day=2))}) == 4
    assert "bob" not in first
