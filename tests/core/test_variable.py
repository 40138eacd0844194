import math
from typing import Any

import pytest

from mtaframe import Private, Variable, variable

CANARY = "canary-7f3a"


def test_json_like_data_becomes_values_that_do_not_change() -> None:
    data = {"name": "Joe", "total": 19.5, "count": 2, "vip": True, "none": None, "items": [{"n": 1}, ["x"]]}
    found = variable(data)
    assert isinstance(found, Private)
    assert dict(found) == {
        "name": "Joe",
        "total": 19.5,
        "count": 2,
        "vip": True,
        "none": None,
        "items": (Private({"n": 1}), ("x",)),
    }
    assert hash(found) == hash(variable(data))
    assert variable(found) == found


def test_true_stays_true() -> None:
    found = variable([True, 1, 1.0])
    assert isinstance(found, tuple)
    assert [type(each) for each in found] == [bool, int, float]


def deep(levels: int) -> Any:
    found: Any = CANARY
    for _ in range(levels):
        found = [found]
    return found


def test_twenty_levels_are_taken() -> None:
    found: Variable = variable(deep(20))
    for _ in range(20):
        assert isinstance(found, tuple)
        found = found[0]
    assert found == CANARY


@pytest.mark.parametrize(
    "data",
    [
        {CANARY: object()},
        [b"canary-7f3a"],
        {1: CANARY},
        {CANARY: math.nan},
        [CANARY, math.inf],
        CANARY + "\ud800",
        {CANARY + "\ud800": 1},
        [CANARY, 10**30],
        deep(21),
        {CANARY},
        [CANARY, 1j],
    ],
)
def test_what_is_no_plain_data_is_refused_unquoted(data: object) -> None:
    with pytest.raises(ValueError, match=r"may|must") as failure:
        variable(data)
    assert CANARY not in str(failure.value)


def test_nothing_of_a_table_prints() -> None:
    assert CANARY not in repr(variable({"a": {CANARY: [CANARY]}}))
