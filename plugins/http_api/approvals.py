"""What waits for the operator, and the word that ends the waiting: templates and domains of all accounts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mtaframe import CommandError, Mta
from mtaframe_plugins.http_api.domains import Domains
from mtaframe_plugins.http_api.templates import Templates, moment

OPERATOR = "operator"
"""Who has decided, as account holders read it."""
_DECISIONS = {"approve": "approved", "reject": "rejected"}


class Approvals:
    def __init__(self, mta: Mta, templates: Templates, domains: Domains) -> None:
        self._mta = mta
        self._templates = templates
        self._domains = domains

    async def waiting(self) -> Sequence[dict[str, Any]]:
        """One row for each, domains first."""
        rows = [_row("domain", account, each.name, each.entered) for account, each in await self._domains.waiting()]
        for account in sorted(self._mta.accounts):
            pending = [each for each in await self._templates.all(account) if each.status == "pending"]
            rows += [_row("template", account, each.uid, each.updated_at) for each in pending]
        return rows

    async def decide(self, kind: str, account: str, name: str, verdict: str, reason: str) -> str:
        """Also what was decided otherwise before. CommandError if there is no such thing."""
        if verdict not in _DECISIONS:
            raise CommandError('the verdict is "approve" or "reject"')
        decision: dict[str, Any] = {
            "moderated_by": OPERATOR,
            "moderated_at": moment(self._mta.clock.now()),
            "rejection_reason": reason or None if verdict == "reject" else None,
        }
        if kind == "domain":
            domain = await self._domains.added(account, name.lower())
            if domain is None:
                raise CommandError(f'the account "{account}" has added no such domain')
            await self._domains.put(account, replace(domain, decision=_DECISIONS[verdict], **decision))
        elif kind == "template":
            template = await self._templates.find(account, name)
            if template is None:
                raise CommandError(f'the account "{account}" has no such template')
            await self._templates.put(account, replace(template, status=_DECISIONS[verdict], **decision))
        else:
            raise CommandError('the kind is "domain" or "template"')
        return f"{kind} {name} of {account}: {_DECISIONS[verdict]}"


def _row(kind: str, account: str, name: str, since: str) -> dict[str, Any]:
    return {"kind": kind, "account": account, "name": name, "since": since}
