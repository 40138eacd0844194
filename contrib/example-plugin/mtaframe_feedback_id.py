"""Feedback-ID: by this header field Gmail groups complaints, so that a sender sees which stream causes them.

The field is ``a:b:c:sender``: up to three identifiers of the message, then one of the sender, which must be the
same in all its mail. It counts only in mail that is signed by DKIM.
"""

import re
from dataclasses import replace

from mtaframe import Delivery, Envelope, Model, Mta, Plugin, hookimpl
from pydantic import Field

NAME = "Feedback-ID"
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")


class FeedbackId(Plugin):
    """Adds the field to each copy that lacks it: stream, account, and the sender's identifier."""

    class Config(Model):
        """The keys of ``conf/feedback_id.toml``."""

        sender: str = Field(
            default="mtaframe", pattern=r"^[A-Za-z0-9_.-]{5,15}$", description="The sender, in 5 to 15 characters."
        )
        replace: bool = Field(default=False, description="Replace a field that the client wrote.")

    def __init__(self, config: Config, mta: Mta) -> None:
        super().__init__(config, mta)
        self.sender, self.replace = config.sender, config.replace

    @hookimpl
    def before_sign(self, delivery: Delivery) -> Delivery | None:
        """The copy with the field on top; None, no opinion, if the client's own stays."""
        message = delivery.message
        if message.has(NAME) and not self.replace:
            return None
        return replace(delivery, message=message.without(NAME).prepend(NAME, self._value(delivery.envelope)))

    def _value(self, envelope: Envelope) -> str:
        parts = (envelope.stream or "", envelope.account or "", "", self.sender)
        return ":".join(_UNFIT.sub("-", part) for part in parts)
