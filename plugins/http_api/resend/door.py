"""Resend's API for sending: one mail, and a batch. docs/plugins/http_api.md compares it with theirs.

The rule: a batch is checked as a whole before anything of it is sent.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mtaframe import HttpAnswer, HttpRequest
from mtaframe_plugins.http_api.answering import checked, rows
from mtaframe_plugins.http_api.door import (
    MISSING,
    NO_JSON,
    Ask,
    Call,
    Door,
    Each,
    Problem,
    bearer,
)
from mtaframe_plugins.http_api.ordering import Orders, Shelf
from mtaframe_plugins.http_api.outgoing import Outgoing
from mtaframe_plugins.http_api.resend.mails import outgoing
from mtaframe_plugins.http_api.resend.models import ResendBatchSent, ResendEmail, ResendSent
from mtaframe_plugins.http_api.sending import Sent

MOST = 100
"""Mails in a batch."""


class Resend:
    """The calls, and the form of their answers."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def door(self) -> Door:
        calls = (
            Call("POST", "/emails", "Send mail, as Resend has it", self.email, ResendEmail, ResendSent),
            Call("POST", "/emails/batch", "Send mails", self.batch, Each[ResendEmail], ResendBatchSent),
        )
        return Door("Resend", calls, secret, told, {"type": "http", "scheme": "bearer"})

    async def email(self, ask: Ask) -> HttpAnswer:
        mail = await self._mail(ask.data, self._orders.shelf(ask))
        self._orders.check(ask, [mail], "to")
        [results] = await self._orders.sent(ask, [mail])
        return HttpAnswer.json({"id": checked(results)[0].id, "results": rows(results)})

    async def batch(self, ask: Ask) -> HttpAnswer:
        emails: Sequence[ResendEmail] = ask.data
        if not 0 < len(emails) <= MOST:
            raise Problem(422, f"a batch has 1 to {MOST} mails")
        shelf = self._orders.shelf(ask)
        mails: list[Outgoing] = []
        for place, email in enumerate(emails):
            mails.append(await self._mail(email, shelf, f"{place}."))
            self._orders.check(ask, mails, "to")
            await asyncio.sleep(0)  # others' mail goes on meanwhile
        sent = await self._orders.sent(ask, mails)
        checked([each for results in sent for each in results])
        answer: dict[str, Any] = {"data": [{"id": results[0].id} for results in sent]}
        if errors := _errors(sent):
            answer["errors"] = errors
        return HttpAnswer.json(answer)

    async def _mail(self, email: ResendEmail, shelf: Shelf, place: str = "") -> Outgoing:
        if email.scheduled_at:
            self._orders.check_due(_time(email.scheduled_at, f"{place}scheduled_at"), f"{place}scheduled_at")
        has_content = bool(email.html) or bool(email.text)
        template = None
        if email.template is not None:
            if has_content:
                text = "a template takes the place of html and text: give one or the other"
                raise Problem(422, text, f"{place}template")
            template = await shelf.template(f"{place}template.id", email.template.id)
        elif not has_content:
            raise Problem(422, MISSING, f"{place}html")
        else:
            self._orders.check_raw(f"{place}html", "template")
        return outgoing(email, template, place)


def secret(request: HttpRequest) -> str:
    """The token. Problem 401 if there is none, which is another one than for one that is wrong."""
    if not request.headers.get("authorization"):
        raise Problem(401, "Missing API key in the authorization header")
    return bearer(request)


def told(problem: Problem) -> HttpAnswer:
    """A problem by Resend's names."""
    status, name = _named(problem)
    text = "API key is invalid" if name == "invalid_api_key" else problem.sentence
    answer = {"statusCode": status, "name": name, "message": text, **problem.more}
    return HttpAnswer.json(answer, status, problem.headers)


def _named(problem: Problem) -> tuple[int, str]:
    status, field = problem.status, problem.field or ""
    if status == 401:
        return (401, "missing_api_key") if problem.code is None else (403, "invalid_api_key")
    if field == "Idempotency-Key":
        return (400, "invalid_idempotency_key") if status == 400 else (409, "invalid_idempotent_request")
    if status == 404:
        return 404, "not_found"
    if status not in (400, 422):
        return status, "application_error"
    if problem.text == NO_JSON:
        return 400, "validation_error"
    if problem.text.startswith(MISSING):
        return 422, "missing_required_field"
    return 422, "invalid_attachment" if "attachments" in field.split(".") else "validation_error"


def _errors(sent: Sequence[Sequence[Sent]]) -> Sequence[Mapping[str, Any]]:
    """The mails that nobody got, though others of the batch went."""
    return [
        {"index": place, "message": results[0].result.reply.line}
        for place, results in enumerate(sent)
        if all(each.status == "failed" for each in results)
    ]


def _time(text: str, field: str) -> datetime:
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Problem(422, "is no time of ISO 8601", field) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
