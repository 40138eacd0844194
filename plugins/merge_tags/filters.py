"""The filters and tests of the template language. Each is given the bounds of the copy, the value and its arguments."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote

from mtaframe_plugins.merge_tags import writing
from mtaframe_plugins.merge_tags.operations import (
    PLAIN,
    UNDEFINED,
    Encoded,
    Fault,
    Json,
    Markup,
    bounded,
    joined,
    made,
    member,
    members,
    number,
    text,
    truth,
    used,
    whole,
)
from mtaframe_plugins.merge_tags.text import Values

_FORMAT = re.compile(r"%(?:%|([ +0-]{0,3}\d{0,2}(?:\.\d{0,2})?)([sdf]))")
_LONGEST_NUMBER = 40
_DEEPEST = 40


def _default(values: Values, value: object, other: object = "", boolean: object = False) -> object:
    return other if value is UNDEFINED or (boolean and not value) else value


def _of_text(work: Callable[[str], str]) -> "Filter":
    def filtered(values: Values, value: object) -> object:
        found = text(value)
        values.work(len(found))
        return made(work(found), values)

    return filtered


def _replace(values: Values, value: object, old: object, new: object) -> object:
    whole_text, old_text, new_text = text(value), text(old), text(new)
    values.work(len(whole_text) + len(old_text))
    growth = whole_text.count(old_text) * len(new_text)
    values.take(len(whole_text) + growth)
    values.work(growth)
    return whole_text.replace(old_text, new_text)


def _truncate(values: Values, value: object, length: object = 255, killwords: object = False, end: object = "…") -> str:
    """At the end of a word, unless ``killwords``."""
    found, room, tail = text(value), whole(length), text(end)
    if len(found) <= room:
        return found
    cut = found[: max(room - len(tail), 0)]
    return joined([cut if killwords or " " not in cut else cut.rpartition(" ")[0], tail], values)


def _join(values: Values, value: object, between: object = "", attribute: object = None) -> str:
    gap = text(between)
    texts = [text(each) for each in _picked(values, value, attribute)]
    values.take(len(gap) * len(texts))
    values.work(len(gap) * len(texts))
    made_of = joined(texts, values)
    return gap.join(texts) if gap else made_of


def _length(values: Values, value: object) -> int:
    return len(value) if isinstance(value, str) else len(members(value))


def _first(values: Values, value: object) -> object:
    return member(value if isinstance(value, str) else members(value), 0, values)


def _last(values: Values, value: object) -> object:
    return member(value if isinstance(value, str) else members(value), -1, values)


def _int(values: Values, value: object, default: object = 0) -> object:
    try:
        return bounded(int(_parsed(value)))
    except ValueError:
        return default


def _float(values: Values, value: object, default: object = 0.0) -> object:
    try:
        return bounded(float(_parsed(value)))
    except ValueError:
        return default


def _parsed(value: object) -> int | float:
    if isinstance(value, (int, float)):
        return value
    found = text(value).strip() if isinstance(value, str) and len(value) <= _LONGEST_NUMBER else ""
    return int(found) if found.lstrip("+-").isdecimal() else float(found)


def _round(values: Values, value: object, precision: object = 0) -> object:
    return bounded(round(number(value), max(-30, min(whole(precision), 30))))


def _format(values: Values, value: object, *arguments: object) -> str:
    """``"%.2f"|format(total)``: %s, %d and %f, with widths of two digits."""
    pattern, waiting = text(value), list(arguments)
    values.work(len(pattern) * 4)

    def written(found: re.Match[str]) -> str:
        if found[2] is None:
            return "%"
        if not waiting:
            raise Fault(PLAIN)
        argument = waiting.pop(0)
        plain = text(argument) if found[2] == "s" else bounded(number(argument))
        return made(f"%{found[1]}{found[2]}" % plain, values)

    return made(_FORMAT.sub(written, pattern), values)


def _urlencode(values: Values, value: object) -> Encoded:
    found = text(value)
    values.work(len(found) * 4)
    return Encoded(made(quote(found, safe=""), values))


def _safe(values: Values, value: object) -> Markup:
    return Markup(made(text(value), values))


def _escape(values: Values, value: object) -> str:
    return value if isinstance(value, Markup) else Markup(made(writing.in_html(text(value)), values))


def _tojson(values: Values, value: object) -> Json:
    plain = _plain(values, used(value, values), 0)
    return Json(made(json.dumps(plain).translate(writing.MARKUP), values))


def _plain(values: Values, value: object, depth: int) -> object:
    """As ``json`` knows it; each visit is paid for, and an object that stands in many places is visited in each."""
    values.work(len(value) if isinstance(value, str) else 0)
    if depth > _DEEPEST:
        raise Fault(PLAIN)
    if isinstance(value, str):
        values.take(len(value))
        return str(value)
    if isinstance(value, Mapping):
        return {text(name): _plain(values, each, depth + 1) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(values, each, depth + 1) for each in value]
    return None if value is UNDEFINED else value


def _items(values: Values, value: object) -> object:
    if value is UNDEFINED or value is None:
        return ()
    if not isinstance(value, Mapping):
        raise Fault(PLAIN)
    values.work(0, len(value))
    return tuple(value.items())


def _picked(values: Values, value: object, attribute: object) -> Sequence[object]:
    found = members(value)
    values.work(0, len(found))
    return found if attribute is None else [_reached(values, each, text(attribute)) for each in found]


def _reached(values: Values, value: object, attribute: str) -> object:
    for step in attribute.split("."):
        value = member(value, step, values)
    return value


def _map(values: Values, value: object, attribute: object) -> object:
    return _picked(values, value, attribute)


def _sum(values: Values, value: object, attribute: object = None, start: object = 0) -> object:
    total = number(start)
    for each in _picked(values, value, attribute):
        total = bounded(total + number(each))
    return total


def _sort(values: Values, value: object, reverse: object = False, attribute: object = None) -> object:
    found = members(value)
    keys = _picked(values, value, attribute)
    if all(isinstance(key, (int, float)) for key in keys) or all(isinstance(key, str) for key in keys):
        values.work(16 * sum(len(key) for key in keys if isinstance(key, str)), 16 * len(keys))
        order = sorted(range(len(found)), key=lambda at: cast("Any", keys[at]), reverse=bool(reverse))
        return [found[at] for at in order]
    raise Fault(PLAIN)


def _extreme(pick: "Callable[[Sequence[Any]], object]") -> "Filter":
    def filtered(values: Values, value: object, attribute: object = None) -> object:
        found = cast("Sequence[object]", _sort(values, value, attribute=attribute))
        return pick(found) if found else UNDEFINED

    return filtered


def _reverse(values: Values, value: object) -> object:
    found = value if isinstance(value, str) else members(value)
    values.work(len(found), len(found) if not isinstance(found, str) else 1)
    values.take(len(found))
    return found[::-1]


Filter = Callable[..., object]

FILTERS: Mapping[str, Filter] = {
    "abs": lambda values, value: abs(number(value)),
    "capitalize": _of_text(str.capitalize),
    "count": _length,
    "d": _default,
    "default": _default,
    "e": _escape,
    "escape": _escape,
    "first": _first,
    "float": _float,
    "format": _format,
    "int": _int,
    "items": _items,
    "join": _join,
    "last": _last,
    "length": _length,
    "lower": _of_text(str.lower),
    "map": _map,
    "max": _extreme(lambda found: found[-1]),
    "min": _extreme(lambda found: found[0]),
    "replace": _replace,
    "reverse": _reverse,
    "round": _round,
    "safe": _safe,
    "sort": _sort,
    "string": _of_text(str),
    "sum": _sum,
    "title": _of_text(str.title),
    "tojson": _tojson,
    "trim": _of_text(str.strip),
    "truncate": _truncate,
    "upper": _of_text(str.upper),
    "urlencode": _urlencode,
}
TAKES_UNDEFINED = frozenset({"d", "default"})

TESTS: Mapping[str, Filter] = {
    "defined": lambda values, value: value is not UNDEFINED,
    "undefined": lambda values, value: value is UNDEFINED,
    "none": lambda values, value: value is None,
    "true": lambda values, value: value is True,
    "false": lambda values, value: value is False,
    "string": lambda values, value: isinstance(value, str),
    "number": lambda values, value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "mapping": lambda values, value: isinstance(value, Mapping),
    "sequence": lambda values, value: isinstance(value, (tuple, list)),
    "iterable": lambda values, value: isinstance(value, (tuple, list, Mapping)),
    "odd": lambda values, value: whole(value) % 2 == 1,
    "even": lambda values, value: whole(value) % 2 == 0,
    "divisibleby": lambda values, value, by: whole(value) % whole(by) == 0,
    "empty": lambda values, value: not truth(value, values),
}
