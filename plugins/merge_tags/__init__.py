"""merge_tags: puts each recipient's own words in place of ``[NAME]``. See docs/plugins/merge_tags.md.

The rule: a value is text. Wherever it is put, it is written so that it can't become markup, a header field, an
address or a part; and nothing of one recipient reaches the copy of another.
"""

from typing import ClassVar

from mtaframe import Delivery, Envelope, Message, Mta, Plugin, Reject, hookimpl
from mtaframe_plugins.merge_tags.dialects import BRACES, TAGS, Dialect, Literal
from mtaframe_plugins.merge_tags.language import LANGUAGE
from mtaframe_plugins.merge_tags.settings import NAMES_NOTE, AccountMerging, MergeTagsSettings, Style, Styles
from mtaframe_plugins.merge_tags.template import Templates
from mtaframe_plugins.merge_tags.text import MissingError, OverspentError, TemplateError, TooLargeError
from mtaframe_plugins.merge_tags.variables import LONGEST_NAME, NAMES_SIZE, known_names, read

__all__ = ["AccountMerging", "MergeTags", "MergeTagsSettings"]


_NAMED = frozenset({"tags", "literal"})
"""Dialects in which nothing is a tag that no recipient has a value for."""


class MergeTags(Plugin):
    Config: ClassVar[type[MergeTagsSettings]] = MergeTagsSettings
    config: MergeTagsSettings

    def __init__(self, config: MergeTagsSettings, mta: Mta) -> None:
        super().__init__(config, mta)
        self._styles = Styles(config)
        self._dialects: dict[str, Dialect] = {"tags": TAGS, "braces": BRACES, "templates": LANGUAGE}

    async def start(self) -> None:
        for name in self.config.account:
            if name not in self.mta.accounts:
                raise ValueError(f'conf/merge_tags.toml: there is no account "{name}"')

    @hookimpl
    def on_data(self, envelope: Envelope, message: Message) -> tuple[Envelope, Message] | Reject | None:
        """Takes the field out of the message and gives each recipient the variables meant for it."""
        found = message.all(self.config.field)
        if not found:
            return None
        style = self._styles.of(envelope)
        try:
            variables = read(found, style.dialect)
            names = variables.names if style.on_missing != "keep" or style.dialect == "literal" else ()
            recipients = tuple(variables.given_to_all(envelope.recipients))
        except ValueError as error:
            return Reject(f"{self.config.field}: {error}", "5.6.0", 554)
        envelope = envelope.with_recipients(recipients)
        return envelope.with_note(NAMES_NOTE, names) if names else envelope, message.without(self.config.field)

    @hookimpl
    def before_sign(self, delivery: Delivery) -> Delivery | Reject | None:
        """Fills the tags of one copy. What stands where is worked out once for all copies of a message."""
        values, envelope, message = delivery.recipient.merge_vars, delivery.envelope, delivery.message
        style = self._styles.of(envelope)
        if not values and style.on_missing == "keep" and style.dialect != "templates":
            return None
        if envelope.session.protocol == "DSN":
            return None  # our own report has no tags; what it quotes may look like some
        if not values and style.dialect in _NAMED and not envelope.derived(known_names):
            return None
        try:
            template = message.derived(Templates).in_dialect(self._dialect(style, envelope))
            merged = template.merged(message, values, style, self._expected(style, envelope))
        except TooLargeError:
            return Reject("the message is too large once its merge tags are filled in", "5.3.4", 552)
        except MissingError:
            return Reject("a merge tag has no value for this recipient", "5.6.0", 554)
        except OverspentError:
            return Reject("the templates of this message do more than one copy may cost", "5.6.0", 554)
        except TemplateError as error:
            return Reject(str(error), "5.6.0", 554)
        return None if merged is message else delivery.with_message(merged)

    def _dialect(self, style: Style, envelope: Envelope) -> Dialect:
        if style.dialect != "literal":
            return self._dialects[style.dialect]
        found = envelope.derived(_literal)
        if isinstance(found, TemplateError):
            raise found
        return found

    def _expected(self, style: Style, envelope: Envelope) -> frozenset[str] | None:
        """The names that are tags, wherever they stand in brackets; in braces all are."""
        if style.on_missing == "keep" or style.dialect != "tags":
            return None
        return envelope.derived(known_names)


def _literal(envelope: Envelope) -> Literal | TemplateError:
    """The fault, if there is one, is found once for all copies. Names may have come past the field."""
    names = envelope.derived(known_names)
    if any(len(name) > LONGEST_NAME for name in names) or sum(len(name.encode()) for name in names) > NAMES_SIZE:
        return TemplateError("the names of variables are too long or too many to be looked for in every text")
    return Literal(names)
