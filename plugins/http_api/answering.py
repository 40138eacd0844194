"""What a call that sent mail tells of it: each recipient's result, and one status for all.

The law: 2xx says that nobody has to call again. As long as anybody is deferred, it is a 503, and the same call again,
under its Idempotency-Key, sends to those who are left and to nobody else.
"""

from collections.abc import Sequence
from typing import Any

from mtaframe_plugins.http_api.door import Problem
from mtaframe_plugins.http_api.sending import Sent

RETRY = {"Retry-After": "60"}


def row(sent: Sent) -> dict[str, Any]:
    """One recipient."""
    reply = sent.result.reply
    return {
        "email": sent.address.mailbox,
        "kind": sent.kind,
        "id": sent.id,
        "status": sent.status,
        "code": reply.code,
        "enhanced": reply.status,
        "message": reply.text,
        "by": sent.result.by,
    }


def rows(results: Sequence[Sent]) -> list[dict[str, Any]]:
    return [row(sent) for sent in results]


def checked(results: Sequence[Sent]) -> Sequence[Sent]:
    """The results, if nobody has to call again and somebody got the mail. Else a Problem with all of them."""
    deferred = [sent for sent in results if sent.status == "deferred"]
    if deferred:
        text = f"{_count(deferred, results)} not final yet ({deferred[0].result.reply.line}): repeat the same call"
        raise Problem(503, text, headers=RETRY, more={"results": rows(results)})
    failed = [sent for sent in results if sent.status == "failed"]
    if len(failed) == len(results):
        reply = failed[0].result.reply
        raise Problem(422 if failed[0].result.remote else 400, reply.line, more={"results": rows(results)})
    return results


def _count(some: Sequence[Sent], results: Sequence[Sent]) -> str:
    return "the recipient is" if len(results) == 1 else f"{len(some)} of {len(results)} recipients are"
