"""Which merge values are worth a scan, and what the scans of one message have found.

The rule: values are user input behind a message that has been seen; what they could bring in is looked at again.
"""

import re

from mtaframe import Envelope, Private
from mtaframe_plugins.spam_filter.decision import Decision

FREE = 64
"""Characters that all values of a recipient may hold together without a scan."""

_LINK_OR_MARKUP = re.compile(r"[<>]|://|\bwww\.|\b(?:mailto|javascript|data):", re.IGNORECASE)
_BARE_LINK = re.compile(r"[\w-]\.[a-z]{2,24}(?:[/?#:]|$)", re.IGNORECASE | re.MULTILINE)


def decisions(_: Envelope) -> dict[Private[str], Decision]:
    """What was decided by set of values, empty at first. ``Envelope.derived`` keeps it as long as the message lives."""
    return {}


def is_worth_a_scan(values: Private[str]) -> bool:
    """Whether the values could turn a good message into spam: a URL, markup, or more than 64 characters."""
    return sum(map(len, values.values())) > FREE or any(
        _LINK_OR_MARKUP.search(value) or _BARE_LINK.search(value) for value in values.values()
    )
