"""admission: who may send what, by the account that a message belongs to. See docs/plugins/admission.md.

The law: mail without an account and reports are none of its business; for all else the worst status along the chain of
parents holds, every address in the From field is of a domain that the account may use, and a quota is a number of
recipients that is not passed.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import ClassVar, Literal

from pydantic import Field

from mtaframe import (
    Account,
    Defer,
    Envelope,
    Message,
    Model,
    MonthlyUsage,
    Mta,
    OwnDomain,
    Plugin,
    Recipient,
    Reject,
    SandboxAddress,
    Status,
    author_domains,
    hookimpl,
)

NAME = "admission"

SUSPENDED = Reject("this account is suspended; ask the operator", "5.7.1", 550)
CLOSED = Reject("this account is closed", "5.7.1", 550)
PENDING = Reject("this account may mail only its verified sandbox addresses before it is approved", "5.7.1", 550)
NO_FROM = Reject("the message needs a From field with an address that can be read", "5.7.1", 550)
NOT_OWN = Reject(
    "this account may not send from that From domain; ask the operator, or add the domain over the API", "5.7.1", 550
)


class AdmissionSettings(Model):
    """The keys of ``conf/admission.toml``."""

    from_domains: Literal["own", "any"] = Field(
        default="own",
        description="Which domains may stand in the From field. own: those of the account; its sandbox addresses get "
        "mail from any. any: all; whoever writes it lets each account write as all others.",
    )


class Admission(Plugin):
    """Refuses what an account may not send."""

    Config: ClassVar[type[AdmissionSettings]] = AdmissionSettings
    config: AdmissionSettings

    def __init__(self, config: AdmissionSettings, mta: Mta) -> None:
        super().__init__(config, mta)
        self._any_from = config.from_domains == "any"
        self._quotas = {name: tuple(_quotas(mta, name)) for name in mta.accounts}

    @hookimpl
    async def on_rcpt(self, envelope: Envelope, recipient: Recipient) -> Reject | Defer | None:
        """What is known of the account, and of this recipient, before the message is there."""
        account = _account(envelope)
        if account is None:
            return None
        return await self._barred(account, (recipient,)) or await self._used_up(account, len(envelope.recipients) + 1)

    @hookimpl
    async def on_data(self, envelope: Envelope, message: Message) -> Reject | Defer | None:
        """The same for an account that was not known at RCPT; and the From field."""
        account = _account(envelope)
        if account is None:
            return None
        refused = await self._barred(account, envelope.recipients)
        if refused is None and not self._any_from and self.mta.accounts.status_of(account) is not Status.PENDING:
            refused = await self._from(account, message, envelope.recipients)
        return refused or await self._used_up(account, len(envelope.recipients))

    async def _barred(self, account: str, recipients: Sequence[Recipient]) -> Reject | None:
        status = self.mta.accounts.status_of(account)
        if status is Status.SUSPENDED:
            return SUSPENDED
        if status is Status.CLOSED:
            return CLOSED
        if status is Status.PENDING and not await self._are_sandbox(account, recipients):
            return PENDING
        return None

    async def _are_sandbox(self, account: str, recipients: Sequence[Recipient]) -> bool:
        for one in recipients:
            if not await self.mta.ask(SandboxAddress(account, one.address)):
                return False
        return True

    async def _from(self, account: str, message: Message, recipients: Sequence[Recipient]) -> Reject | None:
        domains = author_domains(message)
        if not domains:
            return NO_FROM
        chain = _with_domains(self.mta.accounts.chain(account))
        for domain in domains:
            if not await self._may_use(domain, chain):
                return None if await self._are_sandbox(account, recipients) else NOT_OWN
        return None

    async def _may_use(self, domain: str, chain: Sequence[Account]) -> bool:
        if any(_is_among(domain, one.domains) for one in chain):
            return True
        for one in chain:
            if await self.mta.ask(OwnDomain(one.name, domain)):
                return True
        return False

    async def _used_up(self, account: str, recipients: int) -> Defer | None:
        """A program that is told "for good" might forget its mail: a quota is none of the mail's faults."""
        for name, is_shared, quota in self._quotas.get(account, ()):
            if await self.mta.ask(MonthlyUsage(name, is_shared)) + recipients > quota:
                text = f"the quota of this month is used up; it begins again on {_next_month(self.mta.clock.now())}"
                return Defer(text, "4.7.0", 452)
        return None


def _account(envelope: Envelope) -> str | None:
    """Whose mail it is, if that is asked: reports go back whatever their account may do."""
    return None if envelope.session.protocol == "DSN" else envelope.account


def _with_domains(chain: Sequence[Account]) -> Sequence[Account]:
    """Those whose domains the first may use: itself, and if it has none in the file, those above up to one that has."""
    for place, one in enumerate(chain):
        if one.domains:
            return chain[: place + 1]
    return chain


def _is_among(domain: str, patterns: frozenset[str]) -> bool:
    """Whether it is one of them, or below one that begins with a dot."""
    if domain in patterns:
        return True
    _, dot, above = domain.partition(".")
    while dot:
        if f".{above}" in patterns:
            return True
        _, dot, above = above.partition(".")
    return False


def _quotas(mta: Mta, name: str) -> Iterator[tuple[str, bool, int]]:
    """What an account's recipients count for: an account, whether with all of its sub-accounts, and its quota."""
    chain = mta.accounts.chain(name)
    for place, one in enumerate(chain):
        if one.quota is not None and (place == 0 or one.limits == "split"):
            yield name, False, one.quota
            break
    for one in chain:
        if one.quota is not None and one.limits == "shared" and mta.accounts.below(one.name):
            yield one.name, True, one.quota


def _next_month(now: datetime) -> str:
    here = now.astimezone(UTC)
    year, month = (here.year + 1, 1) if here.month == 12 else (here.year, here.month + 1)
    return f"{year}-{month:02d}-01"
