"""What Postmark's requests for sending hold, and what they are answered."""

from typing import Any

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_pascal

from mtaframe_plugins.http_api.door import Body, Each

Rows = list[Any]


class PostmarkFields(Body):
    """Names as Postmark writes them."""

    model_config = ConfigDict(alias_generator=to_pascal)


class PostmarkHeader(PostmarkFields):
    """A header field."""

    name: str = Field(description="Its name.")
    value: str | None = Field(default=None, description="What it holds.")


class PostmarkAttachment(PostmarkFields):
    """A file that goes with the mail."""

    name: str = Field(description="The name of the file.")
    content: str = Field(description="Its octets in base64.")
    content_type: str | None = Field(default=None, description="Its media type; if missing, what the name says.")
    content_id: str | None = Field(
        default=None, alias="ContentID", description="For an image in the HTML: what stands there, cid: and all."
    )


class PostmarkMessage(PostmarkFields):
    """What mail has with and without a template. Settings of tracking are passed over."""

    sender: str = Field(alias="From", description="The sender: an address of one of the account's domains.")
    to: str = Field(description="Recipients with commas between, who see each other.")
    cc: str | None = Field(default=None, description="Further ones, who are seen.")
    bcc: str | None = Field(default=None, description="Further ones, who are not.")
    reply_to: str | None = Field(default=None, description="Where replies go.")
    headers: Each[PostmarkHeader] | None = Field(default=None, description="Further header fields.")
    attachments: Each[PostmarkAttachment] | None = Field(default=None, description="Files.")
    metadata: dict[str, Any] | None = Field(default=None, description="Custom data, which comes back in events.")
    tag: str | None = Field(default=None, description='Custom data by the name "tag".')
    message_stream: str | None = Field(default=None, description="The kind of mail, of the account's streams.")


class PostmarkEmail(PostmarkMessage):
    """Mail with its own text."""

    subject: str | None = Field(default=None, description="The subject.")
    html_body: str | None = Field(default=None, description="The HTML.")
    text_body: str | None = Field(default=None, description="The text.")


class PostmarkTemplateEmail(PostmarkMessage):
    """Mail by a template."""

    template_id: int | None = Field(default=None, description="The number of the template.")
    template_alias: str | None = Field(default=None, description="The uid of the template.")
    template_model: dict[str, Any] | None = Field(default=None, description="The variables of the template.")


class PostmarkTemplateBatch(PostmarkFields):
    """Mails by templates."""

    messages: Rows = Field(description="Each as /email/withTemplate has it.")


class PostmarkSent(PostmarkFields):
    """What became of a message."""

    to: str
    submitted_at: str
    message_id: str = Field(alias="MessageID")
    error_code: int
    message: str
