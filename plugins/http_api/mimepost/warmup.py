"""MimePost's calls about the warm-up of IP addresses, which this server does not do, and says so."""

from collections.abc import Sequence

from mtaframe import HttpAnswer
from mtaframe_plugins.http_api.door import Ask, Call, Problem
from mtaframe_plugins.http_api.mimepost.form import done


def calls() -> Sequence[Call]:
    return (
        Call("GET", "/v1/warmup_master", "Warm-ups: none", _none),
        Call("GET", "/v1/warmup_status", "Whether anything is warmed up: nothing", _status),
        Call("GET", "/v1/warmup_plans/{id}", "A plan: there is none", _missing),
        Call("GET", "/v1/warmup_details/{id}", "A warm-up: there is none", _missing),
    )


async def _none(ask: Ask) -> HttpAnswer:
    return HttpAnswer.json([])


async def _status(ask: Ask) -> HttpAnswer:
    return done("This server warms no addresses up", warmup_status=0)


async def _missing(ask: Ask) -> HttpAnswer:
    raise Problem(404, "this server warms no addresses up", "id")
