"""The variables that a message brings: one JSON object by recipient, in a header field.

The rule: what is wrong with it is told in words that help to mend it and quote nothing of it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from mtaframe import Envelope, Field, Private, Recipient, Redacted, Variable, decoded_value, variable
from mtaframe_plugins.merge_tags.settings import NAMES_NOTE, DialectName

LONGEST_NAME = 64
"""Characters of a name that is looked for in every text."""
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*+"), 'is letters, digits and "_", and begins with a letter'
_NAMES: Mapping[DialectName, tuple["re.Pattern[str]", str]] = {
    "tags": _WORD,
    "templates": _WORD,
    "braces": (re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*+"), 'is letters, digits, "_", "-" and ".", first a letter or "_"'),
    "literal": (
        re.compile(rf"[^\x00-\x1f\x7f]{{1,{LONGEST_NAME}}}"),
        f"is any text of 1 to {LONGEST_NAME} characters on one line",
    ),
}
_DIGITS = 30
NAMES_SIZE = 20_000
"""Octets of all names of a message together."""
MOST_VALUES = 1_000_000
"""Variables of all recipients of a message together, where not all are everybody's."""
_EVERYBODY = ("*", "global")


@dataclass(frozen=True, slots=True, repr=False)
class Variables(Redacted):
    """``own`` by (local part, domain); ``alike`` holds the same keys by (local part without case, domain)."""

    everybody: Private[Variable]
    own: dict[tuple[str, str], dict[str, Variable]]
    alike: dict[tuple[str, str], list[tuple[str, str]]]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in order. ValueError if they are more than a note can hold."""
        names = sorted({name for values in (self.everybody, *self.own.values()) for name in values})
        if sum(len(name.encode()) for name in names) > NAMES_SIZE:
            raise ValueError("there are too many different names")
        return tuple(names)

    def given_to_all(self, recipients: Iterable[Recipient]) -> Iterator[Recipient]:
        """Each with its variables. ValueError if they would take too much memory: what is everybody's is there once."""
        everyone = tuple(recipients)
        present, room = frozenset(key(recipient) for recipient in everyone), MOST_VALUES
        for recipient in everyone:
            given = self._given_to(recipient, present)
            room -= 0 if given.merge_vars is self.everybody else len(given.merge_vars)
            if room < 0:
                raise ValueError("there are too many variables for so many recipients")
            yield given

    def _given_to(self, recipient: Recipient, present: frozenset[tuple[str, str]]) -> Recipient:
        """With its variables: own ones before those that it has already, and these before everybody's."""
        name = key(recipient)
        if name not in self.own:
            # Case aside, a key may fit. But never one that is another recipient's exactly, or one of several.
            alike = self.alike.get((name[0].casefold(), name[1]), [])
            name = alike[0] if len(alike) == 1 and alike[0] not in present else ("", "")
        own = self.own.get(name, {})
        if not own and not recipient.merge_vars:
            return replace(recipient, merge_vars=self.everybody) if self.everybody else recipient
        return replace(recipient, merge_vars=Private({**self.everybody, **recipient.merge_vars, **own}))


def known_names(envelope: Envelope) -> frozenset[str]:
    """The names that somebody has a value for: any recipient of this transaction, or another of the message."""
    names: set[str] = set()
    for recipient in envelope.recipients:
        names.update(recipient.merge_vars)
    noted = envelope.notes.get(NAMES_NOTE)
    if isinstance(noted, tuple):
        names.update(name for name in noted if isinstance(name, str))
    return frozenset(names)


def key(recipient: Recipient) -> tuple[str, str]:
    return recipient.address.local_part, recipient.address.domain.casefold()


def read(fields: tuple[Field, ...], dialect: DialectName = "tags") -> Variables:
    """The variables in the field. ValueError says what to mend and quotes nothing."""
    if len(fields) > 1:
        raise ValueError("the field may stand only once; put all recipients into one JSON object")
    try:
        content = (_typed_json if dialect == "templates" else _json)(decoded_value(fields[0].value))
    except (ValueError, RecursionError):
        raise ValueError('this is not valid JSON; send {"joe@example.com": {"NAME": "Joe"}}') from None
    if not isinstance(content, dict):
        raise ValueError('send one JSON object by recipient: {"joe@example.com": {"NAME": "Joe"}}')
    everybody: dict[str, Variable] = {}
    variables = Variables(Private(), {}, {})
    for who, values in content.items():
        local_part, at, domain = who.strip().rpartition("@")
        if who in _EVERYBODY:
            everybody.update(_own(values, dialect))
        elif at and local_part and domain:
            name = (local_part, domain.casefold().removesuffix("."))
            if name not in variables.own:
                variables.alike.setdefault((local_part.casefold(), name[1]), []).append(name)
            variables.own.setdefault(name, {}).update(_own(values, dialect))
        else:
            raise ValueError('each key must be the address of a recipient, or "*" for all of them')
    return replace(variables, everybody=Private(everybody))


def _refused(constant: str) -> None:
    raise ValueError(constant)


def _number(text: str) -> int | str:
    """Longer ones are numbers of parcels, not to reckon with."""
    return int(text) if len(text) <= _DIGITS else text


_json = json.JSONDecoder(strict=False, parse_int=str, parse_float=str, parse_constant=_refused).decode
"""Numbers come as they were written: 1.50 stays 1.50."""
_typed_json = json.JSONDecoder(strict=False, parse_int=_number, parse_constant=_refused).decode


def _own(values: object, dialect: DialectName) -> dict[str, Variable]:
    if not isinstance(values, dict):
        raise ValueError('the variables of a recipient must be an object: {"NAME": "Joe"}')
    pattern, rule = _NAMES[dialect]
    if not all(map(pattern.fullmatch, values)):
        raise ValueError(f"the name of a variable {rule}")
    return {name: _value(value, dialect) for name, value in values.items()}


def _value(value: object, dialect: DialectName) -> Variable:
    """Lists and objects are for the dialects that can look into them."""
    if dialect in ("tags", "literal"):
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, str):
            raise ValueError("a value must be text, a number, true or false")
    return variable(value)
