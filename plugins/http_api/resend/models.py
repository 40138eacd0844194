"""What Resend's requests for sending hold, and what they are answered."""

from typing import Any

from pydantic import Field

from mtaframe_plugins.http_api.door import (
    Body,
    Each,
    Several,
    Texts,
)


class ResendAttachment(Body):
    """A file that goes with the mail."""

    content: Any = Field(default=None, description="Its octets: base64, or a list of numbers.")
    filename: str | None = Field(default=None, description="Its name.")
    content_type: str | None = Field(default=None, description="Its media type; if missing, what the name says.")
    content_id: str | None = Field(default=None, description="For an image in the HTML: what stands behind cid: there.")
    inline_content_id: str | None = Field(default=None, description="The same.")
    path: str | None = Field(default=None, description="Not offered: this server fetches nothing.")


class ResendTag(Body):
    """Custom data."""

    name: str = Field(description="Its name.")
    value: str | None = Field(default=None, description="What it is.")


class ResendTemplate(Body):
    """A template, in place of HTML and text."""

    id: str = Field(description="The uid or number of the template.")
    variables: dict[str, Any] | None = Field(default=None, description="Its variables.")


class ResendEmail(Body):
    """Mail to send."""

    sender: str = Field(alias="from", description="The sender: an address of one of the account's domains.")
    to: Several = Field(min_length=1, description="Recipients, who see each other.")
    cc: Several | None = Field(default=None, description="Further ones, who are seen.")
    bcc: Several | None = Field(default=None, description="Further ones, who are not.")
    reply_to: Several | None = Field(default=None, description="Where replies go.")
    subject: str | None = Field(default=None, description="The subject; a template may have its own.")
    html: str | None = Field(default=None, description="The HTML.")
    text: str | None = Field(default=None, description="The text.")
    template: ResendTemplate | None = Field(default=None, description="A template, in place of HTML and text.")
    headers: Texts | None = Field(default=None, description="Further header fields.")
    attachments: Each[ResendAttachment] | None = Field(default=None, description="Files.")
    tags: Each[ResendTag] | None = Field(default=None, description="Custom data, which comes back in events.")
    scheduled_at: str | None = Field(default=None, description="When to send it (ISO 8601): not in the future.")


class ResendSent(Body):
    """The mail's id."""

    id: str


class ResendBatchSent(Body):
    """The ids of the mails, in order; ``errors`` names those that nobody got."""

    data: list[ResendSent]
