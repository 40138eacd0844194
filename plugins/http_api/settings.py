"""The keys of ``conf/http_api.toml``."""

from typing import Annotated

from pydantic import AfterValidator, Field

from mtaframe import Address, Domain, Duration, Model


def _address(text: str) -> str:
    return Address.parse(text).mailbox


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
    recent_max_age: Duration = Field(
        default=86400.0, gt=0, description="How long recent events are kept in RAM, for the email logs."
    )
    recent_max_count: int = Field(
        default=10_000, ge=0, description="How many of them each worker keeps; the oldest goes first. 0: none."
    )
    max_templates: int = Field(default=1000, ge=0, description="Templates that one account may have.")
    moderate_templates: bool = Field(
        default=False, description="Whether a new or changed template waits until the operator approves it."
    )
    max_domains: int = Field(default=100, ge=0, description="Domains that one account may add.")
    moderate_domains: bool = Field(
        default=False, description="Whether a verified domain waits until the operator approves it."
    )
    spf_include: Domain | None = Field(
        default=None,
        description="What the SPF record of a domain must include; without, no domain needs an SPF record.",
    )
    sandbox_sender: Annotated[str, AfterValidator(_address)] | None = Field(
        default=None,
        description="Who mails the codes for sandbox addresses; without: postmaster at the host's own name.",
    )
