"""``/v1/domains``: the domains that an account may send from, and what to publish for them.

The rule: a check that fails is a 200 with ``success`` 0, as MimePost has it; its clients read no other.
"""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from mtaframe import DnsError, HttpAnswer, Mta, ProvenKey
from mtaframe_plugins.http_api.domain_proofs import domain_name
from mtaframe_plugins.http_api.domains import Domains, OwnedDomain, host
from mtaframe_plugins.http_api.door import Ask, Body, Call, Problem
from mtaframe_plugins.http_api.mimepost.form import Told, done, is_old, undone
from mtaframe_plugins.http_api.settings import HttpApiSettings

NO_ANSWER = "the DNS gives no answer now; try again"


class DomainAdded(Body):
    """A domain to add."""

    domain: str = Field(description="Its name.")


class Record(Body):
    """A DNS record to publish; empty where none is needed."""

    TYPE: str = ""
    HOST: str = ""
    VALUE: str = ""


class DomainRow(Body):
    """A domain; what is true is 1."""

    id: int
    domain: str
    selector: str
    instance_name: str
    spf_verified: int
    dkim_verified: int
    tracking_verified: int
    verified: int
    approved: int
    status: Literal["NOT_VERIFIED", "WAITING_APPROVA", "APPROVED"]
    status_desc: str
    entered: str
    active: int


class WholeDomain(DomainRow):
    """A domain, and the records to publish."""

    required_spf_record: Record
    required_dkim_record: Record
    required_tracking_record: Record


class DomainList(Told):
    data: list[DomainRow]


class OneDomain(Told):
    data: WholeDomain


