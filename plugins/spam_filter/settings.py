"""The keys of ``conf/spam_filter.toml``."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from mtaframe import Duration, Envelope, Model, Secret, Size

Answer = Literal["pass", "tag", "defer", "reject"]
CheckAnswer = Literal["off", "tag", "defer", "reject"]

_FIELD_NAME = r"^([A-Za-z][A-Za-z0-9-]*)?$"


def _url(text: str) -> str:
    try:
        parsed = urlsplit(text)
        is_sound = parsed.scheme in ("http", "https") and parsed.hostname and parsed.port != 0
    except ValueError:
        is_sound = False
    if text and not (is_sound and not (parsed.query or parsed.fragment or parsed.username)):
        raise ValueError('the URL of rspamd is written as "http://127.0.0.1:11333"; empty: rspamd is not asked')
    return text.rstrip("/")


class CheckSettings(Model):
    """What is looked at without rspamd: ``[checks]``."""

    executables: CheckAnswer = Field(
        default="reject",
        description="An attachment is a program by its content, or a zip archive holds one by its name.",
    )
    from_field: CheckAnswer = Field(default="reject", description="There is not exactly one From field.")
    date: CheckAnswer = Field(default="off", description="There is not exactly one Date field that is valid.")
    message_id: CheckAnswer = Field(
        default="off", description="There is not exactly one Message-ID field that is valid."
    )


class RuleSettings(Model):
    """What rspamd's findings mean for some mail: ``[[rule]]``."""

    accounts: tuple[str, ...] = Field(default=(), description="Accounts whose mail it is for. Empty: all.")
    streams: tuple[str, ...] = Field(default=(), description="Streams whose mail it is for. Empty: all.")
    scan: bool = Field(default=True, description="Ask rspamd. The built-in checks go on without.")
    on_reject: Answer = Field(default="reject", description='What rspamd\'s action "reject" means here.')
    on_soft_reject: Answer = Field(default="defer", description='What "soft reject" means here.')
    on_greylist: Answer = Field(default="pass", description='What "greylist" means here.')
    on_add_header: Answer = Field(default="tag", description='What "add header" means here.')
    on_rewrite_subject: Answer = Field(
        default="tag", description='What "rewrite subject" means here. The subject stays as it is.'
    )
    reject_score: float | None = Field(
        default=None,
        description="Refuse from this score on. With any of the three scores, rspamd's limits don't count.",
    )
    defer_score: float | None = Field(default=None, description="Defer from this score on.")
    tag_score: float | None = Field(default=None, description="Tag from this score on.")

    @property
    def is_default(self) -> bool:
        return not (self.accounts or self.streams)

    @property
    def has_scores(self) -> bool:
        return not (self.reject_score is None and self.defer_score is None and self.tag_score is None)

    def takes(self, envelope: Envelope) -> bool:
        """Whether this message is for it: every condition that is written must hold."""
        return (not self.accounts or envelope.account in self.accounts) and (
            not self.streams or envelope.stream in self.streams
        )


class SpamFilterSettings(Model):
    """``conf/spam_filter.toml``."""

    url: Annotated[str, AfterValidator(_url)] = Field(
        default="http://127.0.0.1:11333", description="Rspamd's normal worker. Empty: rspamd is not asked."
    )
    password: Secret | None = Field(default=None, description="Its password, if it wants one.")
    timeout: Duration = Field(
        default=8.0, gt=0, description="For one answer; less than the plugin's budget, which is 10s as shipped."
    )
    when_unreachable: Answer = Field(
        default="defer", description="What becomes of a message that rspamd gives no usable answer for."
    )
    max_size: Size = Field(default=25_000_000, gt=0, description="The largest message that rspamd is given.")
    when_too_large: Answer = Field(default="reject", description="What becomes of a larger one.")
    null_reverse_path: Literal["scan", "pass"] = Field(
        default="scan", description="Whether mail with the null reverse-path (DSNs) is looked at, checks and all."
    )
    merge_scans: int = Field(
        default=20, ge=0, description="Scans per message for merge values: one for each set that is worth it."
    )
    when_over_merge_scans: Answer = Field(
        default="defer", description="What becomes of copies with further sets; those before it go out."
    )
    flag_field: str = Field(
        default="X-Spam", pattern=_FIELD_NAME, description='The header field, with the value "Yes", of tagged mail.'
    )
    score_field: str = Field(
        default="X-Spam-Score", pattern=_FIELD_NAME, description="The header field with the score of tagged mail."
    )
    checks: CheckSettings = Field(default=CheckSettings(), description="What is looked at without rspamd.")
    rule: tuple[RuleSettings, ...] = Field(
        default=(), description="What findings mean; the first rule that fits decides, else the defaults of a rule."
    )

    def rule_for(self, envelope: Envelope) -> RuleSettings:
        """The first rule that takes the message, or one with all defaults."""
        return next((rule for rule in self.rule if rule.takes(envelope)), _DEFAULT)

    @model_validator(mode="after")
    def _all_can_be_reached(self) -> "SpamFilterSettings":
        if any(rule.is_default for rule in self.rule[:-1]):
            raise ValueError("no mail gets past a rule without conditions: write it last")
        return self


_DEFAULT = RuleSettings()
