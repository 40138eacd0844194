"""A message that waits for its next hop costs little: the practical side of "250 means delivered"."""

from contrib.bench.held import held
from contrib.bench.rows import chosen


def test_five_hundred_transactions_are_held_at_once_in_little_memory() -> None:
    """`make bench-held` with fewer: resident memory of all processes, without the messages' own."""
    [row] = chosen("mtaframe")
    found = held(row, 500, 1.0, 1024, lambda step: None)
    assert 490 <= found.most <= 500, "somebody may be between two messages at every look"
    assert found.each < 30 * 1024
    assert found.rate > 0.5 * found.ideal, "a busy machine takes its time, but nobody waits for another's answer"
