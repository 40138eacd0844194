"""The keys of ``conf/http_api.toml``."""

from pydantic import Field

from mtaframe import Model


class HttpApiSettings(Model):
    """The keys of ``conf/http_api.toml``."""

    raw_html: bool = Field(
        default=True, description="Whether mail may bring its own HTML and text; else it is sent by templates alone."
    )
    accept: bool = Field(
        default=False,
        description='Whether a caller may ask not to wait (`wait = "accepted"`): a 202 to mail that is only in RAM.',
    )
    max_copies: int = Field(
        default=10_000, ge=1, description="Copies that one call may send: recipients, with cc and bcc of each."
    )
