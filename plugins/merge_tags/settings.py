"""``conf/merge_tags.toml``, and which dialect a message is written in."""

from dataclasses import dataclass
from typing import Literal, cast, get_args

import pydantic

from mtaframe import Envelope, Model, Redacted, Size

DialectName = Literal["tags", "braces", "literal", "templates"]
OnMissing = Literal["keep", "empty", "reject"]

_DIALECT = 'How tags are written: "tags" [NAME], "braces" {{name}}, "literal" any text, or "templates", a language.'
_ON_MISSING = 'What becomes of a tag without a value: "keep" it, "empty", or "reject" the recipient.'

DIALECT_NOTE = "merge_tags.dialect"
ON_MISSING_NOTE = "merge_tags.on_missing"
NAMES_NOTE = "merge_tags.names"
"""The names that a message has for recipients who are not all in this transaction."""


class AccountMerging(Model):
    """``[account.NAME]``: what is otherwise for one account."""

    dialect: DialectName | None = pydantic.Field(default=None, description=_DIALECT)
    on_missing: OnMissing | None = pydantic.Field(default=None, description=_ON_MISSING)


class MergeTagsSettings(Model):
    field: str = pydantic.Field(
        default="X-Merge-Vars",
        pattern=r"^[A-Za-z][A-Za-z0-9-]*$",
        description="The header field with the variables, as JSON. No copy carries it.",
    )
    dialect: DialectName = pydantic.Field(default="tags", description=_DIALECT)
    on_missing: OnMissing = pydantic.Field(default="keep", description=_ON_MISSING)
    max_size: Size = pydantic.Field(
        default=10_000_000, description="The most text that one copy may hold once its tags are filled in."
    )
    max_steps: int = pydantic.Field(
        default=100_000,
        ge=1000,
        description="What the templates of one copy may do: a step is an expression, or 32 characters of work.",
    )
    account: dict[str, AccountMerging] = pydantic.Field(default_factory=dict, description="Settings of accounts.")


@dataclass(frozen=True, slots=True, repr=False)
class Style(Redacted):
    """How the tags of one message are to be read, and what its copies may cost."""

    dialect: DialectName
    on_missing: OnMissing
    room: int
    steps: int


class Styles:
    """The style of each message: its own notes count first, then its account, then the default."""

    def __init__(self, config: MergeTagsSettings) -> None:
        self._config = config
        self._default = Style(config.dialect, config.on_missing, config.max_size, config.max_steps)
        self._accounts: dict[str | None, Style] = {
            name: self._changed(self._default, own.dialect, own.on_missing) for name, own in config.account.items()
        }

    def of(self, envelope: Envelope) -> Style:
        """ValueError if a note is none that there is: the fault of the plugin that left it."""
        return envelope.derived(self._noted) if envelope.notes else self._of_account(envelope)

    def dialect_of(self, account: str) -> DialectName:
        """What holds for an account's mail without notes."""
        return self._accounts.get(account, self._default).dialect

    def _of_account(self, envelope: Envelope) -> Style:
        return self._accounts.get(envelope.account, self._default)

    def _noted(self, envelope: Envelope) -> Style:
        dialect, on_missing = envelope.notes.get(DIALECT_NOTE), envelope.notes.get(ON_MISSING_NOTE)
        return self._changed(self._of_account(envelope), dialect, on_missing)

    def _changed(self, style: Style, dialect: object, on_missing: object) -> Style:
        for chosen, choices in ((dialect, get_args(DialectName)), (on_missing, get_args(OnMissing))):
            if chosen is not None and chosen not in choices:
                raise ValueError(f"a note for merge_tags must be one of {', '.join(choices)}")
        chosen_dialect = cast("DialectName", dialect or style.dialect)
        return Style(chosen_dialect, cast("OnMissing", on_missing or style.on_missing), style.room, style.steps)
