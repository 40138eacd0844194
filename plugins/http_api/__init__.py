"""http_api: mail comes in by MimePost's HTTP API, and by those of others. See docs/plugins/http_api.md."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from mtaframe import (
    Delivery,
    HttpRoute,
    Mta,
    OwnDomain,
    Plugin,
    ProvenSelector,
    Question,
    command,
    hookimpl,
)
from mtaframe_plugins.http_api.approvals import Approvals
from mtaframe_plugins.http_api.domains import Domains
from mtaframe_plugins.http_api.door import Door
from mtaframe_plugins.http_api.mimepost import form
from mtaframe_plugins.http_api.mimepost.domains import DomainCalls
from mtaframe_plugins.http_api.mimepost.emails import Emails
from mtaframe_plugins.http_api.mimepost.templates import TemplateCalls
from mtaframe_plugins.http_api.repeats import Repeats
from mtaframe_plugins.http_api.sending import own_fields
from mtaframe_plugins.http_api.settings import HttpApiSettings
from mtaframe_plugins.http_api.templates import Templates


class HttpApi(Plugin):
    """Serves the doors on every listener of the kind ``http``."""

    Config: ClassVar[type[HttpApiSettings]] = HttpApiSettings
    config: HttpApiSettings
    behind = ("merge_tags",)

    def __init__(self, config: HttpApiSettings, mta: Mta) -> None:
        super().__init__(config, mta)
        templates, domains, repeats = Templates(mta), Domains(mta, config), Repeats(mta)
        self._domains = domains
        self._approvals = Approvals(mta, templates, domains)
        mimepost = (
            Emails(mta, config, templates, repeats),
            TemplateCalls(mta, config, templates),
            DomainCalls(mta, config, domains),
        )
        self._doors = (
            Door(
                "MimePost",
                [call for each in mimepost for call in each.calls()],
                form.secret,
                form.told,
                {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            ),
        )

    def http_routes(self) -> Sequence[HttpRoute]:
        return [route for door in self._doors for route in door.routes(lambda: self.mta.accounts)]

    @hookimpl
    def before_sign(self, delivery: Delivery) -> Delivery | None:
        """Puts the fields on top that are this copy's own."""
        return own_fields(delivery)

    def answers(self) -> Mapping[type[Question[Any]], Callable[[Any], Awaitable[Any]]]:
        return {
            OwnDomain: self._domains.is_own,
            ProvenSelector: self._domains.proven_selector,
        }

    @command
    async def approvals(self) -> Sequence[dict[str, Any]]:
        """Domains and templates that wait to be approved."""
        return await self._approvals.waiting()

    @command
    async def decide(
        self,
        kind: Literal["domain", "template"],
        account: str,
        name: str,
        verdict: Literal["approve", "reject"],
        *,
        reason: str = "",
    ) -> str:
        """Approve or reject a domain or a template of an account.

        ``reason``: why it is rejected, for the account holder to read
        """
        return await self._approvals.decide(kind, account, name, verdict, reason)
