"""The variables that a message brings: one JSON object by recipient, in a header field.

The rule: what is wrong with it is told in words that help to mend it and quote nothing of it.
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from mtaframe import Field, Private, Recipient, Redacted, decoded_value

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*+")
_EVERYBODY = ("*", "global")


@dataclass(frozen=True, slots=True, repr=False)
class Variables(Redacted):
    """``own`` by (local part, domain); ``alike`` holds the same keys by (local part without case, domain)."""

    everybody: dict[str, str]
    own: dict[tuple[str, str], dict[str, str]]
    alike: dict[tuple[str, str], list[tuple[str, str]]]

    def given_to(self, recipient: Recipient, present: frozenset[tuple[str, str]]) -> Recipient:
        """With its variables: own ones before those that it has already, and these before everybody's."""
        name = key(recipient)
        if name not in self.own:
            # Case aside, a key may fit. But never one that is another recipient's exactly, or one of several.
            alike = self.alike.get((name[0].casefold(), name[1]), [])
            name = alike[0] if len(alike) == 1 and alike[0] not in present else ("", "")
        values = {**self.everybody, **recipient.merge_vars, **self.own.get(name, {})}
        if not values:
            return recipient
        return replace(recipient, merge_vars=Private(values))


def key(recipient: Recipient) -> tuple[str, str]:
    return recipient.address.local_part, recipient.address.domain.casefold()


def read(fields: tuple[Field, ...]) -> Variables:
    """The variables in the field. ValueError says what to mend and quotes nothing."""
    if len(fields) > 1:
        raise ValueError("the field may stand only once; put all recipients into one JSON object")
    try:
        content = _json(decoded_value(fields[0].value))
    except (ValueError, RecursionError):
        raise ValueError('this is not valid JSON; send {"joe@example.com": {"NAME": "Joe"}}') from None
    if not isinstance(content, dict):
        raise ValueError('send one JSON object by recipient: {"joe@example.com": {"NAME": "Joe"}}')
    variables = Variables({}, {}, {})
    for who, values in content.items():
        local_part, at, domain = who.strip().rpartition("@")
        if who in _EVERYBODY:
            variables.everybody.update(_texts(values))
        elif at and local_part and domain:
            name = (local_part, domain.casefold().removesuffix("."))
            if name not in variables.own:
                variables.alike.setdefault((local_part.casefold(), name[1]), []).append(name)
            variables.own.setdefault(name, {}).update(_texts(values))
        else:
            raise ValueError('each key must be the address of a recipient, or "*" for all of them')
    return variables


def _refused(constant: str) -> None:
    raise ValueError(constant)


_json = json.JSONDecoder(strict=False, parse_int=str, parse_float=str, parse_constant=_refused).decode


def _texts(values: object) -> dict[str, str]:
    if not isinstance(values, dict):
        raise ValueError('the variables of a recipient must be an object: {"NAME": "Joe"}')
    return {_name(name): _value(value) for name, value in values.items()}


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError('the name of a variable is letters, digits and "_", and begins with a letter')
    return name


def _value(value: Any) -> str:
    """Numbers come as they were written (1.50 stays 1.50)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        raise ValueError("a value must be text, a number, true or false")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("all text must be valid UTF-8") from None
    return value
