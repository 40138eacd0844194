"""Which merge values are worth a scan, and what the scans of one message have found.

The rule: values are user input behind a message that has been seen; what they could bring in is looked at again.
"""

import re
from collections.abc import Iterable, Iterator

from mtaframe import Envelope, Private, Variable
from mtaframe_plugins.spam_filter.decision import Decision

FREE = 64
"""Characters that all values of a recipient may hold together without a scan."""

_LINK_OR_MARKUP = re.compile(r"[<>]|://|\bwww\.|\b(?:mailto|javascript|data):", re.IGNORECASE)
_BARE_LINK = re.compile(r"[\w-]\.(?:[^\W\d_]{2,24}|xn--[\w-]{1,59})(?![\w-])", re.IGNORECASE)
"""A domain, wherever it stands: programs for mail make a link of it."""


def decisions(_: Envelope) -> dict[Private[Variable], Decision]:
    """What was decided by set of values, empty at first. ``Envelope.derived`` keeps it as long as the message lives."""
    return {}


def is_worth_a_scan(values: Private[Variable]) -> bool:
    """Whether the values could turn a good message into spam: a URL, markup, or more than 64 characters."""
    texts = list(_texts(values.values()))
    return sum(map(len, texts)) > FREE or any(_LINK_OR_MARKUP.search(text) or _BARE_LINK.search(text) for text in texts)


def _texts(values: Iterable[Variable]) -> Iterator[str]:
    """All text in the values, however deep; a number is none that could matter."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, tuple):
            yield from _texts(value)
        elif isinstance(value, Private):
            yield from _texts(value.values())
