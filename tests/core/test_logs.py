"""Log lines: the same keys for people and machines, and a recipient as the operator wants it shown."""

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest

from mtaframe.logs import MOMENT, Json, Lines, RecipientTag, set_up, tell
from mtaframe.settings import LogSettings
from mtaframe.testing import VirtualClock, address


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
    assert RecipientTag(mode)(address("bob@example.net"), VirtualClock()) == shown


def test_a_tag_is_the_same_all_day_and_another_the_next_day_and_elsewhere() -> None:
    tag, other = RecipientTag("tag"), RecipientTag("tag")
    bob, carol = address("bob@example.net"), address("carol@example.net")
    clock = VirtualClock()
    first = tag(bob, clock)
    others = {tag(carol, clock), other(bob, clock)}
    clock.advance(11 * 3600)
    assert tag(bob, clock) == first
    clock.advance(3600)
    assert len({first, *others, tag(bob, clock)}) == 4
    assert "bob" not in first


@pytest.fixture
def loggers() -> Iterator[None]:
    """They are afterwards as they were before."""
    ours, root = logging.getLogger("mtaframe"), logging.getLogger()
    before = ours.level, root.level, root.handlers[:]
    flags = logging.logThreads, logging.logProcesses, logging.logMultiprocessing, logging._srcfile
    yield
    ours.setLevel(before[0])
    root.setLevel(before[1])
    root.handlers[:] = before[2]
    logging.logThreads, logging.logProcesses, logging.logMultiprocessing, logging._srcfile = flags


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.usefixtures("loggers")
def test_the_short_way_says_what_the_long_one_does(
    capsys: pytest.CaptureFixture[str], form: Literal["text", "json"]
) -> None:
    set_up(LogSettings(format=form))
    log = logging.getLogger("mtaframe.dispatch")
    log.info("attempt id=%s took=%.3f", "a1", 0.5)
    tell(log, "attempt id=%s took=%.3f", "a1", 0.5)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    if form == "json":
        lines = [{**json.loads(line), "at": None} for line in lines]
        assert lines[0]["took"] == "0.500"
    assert lines[0] == lines[1]


@pytest.mark.usefixtures("loggers")
def test_who_else_hears_a_log_hears_the_short_way_too(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    set_up(LogSettings())
    log, ear = logging.getLogger("mtaframe.dispatch"), Ear()
    for logger in (log, logging.getLogger("mtaframe"), logging.getLogger()):
        logger.addHandler(ear)
        tell(log, "attempt id=%s", "a1")
        logger.removeHandler(ear)
    tell(log, "attempt id=%s", "a2")
    assert heard == ["attempt id=a1"] * 3
    assert capsys.readouterr().err.splitlines() == ["INFO attempt id=a1"] * 3 + ["INFO attempt id=a2"]


@pytest.mark.usefixtures("loggers")
def test_what_is_not_to_be_said_is_not_said_the_short_way(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(LogSettings(level="warning"))
    tell(logging.getLogger("mtaframe.dispatch"), "attempt id=%s", "a1")
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("loggers")
async def test_lines_of_a_moment_are_written_together_and_a_warning_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(LogSettings())
    log = logging.getLogger("mtaframe.dispatch")
    tell(log, "one")
    log.info("two")
    assert capsys.readouterr().err == ""
    log.warning("three")
    assert capsys.readouterr().err == "INFO one\nINFO two\nWARNING three\n"
    tell(log, "four")
    await asyncio.sleep(MOMENT * 5)
    assert capsys.readouterr().err == "INFO four\n"
