"""What a copy is personalised with: plain data that never changes, and whose tables never print.

The rule: no object with code behind it is a variable, so whoever fills them in can trust what it walks through.
"""

import math
from collections.abc import Mapping

from mtaframe.redaction import Private

Variable = str | int | float | bool | None | tuple["Variable", ...] | Private["Variable"]
"""Text, a number, true or false, nothing, a list of variables, or a table of them by name."""

MAX_DEPTH = 20
"""Lists and tables in each other."""
_TOO_LARGE = 10**30


def variable(data: object) -> Variable:
    """Such a value from JSON-like data: dicts, lists, text, numbers, true, false, None.

    ValueError says what is wrong and quotes nothing.
    """
    return _variable(data, MAX_DEPTH)


def _variable(data: object, depth: int) -> Variable:
    if data is None or isinstance(data, bool):
        return data
    if isinstance(data, str):
        return _text(data)
    if isinstance(data, int):
        if abs(data) >= _TOO_LARGE:
            raise ValueError("a number may have thirty digits")
        return int(data)
    if isinstance(data, float):
        if not math.isfinite(data):
            raise ValueError("a number must be finite")
        return float(data)
    if depth <= 0:
        raise ValueError(f"lists and objects may be nested {MAX_DEPTH} deep")
    if isinstance(data, (list, tuple)):
        return tuple([_variable(each, depth - 1) for each in data])
    if isinstance(data, Mapping):
        return Private({_name(name): _variable(each, depth - 1) for name, each in data.items()})
    raise ValueError("a value must be text, a number, true, false, null, a list or an object")


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise ValueError("the name of a value must be text")
    return _text(name)


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("all text must be valid UTF-8") from None
    return str(text)
