"""A final dot goes out only while there is time for its answer, by what the host usually takes."""

import pytest

from mtaframe import Outcome
from mtaframe.smtp_client.answer_time import FLOOR, AnswerTimes
from mtaframe.testing import ScriptedMx
from tests.core.sending import sender


def test_a_peak_fades_as_faster_answers_come():
    times = AnswerTimes()
    assert times.needed("192.0.2.1", 280) == FLOOR
    times.note("192.0.2.1", 60)
    assert times.needed("192.0.2.1", 280) == 60
    for _ in range(35):
        times.note("192.0.2.1", 0.1)
    assert times.needed("192.0.2.1", 280) == pytest.approx(30, rel=0.1)
    assert times.needed("192.0.2.2", 280) == FLOOR


def test_half_of_the_patience_is_always_enough():
    """Else a host that takes longer than a client waits would never get a mail of it."""
    times = AnswerTimes()
    times.note("192.0.2.1", 600)
    assert times.needed("192.0.2.1", 25) == 12.5


async def test_too_late_for_the_answer_no_dot_goes_out():
    """RCPT took so long that the answer to the dot would come after the client's patience: 451, and no doubt."""
    async with ScriptedMx() as mx, sender() as client:
        mx.script("rcpt", "250 2.1.5 ok", delay=0.7)
        [result] = await client.send(client.to(mx), patience=1.0)
        assert (result.outcome, result.in_doubt, client.attempt.dot_sent) == (Outcome.DEFERRED, False, False)
        assert not mx.received
        [result] = await client.send(client.to(mx), patience=1.0)
        assert result.outcome is Outcome.DELIVERED
