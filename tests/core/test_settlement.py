"""One reply for several recipients: each row of the table for plain SMTP, decided by values alone."""

import time
from dataclasses import replace

import pytest

from mtaframe.delivery import Outcome, Result
from mtaframe.reply import Reply
from mtaframe.settlement import HELD, HELD_BACK, Settlement, settlement

ID = "0123456789abcdef"
OK = Result(Outcome.DELIVERED, Reply(250, "2.0.0", "queued as 42"), "smtp")
OK_TOO = Result(Outcome.DELIVERED, Reply(250, "2.6.0", "taken"), "smtp")
NO = Result(Outcome.FAILED, Reply(550, "5.1.1", "no such user"), "smtp")
FULL = Result(Outcome.FAILED, Reply(552, "5.2.2", "full"), "smtp")
LATER = Result(Outcome.DEFERRED, Reply(450, "4.2.1", "busy"), "smtp")
LATER_STILL = Result(Outcome.DEFERRED, Reply(451, "4.4.1", "no route"), "smtp")
GONE = Result(Outcome.DISCARDED, Reply(250, "2.0.0", "message discarded"), "bin")

ROWS = {
    "one delivered: the next hop's words and our id": ([OK], f"250 2.0.0 queued as 42 [{ID}]", ()),
    "all delivered alike": ([OK, OK], f"250 2.0.0 queued as 42 [{ID}]", ()),
    "all delivered, each in other words": ([OK, OK_TOO], f"250 2.0.0 delivered to 2 recipients [{ID}]", ()),
    "all failed alike": ([NO, NO], "550 5.1.1 no such user", ()),
    "all failed, unlike": ([NO, FULL], "554 5.0.0 failed for all recipients, for different reasons", ()),
    "delivered and failed": ([NO, OK, FULL], f"250 2.0.0 queued as 42 [{ID}]", (0, 2)),
    "one deferred": ([LATER], "450 4.2.1 busy", ()),
    "delivered and deferred": ([OK, LATER], "451 4.2.1 1 of 2 recipients not done yet: busy", ()),
    "failed and deferred": ([NO, LATER], "451 4.2.1 1 of 2 recipients not done yet: busy", ()),
    "deferred for different reasons": ([LATER, LATER_STILL], "451 4.2.1 2 of 2 recipients not done yet: busy", ()),
    "all three": ([OK, NO, LATER_STILL], "451 4.4.1 1 of 3 recipients not done yet: no route", ()),
    "discarded": ([GONE], f"250 2.0.0 message discarded [{ID}]", ()),
}


@pytest.mark.parametrize("row", ROWS)
def test_each_row(row):
    results, line, report = ROWS[row]
    settled = settlement(results, ID)
    assert settled.reply.line == line
    assert settled.report == report


def test_a_reply_to_all_names_what_held_the_message_back():
    held_back = replace(LATER, reply=HELD_BACK)
    assert settlement([held_back, LATER], ID).reply.line == "451 4.2.1 2 of 2 recipients not done yet: busy"
    assert settlement([OK, held_back], ID).reply.status == "4.4.0"


def test_what_is_held_in_memory_is_named():
    everyone = "held in memory, not delivered yet"
    assert settlement([HELD, HELD], ID).reply.line == f"250 2.0.0 {everyone} [{ID}]"
    assert settlement([OK, HELD, OK], ID).reply.line == f"250 2.0.0 1 of 3 recipients {everyone} [{ID}]"
    assert settlement([NO, HELD], ID) == Settlement(settlement([HELD], ID).reply, (0,))


GIVEN_UP = {
    "delivered and still deferred: the rest is reported": ([OK, LATER, NO], 250, (1, 2)),
    "nobody delivered: the upstream reports it": ([NO, LATER], 554, ()),
    "nothing open any more": ([OK, OK], 250, ()),
}


@pytest.mark.parametrize("row", GIVEN_UP)
def test_after_give_up(row):
    results, code, report = GIVEN_UP[row]
    settled = settlement(results, ID, given_up=True)
    assert (settled.reply.code, settled.report) == (code, report)


def test_it_is_settled_in_time_linear_in_the_recipients():
    many = [replace(OK, took=float(number)) for number in range(20_000)]
    began = time.perf_counter()
    assert settlement(many, ID).report == ()
    assert time.perf_counter() - began < 2
