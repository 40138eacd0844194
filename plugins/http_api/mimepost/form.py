"""The form of MimePost's answers: ``success``, ``message``, ``error_code`` and ``data``."""

from collections.abc import Mapping
from typing import Any

from mtaframe import HttpAnswer, HttpRequest
from mtaframe_plugins.http_api.door import Ask, Body, Problem, bearer

_OLD_CLIENTS = ("Swagger-Codegen/", "node-superagent/")


class Told(Body):
    """An answer, as its document shows it."""

    success: int
    error_code: int
    message: str
    data: Any


def secret(request: HttpRequest) -> str:
    """The token: ``X-Auth-Token``, or a bearer's."""
    return request.headers.get("x-auth-token") or bearer(request)


def done(message: str, data: Any = None, *, status: int = 200, **more: Any) -> HttpAnswer:
    """``data`` of None is left out."""
    answer: dict[str, Any] = {"success": 1, "error_code": 0, "message": message}
    if data is not None:
        answer["data"] = data
    return HttpAnswer.json({**answer, **more}, status)


def undone(message: str, data: Any = "") -> HttpAnswer:
    """What did not come true though the call was right, which MimePost says with a 200."""
    return HttpAnswer.json({"success": 0, "error_code": 0, "message": message, "data": data})


def told(problem: Problem) -> HttpAnswer:
    """A problem: its field stands in the message, and alone."""
    answer: dict[str, Any] = {
        "success": 0,
        "error_code": problem.code if problem.code is not None else problem.status,
        "message": problem.sentence,
    }
    if problem.field:
        answer["field"] = problem.field
    return HttpAnswer.json({**answer, **problem.more}, problem.status, problem.headers)


def is_old(ask: Ask) -> bool:
    """Whether the caller speaks the API's first generation, of 2021: as its token says, else as its client does."""
    if ask.token.dialect != "auto":
        return ask.token.dialect == "2021"
    return str(ask.request.headers.get("user-agent", "")).startswith(_OLD_CLIENTS)


def pairs(given: Any) -> Mapping[str, Any]:
    """Merge variables as MimePost has them: ``[{"name": …, "value": …}]``, or an object of values by name."""
    if isinstance(given, dict):
        return given
    return {each.name: each.value for each in given or ()}
