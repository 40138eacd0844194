"""The keys of ``conf/webhooks.toml``."""

import base64
import binascii
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from mtaframe import Duration, EventType, Model, Secret

_TOKEN = re.compile(r"[!-~]+")


def sound_url(text: str) -> str:
    """The text, if it is a URL for HTTP; the fault quotes nothing of it."""
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not text.isprintable() or " " in text:
        raise ValueError('a URL is written as "https://example.com/path"')
    return text


def _signing_secret(secret: SecretStr) -> SecretStr:
    """24 to 64 octets in base64 behind ``whsec_``, as Standard Webhooks wants them; the fault does not tell it."""
    prefix, _, rest = secret.get_secret_value().partition("_")
    try:
        key = base64.b64decode(rest + "=" * (-len(rest) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if prefix != "whsec" or not 24 <= len(key) <= 64:
        raise ValueError('a secret is "whsec_" and 24 to 64 random octets in base64')
    return secret


def _header_value(token: SecretStr) -> SecretStr:
    if not _TOKEN.fullmatch(token.get_secret_value()):
        raise ValueError("a token is printable ASCII without blanks")
    return token


class EndpointSettings(Model):
    """One URL that is told, and of what."""

    url: Annotated[str, AfterValidator(sound_url)] = Field(description="Where events are posted.")
    accounts: tuple[str, ...] = Field(
        default=(), description="Accounts whose events it gets. Empty: all, and what belongs to no account."
    )
    streams: tuple[str, ...] = Field(
        default=(), description="Streams whose events it gets; an event of no stream is not among them. Empty: all."
    )
    events: tuple[EventType, ...] = Field(default=(), description="Types of events that it gets. Empty: all.")
    secret: Annotated[Secret, AfterValidator(_signing_secret)] | None = Field(
        default=None,
        description='Signs each event: "whsec_" and 24 to 64 random octets in base64. Or { file = … }, { env = … }.',
    )
    token: Annotated[Secret, AfterValidator(_header_value)] | None = Field(
        default=None, description="Goes with each event as `x-secret-token`, as MimePost does it."
    )
    strict_200: bool = Field(default=False, description="Only 200 is success, as with MimePost; else any 2xx.")
    private: bool = Field(
        default=False, description="The URL may lead to this machine or its network; else to public addresses only."
    )
    timeout: Duration = Field(default=15.0, gt=0, le=120, description="How long one request may take.")

    def takes(self, kind: EventType, account: str | None, stream: str | None) -> bool:
        """Whether it is told of this: every condition that is written must hold."""
        return (
            (not self.events or kind in self.events)
            and (not self.accounts or account in self.accounts)
            and (not self.streams or stream in self.streams)
        )


class WebhooksSettings(Model):
    """The keys of ``conf/webhooks.toml``."""

    retries: tuple[Duration, ...] = Field(
        default=(10.0, 60.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0),
        description="Waits before the second, third … attempt, each up to a fifth longer or shorter by chance.",
    )
    max_age: Duration = Field(default=86400.0, gt=0, description="An event is forgotten when it is older.")
    max_queue: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Events that wait per URL and worker; when full, the oldest retry goes.",
    )
    connections: int = Field(
        default=4,
        ge=1,
        le=20,
        description="Requests at once per URL and worker. With 1, first attempts of a worker keep their order.",
    )
    drain: Duration = Field(
        default=5.0, description="How long SIGTERM, or the end of an endpoint, waits for what is queued."
    )
    max_per_account: int = Field(
        default=20,
        ge=0,
        le=100,
        description="Webhooks that an account may make over the HTTP API. 0: none, and those that were made rest.",
    )
    endpoint: tuple[EndpointSettings, ...] = Field(default=(), description="URLs that are told; each is told once.")

    @model_validator(mode="after")
    def _each_url_once(self) -> "WebhooksSettings":
        urls = [endpoint.url for endpoint in self.endpoint]
        for number, url in enumerate(urls):
            if url in urls[:number]:
                raise ValueError("two endpoints have the same URL; give one of them a query, such as ?2")
        return self
