"""No parser takes more than linear time, whatever it is given: a few octets must not cost a second.

CPU time at one size and at a multiple of it, the least of several; a busy machine makes both slower.
"""

import gc
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.fuzz.shapes import PREFIXED, SHAPES, Work

TIMES = 6
"""How much larger the second input is; it may take three times as much longer."""
LEAST = 0.004
"""Seconds that the first measurement counts for at least: beneath, a clock's tick could fail a test."""


CASES = [
    pytest.param(work, shape, id=f"{work.__name__}-{shape!r}"[:60])
    for work, (_, shapes) in SHAPES.items()
    for shape in shapes
]


@pytest.fixture(autouse=True)
def _no_garbage_collection() -> Iterator[None]:
    """What it costs grows with what other tests have left."""
    gc.disable()
    yield
    gc.enable()


def seconds(work: Work, octets: bytes) -> float:
    began = time.process_time()
    with suppress(ValueError):
        work(octets)
    return time.process_time() - began


@pytest.mark.parametrize(("work", "shape"), CASES)
def test_time_is_linear(work: Work, shape: bytes) -> None:
    size, prefix = SHAPES[work][0], PREFIXED.get(work, b"")
    small, large = (prefix + shape * (length // len(shape)) for length in (size, size * TIMES))
    slow = fast = 0.0
    for _ in range(4):  # a busy machine may spoil a measurement, but hardly four
        slow = seconds(work, large)
        if slow < 3 * TIMES * LEAST or slow < 3 * TIMES * (fast := min(seconds(work, small) for _ in range(2))):
            return
    pytest.fail(f"{len(small)} octets took {fast:.4f} s, {len(large)} octets {slow:.4f} s")
