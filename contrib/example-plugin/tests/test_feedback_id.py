"""The plugin alone, and as mtaframe finds it."""

import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from mtaframe.testing import RecordingMta, delivery, envelope, message
from pydantic import ValidationError

from mtaframe_feedback_id import FeedbackId

SHIPPED = Path(__file__).parent.parent / "conf" / "feedback_id.toml"


def plugin(**keys: object) -> FeedbackId:
    return FeedbackId(FeedbackId.Config.model_validate(keys), RecordingMta())


def test_the_field_stands_on_top() -> None:
    changed = plugin(sender="example").before_sign(delivery(envelope=envelope(stream="receipts", account="shop")))
    assert changed is not None
    assert changed.message.fields[0].raw == b"Feedback-ID: receipts:shop::example\r\n"


def test_what_is_unknown_stays_empty() -> None:
    changed = plugin().before_sign(delivery())
    assert changed is not None
    assert changed.message.first("Feedback-ID") == ":::mtaframe"


def test_a_name_cannot_break_the_field() -> None:
    changed = plugin().before_sign(delivery(envelope=envelope(account="a:b\r\nX-Evil: yes")))
    assert changed is not None
    assert changed.message.first("Feedback-ID") == ":a-b-X-Evil-yes::mtaframe"


@pytest.mark.parametrize(("replaced", "value"), [(False, None), (True, ":::mtaframe")])
def test_the_clients_own_field(replaced: bool, value: str | None) -> None:
    copy = delivery(message=message(fields={"Feedback-ID": "1:2:3:client"}))
    changed = plugin(replace=replaced).before_sign(copy)
    assert (changed and [f.value for f in changed.message.fields if f.name == "Feedback-ID"]) == (value and [value])


@pytest.mark.parametrize("sender", ["four", "sixteen_characts", "with:colon"])
def test_a_sender_that_gmail_would_not_take_is_refused(sender: str) -> None:
    with pytest.raises(ValidationError, match="sender"):
        plugin(sender=sender)


def test_the_shipped_file_shows_every_key_with_its_default() -> None:
    shown = tomllib.loads(re.sub(r"(?m)^#(?=\w+ = )", "", SHIPPED.read_text()))
    assert set(shown) == set(FeedbackId.Config.model_fields)
    assert FeedbackId.Config.model_validate(shown) == FeedbackId.Config()


def test_mtaframe_finds_it() -> None:
    [found] = entry_points(group="mtaframe", name="feedback_id")
    assert found.load() is FeedbackId
