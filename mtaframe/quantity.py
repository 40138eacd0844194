"""Durations and sizes as people write them in TOML, for the core's settings and for plugins' own."""

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS_OF_TIME = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS_OF_SIZE = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)")


def seconds(value: object) -> float:
    """Seconds from text such as "10s", "1.5 h" or "4d". ValueError tells how to write it."""
    return _quantity(value, _UNITS_OF_TIME, 'a duration is written as "10s", "500ms", "5m", "2h" or "4d"')


def octets(value: object) -> int:
    """Octets from text such as "25 MB" or "64 KiB". ValueError tells how to write it."""
    return int(_quantity(value, _UNITS_OF_SIZE, 'a size is written as "25 MB", "64 KiB" or "500 B"'))


def _quantity(value: object, units: dict[str, float] | dict[str, int], help_text: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0:
        return 0.0
    found = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or found[2] not in units:
        raise ValueError(help_text)
    return float(found[1]) * units[found[2]]


def _written(value: float, units: dict[str, float] | dict[str, int], gap: str) -> str:
    """With the largest unit that gives a whole number; never in exponent form, which could not be read again."""
    for unit, worth in sorted(units.items(), key=lambda entry: -entry[1]):
        count = value / worth
        if count >= 1 and count == int(count):
            return f"{int(count)}{gap}{unit}"
    smallest = min(units, key=units.__getitem__)
    return f"{value / units[smallest]:.6f}".rstrip("0").rstrip(".") + gap + smallest


Duration = Annotated[
    float,
    BeforeValidator(seconds),
    PlainSerializer(lambda value: None if value is None else _written(value, _UNITS_OF_TIME, "")),
    WithJsonSchema({"type": "string", "examples": ["10s", "5m", "4d"]}),
]
"""Seconds; written as "10s", "5m", "2h", "4d"."""

Size = Annotated[
    int,
    BeforeValidator(octets),
    PlainSerializer(lambda value: None if value is None else _written(value, _UNITS_OF_SIZE, " ")),
    WithJsonSchema({"type": "string", "examples": ["25 MB", "64 KiB"]}),
]
"""Octets; written as "25 MB", "64 KiB"."""
