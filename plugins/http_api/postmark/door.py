"""Postmark's API for sending: one message, a batch, and both with templates. docs/plugins/http_api.md compares it with
theirs.

The rule: in a batch the rows tell what became of each message, and the call is a 200; a call with one message has the
row's status, too.
"""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from mtaframe import Account, HttpAnswer, HttpRequest, Token
from mtaframe_plugins.http_api.answering import RETRY
from mtaframe_plugins.http_api.door import Ask, Call, Door, Problem, problem_of
from mtaframe_plugins.http_api.ordering import Orders, Shelf
from mtaframe_plugins.http_api.outgoing import Outgoing
from mtaframe_plugins.http_api.postmark.answers import NOT_NOW, TOO_MANY, accepted, refused, row, told
from mtaframe_plugins.http_api.postmark.mails import outgoing
from mtaframe_plugins.http_api.postmark.models import (
    PostmarkEmail,
    PostmarkMessage,
    PostmarkSent,
    PostmarkTemplateBatch,
    PostmarkTemplateEmail,
    Rows,
)
from mtaframe_plugins.http_api.templates import Template

TEST = "POSTMARK_API_TEST"
"""The token that may do everything, and sends nothing."""
TESTER = Account("")
TESTERS_SIZE = 1_000_000
"""Octets of a request that nobody's token may have read: whoever finds the server has it."""
MOST = 500
"""Messages in a batch."""


class Postmark:
    """The calls, and the form of their answers."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def door(self) -> Door:
        calls = (
            Call("POST", "/email", "Send mail, as Postmark has it", self.email, PostmarkEmail, PostmarkSent),
            Call("POST", "/email/batch", "Send mails, a row of the answer for each", self.batch, Rows,
                 list[PostmarkSent]),
            Call("POST", "/email/withTemplate", "Send mail by a template", self.email, PostmarkTemplateEmail,
                 PostmarkSent),
            Call("POST", "/email/batchWithTemplates", "Send mails by templates, a row of the answer for each",
                 self.template_batch, PostmarkTemplateBatch, list[PostmarkSent]),
        )  # fmt: skip
        scheme = {"type": "apiKey", "in": "header", "name": "X-Postmark-Server-Token"}
        return Door("Postmark", calls, secret, told, scheme, guest)

    async def email(self, ask: Ask) -> HttpAnswer:
        mail = await self._mail(ask, ask.data, self._orders.shelf(ask))
        if ask.account is TESTER:
            return HttpAnswer.json(accepted(mail, self._orders.now))
        [results] = await self._orders.sent(ask, [mail])
        answer = row(mail, results, self._orders.now)
        status = 200 if not answer["ErrorCode"] else 503 if answer["ErrorCode"] == NOT_NOW else 422
        return HttpAnswer.json(answer, status, RETRY if status == 503 else {})

    async def batch(self, ask: Ask) -> HttpAnswer:
        return await self._rows(ask, ask.data, PostmarkEmail)

    async def template_batch(self, ask: Ask) -> HttpAnswer:
        return await self._rows(ask, ask.data.messages, PostmarkTemplateEmail)

    async def _rows(self, ask: Ask, given: Rows, model: type[PostmarkMessage]) -> HttpAnswer:
        """What is wrong with one message keeps no other."""
        if len(given) > MOST:
            raise Problem(400, f"{MOST} messages in a batch are enough", code=TOO_MANY)
        answers: dict[int, Mapping[str, Any]] = {}
        mails: dict[int, Outgoing] = {}
        shelf = self._orders.shelf(ask)
        for place, each in enumerate(given):
            try:
                mails[place] = await self._mail(ask, _read(model, each), shelf)
            except Problem as problem:
                answers[place] = refused(problem, self._orders.now)
            self._orders.check(ask, list(mails.values()), "To")
            await asyncio.sleep(0)  # others' mail goes on meanwhile
        if ask.account is TESTER:
            answers |= {place: accepted(mail, self._orders.now) for place, mail in mails.items()}
        elif mails:
            names = [_digest(given[place]) for place in mails]
            sent = await self._orders.sent(ask, list(mails.values()), names)
            for (place, mail), results in zip(mails.items(), sent, strict=True):
                answers[place] = row(mail, results, self._orders.now)
        return HttpAnswer.json([answers[place] for place in range(len(given))])

    async def _mail(self, ask: Ask, message: PostmarkMessage, shelf: Shelf) -> Outgoing:
        template = None
        if isinstance(message, PostmarkTemplateEmail):
            template = await _template(message, shelf)
        elif isinstance(message, PostmarkEmail):
            if not message.html_body and not message.text_body:
                raise Problem(400, "give HtmlBody or TextBody", "HtmlBody")
            self._orders.check_raw("HtmlBody", "TemplateAlias")
        mail = outgoing(message, template, ask.account.streams)
        if ask.account is TESTER:
            mail = replace(mail, stream=None)
        self._orders.check(ask, [mail], "To", stream="MessageStream")
        return mail


async def _template(message: PostmarkTemplateEmail, shelf: Shelf) -> Template:
    if message.template_alias:
        return await shelf.template("TemplateAlias", message.template_alias)
    if message.template_id:
        return await shelf.template("TemplateId", str(message.template_id))
    raise Problem(400, "give TemplateAlias or TemplateId", "TemplateAlias")


def secret(request: HttpRequest) -> str:
    return str(request.headers.get("x-postmark-server-token", "")).strip()


def guest(text: str, request: HttpRequest) -> tuple[Account, Token] | None:
    """Whoever tests a program, and has no account. Problem if it can't be seen from outside that the body is short."""
    if text.upper() != TEST:
        return None
    headers = request.headers
    if "transfer-encoding" in headers or headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Problem(400, "a test has a Content-Length, and is not compressed")
    length = headers.get("content-length", "0").strip()
    if len(length) > 15 or not length.isdecimal() or int(length) > TESTERS_SIZE:
        raise Problem(400, f"a test may hold {TESTERS_SIZE:,} octets")
    return TESTER, Token("test", "", "")


def _digest(given: Any) -> bytes:
    """What tells messages apart, whatever batch they come in."""
    return hashlib.blake2b(json.dumps(given, sort_keys=True).encode()).digest()


def _read(model: type[PostmarkMessage], given: Any) -> PostmarkMessage:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise problem_of(error) from None
