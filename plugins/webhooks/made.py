"""A webhook that an account holder made, as a document keeps it: JSON, sealed by the state.

The rule: what a stranger wrote is looked at before it is kept; a fault names the field and quotes nothing of it.
"""

import json
import secrets
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit
from zlib import crc32

from mtaframe import Endpoint, EndpointFault, EventType, Redacted
from mtaframe_plugins.webhooks.settings import EndpointSettings, sound_url

MOST_OF_A_URL, MOST_OF_A_DESCRIPTION = 2000, 500
"""Characters."""
UNKNOWN = datetime.fromtimestamp(0, UTC)
"""When an endpoint of the configuration was entered."""


@dataclass(frozen=True, slots=True, repr=False)
class Wish(Redacted):
    """What an account holder says of a webhook; the rest is ours."""

    url: str
    description: str
    events: frozenset[EventType]
    is_active: bool

    def fault(self) -> EndpointFault | None:
        if len(self.url) > MOST_OF_A_URL:
            return EndpointFault(f"a URL has at most {MOST_OF_A_URL} characters", "url")
        try:
            sound_url(self.url)
        except ValueError as error:
            return EndpointFault(str(error), "url")
        if len(self.description) > MOST_OF_A_DESCRIPTION:
            return EndpointFault(f"a description has at most {MOST_OF_A_DESCRIPTION} characters", "description")
        if any(ord(each) < 32 or 0xD800 <= ord(each) < 0xE000 for each in self.description):
            return EndpointFault("a description is one line of text", "description")
        return None


@dataclass(frozen=True, slots=True, repr=False)
class Made(Redacted):
    """``token`` is what goes out as ``x-secret-token``. ``change`` is another number after each change."""

    _shown = ("account", "id", "change")

    account: str
    id: int
    wish: Wish
    token: str
    secret: str
    entered_at: datetime
    change: int

    def changed(self, wish: Wish, change: int) -> "Made":
        """With the secrets of before."""
        return replace(self, wish=wish, change=change)

    def settings(self) -> EndpointSettings:
        """How it is told: as one of the configuration that may lead to public addresses only."""
        return EndpointSettings.model_validate(
            {
                "url": self.wish.url,
                "accounts": (self.account,),
                "events": sorted(each.value for each in self.wish.events),
                "secret": self.secret,
                "token": self.token,
            }
        )

    def endpoint(self, failed: int = 0) -> Endpoint:
        """As its account holder sees it."""
        return Endpoint(
            id=self.id,
            account=self.account,
            url=self.wish.url,
            description=self.wish.description,
            events=self.wish.events,
            is_active=self.wish.is_active,
            secret=self.token,
            signing_secret=self.secret,
            entered_at=self.entered_at,
            failed=failed,
        )

    def document(self) -> bytes:
        fields = {
            "url": self.wish.url,
            "description": self.wish.description,
            "events": sorted(each.value for each in self.wish.events),
            "is_active": self.wish.is_active,
            "token": self.token,
            "secret": self.secret,
            "entered_at": self.entered_at.isoformat(),
            "change": self.change,
        }
        return json.dumps(fields, ensure_ascii=False).encode()


def new(account: str, number: int, wish: Wish, at: datetime, change: int) -> Made:
    """With secrets that nobody else has."""
    secret = "whsec_" + b64encode(secrets.token_bytes(32)).decode("ascii")
    return Made(account, number, wish, secrets.token_urlsafe(24), secret, at, change)


def opened(account: str, name: str, document: bytes) -> Made | None:
    """What a document says; None if it is none of ours, or of a later version with events that we don't know."""
    try:
        fields = json.loads(document)
        wish = Wish(
            fields["url"],
            str(fields["description"]),
            frozenset(EventType(each) for each in fields["events"]),
            bool(fields["is_active"]),
        )
        entered_at = datetime.fromisoformat(fields["entered_at"])
        token, secret = str(fields["token"]), str(fields["secret"])
        found = Made(account, int(name), wish, token, secret, entered_at, int(fields["change"]))
        found.settings()
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if wish.fault() is None else None


def of_the_configuration(url: str) -> int:
    """The number of an endpoint in the file: negative, and the same wherever and whenever its URL stands there."""
    return -1 - (crc32(url.encode()) & 0x7FFF_FFFF)


def listed(account: str, endpoints: Iterable[EndpointSettings]) -> list[Endpoint]:
    """What the configuration has for this account by name, without secrets, neither beside nor in the URL."""
    return [
        Endpoint(
            id=of_the_configuration(each.url),
            account=account,
            url=without_password(each.url),
            description="",
            events=frozenset(each.events),
            is_active=True,
            secret="",
            signing_secret="",
            entered_at=UNKNOWN,
            is_writable=False,
        )
        for each in endpoints
        if account in each.accounts
    ]


def without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
