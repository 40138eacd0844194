"""What Postmark's callers are told.

The rule: each message has a row of its own; ErrorCode 0 says that nobody has to send it again.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mtaframe import HttpAnswer
from mtaframe_plugins.http_api.answering import rows
from mtaframe_plugins.http_api.door import NO_JSON, Problem
from mtaframe_plugins.http_api.outgoing import Outgoing
from mtaframe_plugins.http_api.sending import Sent

BAD_TOKEN, NOT_NOW, INVALID, BAD_JSON, INACTIVE, TOO_MANY, NO_TEMPLATE = 10, 100, 300, 402, 406, 410, 1101
"""ErrorCodes of Postmark's list; NOT_NOW is its "maintenance", whose meaning is to come again."""
NO_MAILBOX = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
"""By these the recipient's side says that there is no such mailbox, not that it is unwilling (RFC 3463 §3.2, §3.3)."""


def told(problem: Problem) -> HttpAnswer:
    """A problem as ErrorCode and Message. What a caller must mend in what is said is a 422."""
    status = problem.status if problem.status in (401, 408, 413, 500, 503) else 422
    return HttpAnswer.json(error_of(problem), status, problem.headers)


def error_of(problem: Problem) -> dict[str, Any]:
    if problem.status == 401:
        text = "No valid API token: X-Postmark-Server-Token has to be a valid token of this server"
        return {"ErrorCode": BAD_TOKEN, "Message": text}
    if problem.status == 404:
        return {"ErrorCode": NO_TEMPLATE, "Message": problem.sentence}
    if problem.text == NO_JSON:
        return {"ErrorCode": BAD_JSON, "Message": problem.text}
    default = NOT_NOW if problem.status >= 500 else INVALID
    return {"ErrorCode": default if problem.code is None else problem.code, "Message": problem.sentence}


def row(mail: Outgoing, results: Sequence[Sent], at: datetime) -> Mapping[str, Any]:
    """One message's. Who is deferred comes first: the repeat passes over those who are final."""
    code, text = _verdict(results)
    named = {"MessageID": results[0].id, "ErrorCode": code, "Message": text}
    return {**_head(mail, at), **named, "results": rows(results)}


def _verdict(results: Sequence[Sent]) -> tuple[int, str]:
    """ErrorCode and Message for what became of all recipients."""
    deferred = [sent for sent in results if sent.status == "deferred"]
    if deferred:
        line = deferred[0].result.reply.line
        return NOT_NOW, f"{len(deferred)} of {len(results)} not final yet ({line}): send the same again"
    failed = [sent for sent in results if sent.status == "failed"]
    if not failed:
        return 0, "OK"
    names = ", ".join(sent.address.mailbox for sent in failed)
    is_inactive = all(sent.result.reply.status in NO_MAILBOX for sent in failed)
    if len(failed) < len(results):
        why = "will not deliver to these inactive addresses" if is_inactive else "refused for"
        return 0, f"Message OK, but {why}: {names}."
    if is_inactive:
        return INACTIVE, f"There is no such mailbox, says its server. Found inactive addresses: {names}."
    return INVALID, failed[0].result.reply.line


def _head(mail: Outgoing, at: datetime) -> dict[str, Any]:
    to = ", ".join(mailbox.address.mailbox for copies in mail.copies for mailbox in copies.to)
    return {"To": to, "SubmittedAt": at.isoformat()}


def accepted(mail: Outgoing, at: datetime) -> Mapping[str, Any]:
    """What the test token is told."""
    return {**_head(mail, at), "MessageID": str(uuid.uuid4()), "ErrorCode": 0, "Message": "Test job accepted"}


def refused(problem: Problem, at: datetime) -> Mapping[str, Any]:
    """A row of a message that is wrong."""
    return {"To": "", "SubmittedAt": at.isoformat(), "MessageID": "", **error_of(problem)}
