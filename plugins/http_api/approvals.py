"""What waits for the operator, and the word that ends the waiting: templates and domains of all accounts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mtaframe import CommandError, Mta
from mtaframe_plugins.http_api.domains import Domains
from mtaframe_plugins.http_api.templates import Template, Templates, moment

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

    async def shown(self, kind: str, account: str, name: str) -> dict[str, Any]:
        """What is to be decided on. CommandError if there is no such thing."""
        if kind == "domain":
            domain = await self._domains.added(account, name.lower())
            if domain is None:
                raise _no_domain(account)
            return {
                "kind": kind,
                "account": account,
                "name": domain.name,
                "status": domain.decision or "waits",
                "has_dkim": domain.has_key,
                "has_spf": self._domains.has_spf(domain),
                "entered": domain.entered,
            }
        template = await self._template(account, name)
        return {
            "kind": "template",
            "account": account,
            "name": template.uid,
            "title": template.name,
            "status": template.status,
            "version": template.version,
            "changed": template.updated_at,
            "dialect": template.dialect or "",
            "subject": template.subject or "",
            "text": template.text or "",
            "html": template.html or "",
        }

    async def decide(self, kind: str, account: str, name: str, verdict: str, reason: str, seen: str) -> str:
        """Also what was decided otherwise before; of a template, only the version that was ``seen``, if one was.

        CommandError if there is no such thing.
        """
        if verdict not in _DECISIONS:
            raise CommandError('the verdict is "approve" or "reject"')
        decision: dict[str, Any] = {
            "moderated_by": OPERATOR,
            "moderated_at": moment(self._mta.clock.now()),
            "rejection_reason": reason or None if verdict == "reject" else None,
        }
        if kind == "domain":
            if seen:
                raise CommandError("a domain has no version to be seen")
            if await self._domains.decide(account, name.lower(), decision=_DECISIONS[verdict], **decision) is None:
                raise _no_domain(account)
        elif kind == "template":

            def decided(template: Template) -> Template:
                if seen not in ("", template.version):
                    raise CommandError(f"it was changed since: look again, the version is {template.version} now")
                return replace(template, status=_DECISIONS[verdict], **decision)

            if await self._templates.change(account, name, decided) is None:
                raise _no_template(account)
        else:
            raise CommandError('the kind is "domain" or "template"')
        return f"{kind} {name} of {account}: {_DECISIONS[verdict]}"

    async def _template(self, account: str, name: str) -> Template:
        template = await self._templates.find(account, name)
        if template is None:
            raise _no_template(account)
        return template


def _no_domain(account: str) -> CommandError:
    return CommandError(f'the account "{account}" has added no such domain')


def _no_template(account: str) -> CommandError:
    return CommandError(f'the account "{account}" has no such template')


def _row(kind: str, account: str, name: str, since: str) -> dict[str, Any]:
    return {"kind": kind, "account": account, "name": name, "since": since}
