"""The keys of ``conf/thresholds.toml``: the policy, the ladder, the recipient limits."""

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from mtaframe import Duration, Model

NAME = r"^[a-z0-9][a-z0-9_.-]{0,99}$"
HOUR = 3600

_PERCENT = re.compile(r"(\d{1,6}(?:\.\d{1,6})?) ?%")


def _percent(value: object) -> object:
    found = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError('a share is written as "5 %" or "0.08 %"')
    return Decimal(found[1])


def _bound(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    try:
        return _percent(value)
    except ValueError:
        raise ValueError('write a share, such as "5 %", or a count, such as 50') from None


def _written(value: Any) -> Any:
    return f"{value:f} %" if isinstance(value, Decimal) else value


def _whole_hours(value: float) -> float:
    if value % HOUR:
        raise ValueError('counts are exact to the hour: write whole hours or days, such as "12h" or "7d"')
    return value


Percent = Annotated[
    Decimal,
    BeforeValidator(_percent),
    PlainSerializer(_written),
    WithJsonSchema({"type": "string", "examples": ["5 %", "0.08 %"]}),
]
"""Written as "5 %"; exact, so that just at a limit is not above it."""

Bound = Annotated[
    int | Decimal,
    BeforeValidator(_bound),
    PlainSerializer(_written),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["5 %", 50]}),
]
"""A share as a Decimal in percent, or a count."""

Window = Annotated[Duration, Field(ge=HOUR, le=31 * 24 * HOUR), AfterValidator(_whole_hours)]


class PolicySettings(Model):
    """One rule of the sending policy: ``[[policy]]``."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9-]*( [a-z0-9-]+)*$",
        max_length=40,
        description='What account holders read in replies and events: "account limited: NAME 6.1 % (at most 5 % …)".',
    )
    of: Literal["bounce", "block", "unsubscribe", "spam", "spamtrap"] = Field(description="What is counted.")
    at_most: Bound = Field(description='A share of `against`, such as "5 %", or a count. More limits the account.')
    against: Literal["sent", "delivered"] | None = Field(
        default=None, description="What it is a share of. sent: delivered, bounced or blocked."
    )
    more_than: Literal["click"] | None = Field(
        default=None, description="The rule holds only while there are more of them than of these."
    )
    window: Window | None = Field(default=None, description="How far back it counts. Default: as above.")
    min_volume: int | None = Field(
        default=None, ge=1, description="Below this many of `against` the share says nothing. Default: as above."
    )
    min_events: int | None = Field(
        default=None, ge=1, description="Fewer than this many say nothing of a share. Default: as above."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "PolicySettings":
        if isinstance(self.at_most, Decimal) != (self.against is not None):
            raise ValueError('a share says of what by "against"; a count has no "against"')
        if self.against is None and (self.min_volume or self.min_events):
            raise ValueError('"min_volume" and "min_events" are for shares; a count always holds')
        return self


class LimitSettings(Model):
    """How many recipients an account or a stream may have: ``[[limit]]``."""

    accounts: tuple[str, ...] = Field(default=(), description="The accounts, each for itself. Empty: all.")
    streams: tuple[Annotated[str, Field(pattern=NAME)], ...] = Field(
        default=(), description="The streams, each for itself beside the limit of its account. Empty: the account."
    )
    per_hour: int | None = Field(
        default=None, ge=1, description="Recipients an hour of the clock. Without: any number."
    )
    per_day: int | None = Field(default=None, ge=1, description="Recipients a day in UTC. Without: any number.")

    def fits(self, account: str, stream: str) -> bool:
        """``stream`` is empty where the account as a whole is asked for."""
        return (not self.accounts or account in self.accounts) and (
            stream in self.streams if stream else not self.streams
        )


class ThresholdsSettings(Model):
    """The keys of ``conf/thresholds.toml``."""

    mode: Literal["enforce", "shadow"] = Field(
        default="enforce",
        description="shadow: look and log only. Nothing is refused, no account is told, every account counts as good.",
    )
    window: Window = Field(default=604800.0, description="How far back the policy counts, up to 31 days.")
    min_volume: int = Field(default=100, ge=1, description="A share of fewer than this says nothing.")
    min_events: int = Field(default=5, ge=1, description="Fewer events than this make no share.")
    warn_at: Percent = Field(default=Decimal(80), gt=0, le=100, description="An account is warned from here on.")
    suspend_at: Percent = Field(default=Decimal(200), ge=100, description="An account is suspended above this.")
    ease_below: Percent = Field(
        default=Decimal(75),
        gt=0,
        le=100,
        description="A step is left again below this share of the mark that led to it.",
    )
    limited_share: Percent = Field(
        default=Decimal(25), gt=0, le=100, description="What a limited account has left of its per_hour."
    )
    limited_per_hour: int = Field(
        default=100, ge=1, description="What a limited account has left if no [[limit]] says per_hour."
    )
    policy: tuple[PolicySettings, ...] = Field(default=(), description="The sending policy.")
    limit: tuple[LimitSettings, ...] = Field(
        default=(), description="Recipient limits. The first that fits the account, and the first that fits its stream."
    )

    @model_validator(mode="after")
    def _all_have_a_say(self) -> "ThresholdsSettings":
        names = [row.name for row in self.policy]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise ValueError(f'two rules of the policy are named "{name}"')
        everybodys = [row for row in self.limit if not row.streams]
        if any(not row.accounts for row in everybodys[:-1]):
            raise ValueError("a [[limit]] for all accounts hides those behind it: write it last")
        return self
