"""http_api: mail comes in by MimePost's HTTP API, and by those of others. See docs/plugins/http_api.md."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from mtaframe import (
    Delivery,
    Envelope,
    Event,
    EventType,
    HttpAnswer,
    HttpRequest,
    HttpRoute,
    Mta,
    OwnDomain,
    Plugin,
    ProvenSelector,
    Question,
    Result,
    SandboxAddress,
    command,
    event_type,
    hookimpl,
)
from mtaframe_plugins.http_api import openapi
from mtaframe_plugins.http_api.approvals import Approvals
from mtaframe_plugins.http_api.domains import Domains
from mtaframe_plugins.http_api.door import Door
from mtaframe_plugins.http_api.mimepost import form, warmup
from mtaframe_plugins.http_api.mimepost.domains import DomainCalls
from mtaframe_plugins.http_api.mimepost.emails import Emails
from mtaframe_plugins.http_api.mimepost.figures import Figures
from mtaframe_plugins.http_api.mimepost.holder import Holder
from mtaframe_plugins.http_api.mimepost.sandbox_emails import SandboxCalls
from mtaframe_plugins.http_api.mimepost.templates import TemplateCalls
from mtaframe_plugins.http_api.mimepost.webhooks import Webhooks
from mtaframe_plugins.http_api.ordering import Orders
from mtaframe_plugins.http_api.postmark.door import Postmark
from mtaframe_plugins.http_api.recent import Happening, Recent, Row, newest_first
from mtaframe_plugins.http_api.repeats import Repeats
from mtaframe_plugins.http_api.resend.door import Resend
from mtaframe_plugins.http_api.sandbox import Sandbox
from mtaframe_plugins.http_api.sendgrid.door import SendGrid
from mtaframe_plugins.http_api.sending import own_fields
from mtaframe_plugins.http_api.settings import HttpApiSettings
from mtaframe_plugins.http_api.templates import Templates


class HttpApi(Plugin):
    """Serves the doors on every listener of the kind ``http``."""

    Config: ClassVar[type[HttpApiSettings]] = HttpApiSettings
    config: HttpApiSettings
    command_group = "api"
    behind = ("merge_tags",)

    def __init__(self, config: HttpApiSettings, mta: Mta) -> None:
        super().__init__(config, mta)
        self._recent = Recent(config.recent_max_age, config.recent_max_count)
        templates, repeats = Templates(mta), Repeats(mta)
        self._domains = Domains(mta, config)
        self._sandbox = Sandbox(mta)
        self._approvals = Approvals(mta, templates, self._domains)
        orders = Orders(mta, config, templates, repeats)
        self._doors = (
            Door(
                "MimePost",
                (
                    *Emails(mta, orders, repeats).calls(),
                    *TemplateCalls(mta, config, templates).calls(),
                    *DomainCalls(mta, config, self._domains).calls(),
                    *SandboxCalls(mta, config, self._sandbox).calls(),
                    *Webhooks(mta).calls(),
                    *Figures(mta).calls(),
                    *Holder(mta).calls(),
                    *warmup.calls(),
                ),
                form.secret,
                form.told,
                {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            ),
            SendGrid(orders).door(),
            Postmark(orders).door(),
            Resend(orders).door(),
        )

    def adopt(self, old: "HttpApi") -> None:
        self._recent.take_over(old._recent)

    async def stop(self) -> None:
        self._recent.stop()

    def http_routes(self) -> Sequence[HttpRoute]:
        routes = [route for door in self._doors for route in door.routes(lambda: self.mta.accounts)]
        pings = [HttpRoute("GET", path, _pong) for path in ("/ping", "/v1/ping")]
        return [*routes, *pings, openapi.route(self._doors)]

    @hookimpl
    def on_data(self, envelope: Envelope) -> None:
        """For the email logs: what was asked for."""
        if envelope.account is not None and envelope.session.protocol != "DSN":
            for recipient in envelope.recipients:
                self._add(envelope.account, envelope.message_id(recipient), recipient.address.mailbox, "request", "")

    @hookimpl
    def before_sign(self, delivery: Delivery) -> Delivery | None:
        """Adds the fields that are this copy's own."""
        return own_fields(delivery)

    @hookimpl
    def on_result(self, delivery: Delivery, result: Result) -> None:
        """For the email logs."""
        envelope, recipient = delivery.envelope, delivery.recipient
        if envelope.account is not None and envelope.session.protocol != "DSN":
            self._add(
                envelope.account, envelope.message_id(recipient), recipient.address.mailbox,
                event_type(result).value, result.reply.line,
            )  # fmt: skip

    @hookimpl
    def on_event(self, event: Event) -> None:
        """The same, for what no attempt tells."""
        is_told = event.type is EventType.REQUEST or "unreported" in event.data
        if event.account is not None and event.recipient is not None and not is_told:
            self._add(event.account, event.message_id or "", event.recipient.mailbox, event.type.value, "")

    def _add(self, account: str, message_id: str, recipient: str, kind: str, details: str) -> None:
        if self.config.recent_max_count:
            now = self.mta.clock.now()
            self._recent.add(Happening(now, account, message_id, recipient, kind, details))

    @command(gather=newest_first)
    async def recent(self, account: str) -> Sequence[Row]:
        """What became of late of the mail of an account and those below it; from memory, newest first."""
        return self._recent.rows([account, *self.mta.accounts.below(account)], self.mta.clock.now())

    def answers(self) -> Mapping[type[Question[Any]], Callable[[Any], Awaitable[Any]]]:
        return {
            OwnDomain: self._domains.is_own,
            ProvenSelector: self._domains.proven_selector,
            SandboxAddress: self._sandbox.is_verified,
        }

    @command
    async def approvals(self) -> Sequence[dict[str, Any]]:
        """Domains and templates that wait to be approved."""
        return await self._approvals.waiting()

    @command
    async def show(self, kind: Literal["domain", "template"], account: str, name: str) -> dict[str, Any]:
        """A domain or a template of an account, for the operator to look at."""
        return await self._approvals.shown(kind, account, name)

    @command
    async def decide(
        self,
        kind: Literal["domain", "template"],
        account: str,
        name: str,
        verdict: Literal["approve", "reject"],
        *,
        reason: str = "",
        seen: str = "",
    ) -> str:
        """Approve or reject a domain or a template of an account.

        ``reason``: why it is rejected, for the account holder to read
        ``seen``: the version of a template that was looked at; if it is another one now, nothing is decided
        """
        return await self._approvals.decide(kind, account, name, verdict, reason, seen)


async def _pong(request: HttpRequest) -> HttpAnswer:
    return HttpAnswer.json({"success": 1, "message": "pong"})
