"""merge_tags: puts each recipient's own words in place of ``[NAME]``. See docs/plugins/merge_tags.md.

The rule: a value is text. Wherever it is put, it is written so that it can't become markup, a header field, an
address or a part; and nothing of one recipient reaches the copy of another.
"""

import pydantic

from mtaframe import Delivery, Envelope, Message, Model, Plugin, Reject, Size, hookimpl
from mtaframe_plugins.merge_tags.template import template
from mtaframe_plugins.merge_tags.text import TooLargeError
from mtaframe_plugins.merge_tags.variables import key, read


class MergeTagsSettings(Model):
    """``conf/merge_tags.toml``."""

    field: str = pydantic.Field(
        default="X-Merge-Vars",
        pattern=r"^[A-Za-z][A-Za-z0-9-]*$",
        description="The header field with the variables, as JSON. No copy carries it.",
    )
    max_size: Size = pydantic.Field(
        default=10_000_000, description="The most text that one copy may hold once its tags are filled in."
    )


class MergeTags(Plugin):
    Config = MergeTagsSettings
    config: MergeTagsSettings

    @hookimpl
    def on_data(self, envelope: Envelope, message: Message) -> tuple[Envelope, Message] | Reject | None:
        """Takes the field out of the message and gives each recipient the variables meant for it."""
        found = message.all(self.config.field)
        if not found:
            return None
        try:
            variables = read(found)
        except ValueError as error:
            return Reject(f"{self.config.field}: {error}", "5.6.0", 554)
        present = frozenset(key(recipient) for recipient in envelope.recipients)
        recipients = tuple(variables.given_to(recipient, present) for recipient in envelope.recipients)
        return envelope.with_recipients(recipients), message.without(self.config.field)

    @hookimpl
    def before_sign(self, delivery: Delivery) -> Delivery | Reject | None:
        """Fills the tags of one copy. What stands where is worked out once for all copies of a message."""
        values = delivery.recipient.merge_vars
        if not values:
            return None
        try:
            merged = delivery.message.derived(template).merged(delivery.message, values, self.config.max_size)
        except TooLargeError:
            return Reject("the message is too large once its merge tags are filled in", "5.3.4", 552)
        return None if merged is delivery.message else delivery.with_message(merged)
