"""The keys of ``conf/dkim.toml``. Key files are read while the configuration is checked, so a fault has its line."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from mtaframe import Domain, Duration, FilePath, Model
from mtaframe_plugins.dkim.keys import algorithm, private_key

OVERSIGNED = (
    "From",
    "To",
    "Cc",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Feedback-ID",
)
PRESENT = (
    "Sender",
    "Content-ID",
    "Content-Description",
    "List-Help",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Date",
    "Resent-Message-ID",
    "Autocrypt",
    "Auto-Submitted",
    "Precedence",
)

_NEVER = frozenset(
    {
        "authentication-results",
        "bcc",
        "delivered-to",
        "delivery-date",
        "dkim-signature",
        "domainkey-signature",
        "envelope-to",
        "received",
        "received-spf",
        "resent-bcc",
        "return-path",
        "x-original-to",
    }
)
_FIELD_NAME = re.compile(r"[!-9<-~]+")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"


def _field_name(name: str) -> str:
    if not _FIELD_NAME.fullmatch(name):
        raise ValueError('a header field is named as in "Message-ID", without a colon')
    if name.lower() in _NEVER or name.lower().startswith("arc-"):
        raise ValueError("servers on the way add, change or remove this field: it must not be signed")
    return name


def _readable_key(file: str) -> str:
    private_key(file, checked=False)
    return file


FieldName = Annotated[str, AfterValidator(_field_name)]


class KeySettings(Model):
    """One private key: ``[[key]]``."""

    domain: Domain = Field(description="The domain that it signs for: the d= tag.")
    selector: str = Field(
        pattern=rf"^{_LABEL}(\.{_LABEL})*$", description="The s= tag; the record is SELECTOR._domainkey.DOMAIN."
    )
    file: Annotated[FilePath, AfterValidator(_readable_key)] = Field(
        description="The private key, in PEM. A relative path starts at the folder of the configuration."
    )
    algorithm: Literal["rsa-sha256", "ed25519-sha256"] | None = Field(
        default=None, description="What the key must be; a key of another kind is then an error."
    )
    subdomains: bool = Field(
        default=True, description="Sign mail from subdomains too, as far as they have no key of their own."
    )
    accounts: tuple[str, ...] = Field(
        default=(),
        description="Accounts that may sign with it. Empty: the account that owns the domain, or all if none does.",
    )

    @field_validator("algorithm")
    @classmethod
    def _same_algorithm(cls, wanted: str | None, info: ValidationInfo) -> str | None:
        if wanted and (file := info.data.get("file")):
            found = algorithm(private_key(file, checked=False))
            if found != wanted:
                raise ValueError(f'the key in "file" is for {found}')
        return wanted


class ThirdPartySettings(Model):
    """A signature by a domain that is not the author's: ``[[third_party]]``."""

    domain: Domain = Field(description="Which domain signs; it has a [[key]] of its own.")
    accounts: tuple[str, ...] = Field(default=(), description="Whose mail; empty: everybody's.")
    always: bool = Field(
        default=False, description="Sign beside the author's domain too, not only where that has no key."
    )


class ProvenSettings(Model):
    """The key for domains that account holders have proven over the API: ``[proven]``."""

    domain: Domain = Field(description="Where the key's record is: account holders' records are CNAMEs to it.")
    selector: str = Field(
        pattern=rf"^{_LABEL}(\.{_LABEL})*$", description="The record is SELECTOR._domainkey.DOMAIN; theirs are others."
    )
    file: Annotated[FilePath, AfterValidator(_readable_key)] = Field(
        description="The private key, in PEM. A relative path starts at the folder of the configuration."
    )

    @property
    def host(self) -> str:
        """The name of the record."""
        return f"{self.selector}._domainkey.{self.domain}"


class DkimSettings(Model):
    """``conf/dkim.toml``."""

    unsigned: Literal["pass", "reject"] = Field(
        default="pass", description="What becomes of mail that no key fits. DSNs always pass."
    )
    lifetime: Duration | None = Field(
        default=None, ge=3600, description="How long a signature holds (the x= tag); without: for ever."
    )
    oversign: tuple[FieldName, ...] = Field(
        default=OVERSIGNED, description="Header fields to sign, and against adding one more, present or not."
    )
    present: tuple[FieldName, ...] = Field(
        default=PRESENT, description="Header fields to sign where they are present; adding one more stays possible."
    )
    key: tuple[KeySettings, ...] = Field(default=(), description="The private keys.")
    third_party: tuple[ThirdPartySettings, ...] = Field(
        default=(), description="Signatures by domains other than the author's."
    )
    proven: ProvenSettings | None = Field(
        default=None, description="The key for domains that account holders have proven over the API."
    )

    @field_validator("oversign")
    @classmethod
    def _has_from(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if "from" not in (name.lower() for name in names):
            raise ValueError('"From" must be here (RFC 6376 §5.4): add it')
        return names

    @field_validator("key")
    @classmethod
    def _distinct(cls, keys: tuple[KeySettings, ...]) -> tuple[KeySettings, ...]:
        seen: set[tuple[str, str]] = set()
        for key in keys:
            if (name := (key.domain, key.selector.lower())) in seen:
                raise ValueError(f'the selector "{key.selector}" is used twice for {key.domain}')
            seen.add(name)
        return keys

    @field_validator("third_party")
    @classmethod
    def _has_key(cls, entries: tuple[ThirdPartySettings, ...], info: ValidationInfo) -> tuple[ThirdPartySettings, ...]:
        if "key" in info.data:
            known = {key.domain for key in info.data["key"]}
            for entry in entries:
                if entry.domain not in known:
                    raise ValueError(f"there is no [[key]] for {entry.domain}: add one, or mend the name")
        return entries

    @model_validator(mode="after")
    def _listed_once(self) -> "DkimSettings":
        names = [name.lower() for name in (*self.oversign, *self.present)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'"{name}" is listed twice in "oversign" and "present"')
        return self
