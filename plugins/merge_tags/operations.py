"""What the template language can do with values, each operation within the bounds of the copy.

The rule: a value is plain data. Whatever makes a text or looks through one pays for it before it does so.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from mtaframe_plugins.merge_tags.text import MissingError, Values

_TOO_LARGE = 10**30
_HIGHEST_POWER = 100

PLAIN = "these values do not go together"
NO_TEXT = "a list or an object is no text; use join, tojson or a loop"
TOO_LARGE = "a number is too large"


class Fault(Exception):
    """Something that a template may not do. The text is for its author and quotes nothing."""


class Undefined:
    """A name without a value: empty, false, and so is whatever it is asked for."""


UNDEFINED = Undefined()


class Markup(str):
    """What the author of the template calls safe HTML."""

    __slots__ = ()


class Encoded(Markup):
    """Percent-encoded text: safe wherever it stands."""

    __slots__ = ()


class Json(str):
    """A value as JSON, safe in a script."""

    __slots__ = ()


def used(value: object, values: Values) -> object:
    """The value; MissingError if it has none and all must have one."""
    if value is UNDEFINED and values.is_strict:
        raise MissingError
    return value


def text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None or value is UNDEFINED:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    raise Fault(NO_TEXT)


def number(value: object) -> int | float:
    if isinstance(value, (int, float)):
        return value
    raise Fault(PLAIN)


def whole(value: object) -> int:
    if isinstance(value, int):
        return value
    raise Fault(PLAIN)


def members(value: object) -> Sequence[object]:
    """What a loop goes through: the members of a list, the names of an object."""
    if isinstance(value, (tuple, list)):
        return value
    if value is None or value is UNDEFINED:
        return ()
    if isinstance(value, Mapping):
        return list(value)
    raise Fault(PLAIN)


def truth(value: object, values: Values) -> bool:
    return bool(used(value, values)) and value is not UNDEFINED


def made(result: str, values: Values) -> str:
    values.take(len(result))
    values.work(len(result))
    return result


def bounded(result: int | float | complex) -> int | float:
    if isinstance(result, complex) or not math.isfinite(result):
        raise Fault(PLAIN)
    if abs(result) >= _TOO_LARGE:
        raise Fault(TOO_LARGE)
    return result


def added(one: object, other: object, values: Values) -> object:
    if isinstance(one, str) and isinstance(other, str):
        return joined([one, other], values)
    return bounded(number(one) + number(other))


def multiplied(one: object, other: object, values: Values) -> object:
    if isinstance(other, str):
        one, other = other, one
    if isinstance(one, str):
        times = max(whole(other), 0)
        values.take(len(one) * times)
        values.work(len(one) * times)
        return one * times
    return bounded(number(one) * number(other))


def raised(one: object, other: object, values: Values) -> object:
    base, exponent = number(one), number(other)
    if abs(exponent) > _HIGHEST_POWER:
        raise Fault(TOO_LARGE)
    return bounded(base**exponent)


def joined(texts: Sequence[str], values: Values) -> str:
    size = sum(map(len, texts))
    values.take(size)
    values.work(size)
    return "".join(texts)


_ARITHMETIC: Mapping[str, Callable[[int | float, int | float], int | float]] = {
    "Sub": lambda one, other: one - other,
    "Div": lambda one, other: one / other,
    "FloorDiv": lambda one, other: one // other,
    "Mod": lambda one, other: one % other,
}


def reckoned(operator: str) -> Callable[[object, object, Values], object]:
    work = _ARITHMETIC[operator]
    return lambda one, other, values: bounded(work(number(one), number(other)))


def compared(operator: str, one: object, other: object, values: Values) -> bool:
    if operator in ("eq", "ne"):
        return _equal(one, other, values) == (operator == "eq")
    if operator in ("in", "notin"):
        return _holds(used(other, values), one, values) == (operator == "in")
    one, other = used(one, values), used(other, values)
    if isinstance(one, str) and isinstance(other, str):
        values.work(min(len(one), len(other)))
        order = (one > other) - (one < other)
    else:
        left, right = number(one), number(other)
        order = (left > right) - (left < right)
    return {"lt": order < 0, "lteq": order <= 0, "gt": order > 0, "gteq": order >= 0}[operator]


def _equal(one: object, other: object, values: Values) -> bool:
    """Lists and objects are equal to themselves alone: to compare them could take for ever."""
    if isinstance(one, str) and isinstance(other, str):
        values.work(min(len(one), len(other)))
        return one == other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other
    return used(one, values) is used(other, values)


def _holds(whole: object, part: object, values: Values) -> bool:
    if isinstance(whole, str):
        part = text(part)
        values.work(len(whole) + len(part))
        return part in whole
    if isinstance(whole, Mapping):
        return isinstance(part, str) and part in whole
    return any(_equal(part, each, values) for each in members(whole))


def member(value: object, key: object, values: Values) -> object:
    """``a.b`` and ``a["b"]`` of an object, ``a[0]`` of a list or a text; never an attribute of anything."""
    value = used(value, values)
    if isinstance(value, Mapping):
        return value.get(key, UNDEFINED) if isinstance(key, str) else UNDEFINED
    if isinstance(value, (str, tuple, list)) and isinstance(key, int):
        return value[key] if -len(value) <= key < len(value) else UNDEFINED
    return UNDEFINED


def section(value: object, start: object, stop: object, step: object, values: Values) -> object:
    """``a[1:3]``."""
    value = used(value, values)
    if value is UNDEFINED or value is None:
        return value
    if not isinstance(value, (str, tuple, list)):
        raise Fault(PLAIN)
    places = slice(*(None if each is None else whole(each) for each in (start, stop, step)))
    values.work(len(value))
    values.take(len(value))
    return value[places]