class DomainCalls:
    """The calls about domains."""

    def __init__(self, mta: Mta, config: HttpApiSettings, domains: Domains) -> None:
        self._mta = mta
        self._config = config
        self._domains = domains

    def calls(self) -> Sequence[Call]:
        one = "/v1/domains/{id}"
        return (
            Call("GET", "/v1/domains", "List domains", self.list, answer=DomainList),
            Call("POST", "/v1/domains", "Add a domain", self.add, DomainAdded, Told),
            Call("GET", one, "A domain, and the records to publish", self.get, answer=OneDomain),
            Call("POST", f"{one}/verify_spf", "Look for its SPF record", self.verify_spf, answer=Told),
            Call("POST", f"{one}/verify_dkim", "Look for its DKIM record", self.verify_dkim, answer=Told),
            Call("POST", f"{one}/verify_tracking", "Nothing is tracked yet", self.verify_tracking, answer=Told),
            Call("POST", f"{one}/approve", "Ask for approval", self.approve, answer=Told),
            Call("DELETE", one, "Delete a domain", self.drop, answer=Told),
        )

    async def list(self, ask: Ask) -> HttpAnswer:
        domains = await self._domains.all(ask.account.name)
        return done("Domains", [DomainRow(**self._row(domain)).model_dump() for domain in domains])

    async def add(self, ask: Ask) -> HttpAnswer:
        account = ask.account.name
        try:
            name = domain_name(ask.data.domain)
        except ValueError as error:
            raise Problem(400, str(error), "domain", more={"data": ""}) from None
        domain = await self._domains.named(account, name)
        if domain is None:
            if await self._domains.is_anothers(account, name):
                raise Problem(400, "belongs to another account", "domain", more={"data": ""})
            domain = await self._domains.add(account, name)
        if domain is None:
            text = f"the account has added {self._config.max_domains:,} domains, and may add no more"
            raise Problem(400, text, more={"data": ""})
        return done("Domain added", {"domain_id": domain.id})

    async def get(self, ask: Ask) -> HttpAnswer:
        domain = await self._own(ask)
        whole = WholeDomain(
            **self._row(domain),
            required_spf_record=self._spf_record(domain),
            required_dkim_record=await self._dkim_record(domain),
            required_tracking_record=Record(),
        ).model_dump()
        return done("Domain", [whole] if is_old(ask) else whole)

    async def verify_spf(self, ask: Ask) -> HttpAnswer:
        domain = await self._own(ask)
        if not domain.is_given and self._config.spf_include is not None:
            try:
                domain = await self._domains.verified_spf(ask.account.name, domain)
            except DnsError:
                return undone(f"SPF not verified: {NO_ANSWER}")
        return done("SPF verified", "") if self._domains.has_spf(domain) else undone("SPF not verified")

    async def verify_dkim(self, ask: Ask) -> HttpAnswer:
        domain = await self._own(ask)
        if domain.is_given:
            return done("DKIM verified", "")
        if await self._mta.ask(ProvenKey()) is None:
            return undone("DKIM not verified: this server has no key for domains that are added here")
        try:
            domain = await self._domains.verified_key(ask.account.name, domain)
        except DnsError:
            return undone(f"DKIM not verified: {NO_ANSWER}")
        return done("DKIM verified", "") if domain.has_key else undone("DKIM not verified")

    async def verify_tracking(self, ask: Ask) -> HttpAnswer:
        await self._own(ask)
        return done("Tracking verified", "")

    async def approve(self, ask: Ask) -> HttpAnswer:
        domain = await self._own(ask)
        if not domain.is_given:
            domain = await self._domains.seen(ask.account.name, domain)
        if self._domains.is_approved(domain):
            return done("Domain approved", "")
        if self._domains.is_waiting(domain):
            return done("Domain waits for the operator's approval", "")
        return undone(f"Domain not approved: {self._state(domain)}")

    async def drop(self, ask: Ask) -> HttpAnswer:
        domain = await self._own(ask)
        if domain.is_given:
            raise Problem(400, "the operator's file has this domain, and only the operator can take it away", "id")
        if domain.decision == "rejected":
            raise Problem(400, "the operator has rejected this domain, and only the operator can take that back", "id")
        await self._domains.drop(ask.account.name, domain)
        return done("Domain deleted", {"domain_id": str(domain.id)})

    async def _own(self, ask: Ask) -> OwnedDomain:
        id_ = ask.request.parameters["id"]
        known = id_.isascii() and id_.isdecimal() and len(id_) < 12
        found = await self._domains.find(ask.account.name, int(id_)) if known else None
        if found is None:
            raise Problem(404, "there is no domain of that id", "id", more={"data": ""})
        return found

    def _row(self, domain: OwnedDomain) -> dict[str, Any]:
        verified, approved = self._domains.is_verified(domain), self._domains.is_approved(domain)
        waiting = self._domains.is_waiting(domain)
        return {
            "id": domain.id,
            "domain": domain.name,
            "selector": domain.selector,
            "instance_name": self._mta.hostname,
            "spf_verified": int(self._domains.has_spf(domain)),
            "dkim_verified": int(domain.has_key or domain.is_given),
            "tracking_verified": 1,
            "verified": int(verified),
            "approved": int(approved),
            "status": "APPROVED" if approved else "WAITING_APPROVA" if waiting else "NOT_VERIFIED",
            "status_desc": self._state(domain),
            "entered": domain.entered,
            "active": int(approved),
        }

    def _state(self, domain: OwnedDomain) -> str:
        """The finer state, for people."""
        if domain.is_given:
            return "given by the operator"
        if domain.decision == "rejected":
            return f"rejected by the operator{': ' if domain.rejection_reason else ''}{domain.rejection_reason or ''}"
        if self._domains.is_approved(domain):
            return "approved"
        if self._domains.is_waiting(domain):
            return "verified, and waits for the operator"
        missing = [name for name, has in (("DKIM", domain.has_key), ("SPF", self._domains.has_spf(domain))) if not has]
        return f"not verified: {' and '.join(missing)}"

    def _spf_record(self, domain: OwnedDomain) -> Record:
        include = self._config.spf_include
        if include is None or domain.is_given:
            return Record()
        return Record(TYPE="TXT", HOST=domain.name, VALUE=f"v=spf1 include:{include} ~all")

    async def _dkim_record(self, domain: OwnedDomain) -> Record:
        key = await self._mta.ask(ProvenKey())
        if key is None or domain.is_given:
            return Record()
        return Record(TYPE="CNAME", HOST=host(domain), VALUE=key[0])
