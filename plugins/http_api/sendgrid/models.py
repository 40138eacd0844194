"""What SendGrid's request for sending holds."""

from typing import Any

from pydantic import Field

from mtaframe_plugins.http_api.door import Body, Each, Several, Texts


class SendGridPerson(Body):
    """An address with its name."""

    email: str = Field(description="The address.")
    name: str | None = Field(default=None, description="The display name.")


People = Each[SendGridPerson] | None


class SendGridPersonalization(Body):
    """One message: who gets it, and what differs from the others."""

    to: Each[SendGridPerson] = Field(min_length=1, description="Recipients, who see each other.")
    cc: People = Field(default=None, description="Further ones, who are seen.")
    bcc: People = Field(default=None, description="Further ones, who are not.")
    sender: SendGridPerson | None = Field(default=None, alias="from", description="Another sender.")
    subject: str | None = Field(default=None, description="Another subject.")
    headers: Texts | None = Field(default=None, description="Header fields, before those of the mail.")
    substitutions: dict[str, Any] | None = Field(default=None, description="Text to replace, and by what.")
    dynamic_template_data: dict[str, Any] | None = Field(default=None, description="Variables of the template.")
    custom_args: dict[str, Any] | None = Field(default=None, description="Custom data, which comes back in events.")
    send_at: int | None = Field(default=None, description="When to send it (Unix time): not in the future.")


class SendGridContent(Body):
    """The mail as text or as HTML."""

    type: str = Field(description="text/plain or text/html.")
    value: str = Field(description="The text.")


class SendGridFile(Body):
    """A file that goes with the mail."""

    content: str = Field(description="Its octets in base64.")
    filename: str | None = Field(default=None, description="Its name.")
    type: str | None = Field(default=None, description="Its media type; if missing, what the name says.")
    disposition: str | None = Field(default=None, description="inline, for an image in the HTML, or attachment.")
    content_id: str | None = Field(default=None, description="What stands behind cid: in the HTML.")


class SendGridSwitch(Body):
    """Something that is on or off."""

    enable: bool | None = Field(default=None, description="Whether it is on.")


class SendGridSettings(Body):
    """How the mail is handled; what is not named here is passed over."""

    sandbox_mode: SendGridSwitch | None = Field(default=None, description="Check everything, send nothing.")


class SendGridMail(Body):
    """Mail to send. Settings of tracking and unsubscription are passed over."""

    personalizations: Each[SendGridPersonalization] = Field(min_length=1, max_length=1000, description="The messages.")
    sender: SendGridPerson = Field(alias="from", description="The sender: an address of one of the account's domains.")
    subject: str | None = Field(default=None, description="The subject.")
    reply_to: SendGridPerson | None = Field(default=None, description="Where replies go.")
    reply_to_list: People = Field(default=None, max_length=1000, description="Where replies go, if to several.")
    content: Each[SendGridContent] | None = Field(default=None, description="The text and the HTML.")
    attachments: Each[SendGridFile] | None = Field(default=None, description="Files.")
    template_id: str | None = Field(default=None, description="A template, in place of content.")
    headers: Texts | None = Field(default=None, description="Further header fields.")
    sections: dict[str, Any] | None = Field(default=None, description="Not offered.")
    categories: Several | None = Field(default=None, description='Custom data by the name "category".')
    custom_args: dict[str, Any] | None = Field(default=None, description="Custom data, which comes back in events.")
    send_at: int | None = Field(default=None, description="When to send it (Unix time): not in the future.")
    mail_settings: SendGridSettings | None = Field(default=None, description="How the mail is handled.")
