"""A webhook as its account holder sees it: a URL that events are posted to.

The rule: its secrets are for whoever owns it; neither they nor the URL are printed.
"""

from dataclasses import dataclass
from datetime import datetime

from mtaframe.event import EventType
from mtaframe.redaction import Redacted


@dataclass(frozen=True, slots=True, repr=False)
class Endpoint(Redacted):
    """``events`` are the types that it gets; empty: all.

    ``secret`` goes with each event as ``x-secret-token``, ``signing_secret`` (``whsec_…``) signs it; both are empty
    where ``is_writable`` is False: the operator's configuration has it. ``failed``: events that it did not take at
    once, in the last 45 days.
    """

    _shown = ("id", "account", "is_active", "is_writable")

    id: int
    account: str
    url: str
    description: str
    events: frozenset[EventType]
    is_active: bool
    secret: str
    signing_secret: str
    entered_at: datetime
    is_writable: bool = True
    failed: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class EndpointFault(Redacted):
    """Why a webhook is not kept: ``text`` is ours and quotes nothing, ``field`` is one of ``SaveEndpoint`` or empty."""

    text: str
    field: str = ""
