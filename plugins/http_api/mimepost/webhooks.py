"""Webhooks of the account: made, changed, deleted, tried. The plugin ``webhooks`` keeps and serves them."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from mtaframe import (
    DropEndpoint,
    Endpoint,
    EndpointFault,
    Endpoints,
    EventType,
    HttpAnswer,
    Mta,
    SaveEndpoint,
    TryEndpoint,
)
from mtaframe_plugins.http_api.door import Ask, Body, Call, Each, Problem
from mtaframe_plugins.http_api.mimepost.form import done, is_old
from mtaframe_plugins.http_api.reading import number
from mtaframe_plugins.http_api.templates import moment


class Webhook(Body):
    """A webhook as a caller wants it."""

    url: str = Field(description="Where events are posted.")
    desc: str | None = Field(default=None, description="What it is for.")
    events: Each[str] | None = Field(default=None, description="Types of events that it gets; none: all.")
    active: bool = Field(default=True, description="Whether it is told now.")


class TestedUrl(Body):
    """Where a test event goes."""

    url: str = Field(description="The URL.")


class Webhooks:
    def __init__(self, mta: Mta) -> None:
        self._mta = mta

    def calls(self) -> Sequence[Call]:
        one = "/v1/webhooks/{id}"
        return (
            Call("GET", "/v1/webhooks", "The account's webhooks", self.all),
            Call("POST", "/v1/webhooks", "Make a webhook", self.add, Webhook),
            Call("POST", "/v1/webhooks/test", "Post a test event to a URL", self.test, TestedUrl),
            Call("GET", one, "One webhook", self.show),
            Call("PUT", one, "Change a webhook", self.change, Webhook),
            Call("DELETE", one, "Delete a webhook", self.drop),
        )

    async def all(self, ask: Ask) -> HttpAnswer:
        """The object of 2025, with the number of failed events; to old clients the list alone."""
        found = await self._all(ask)
        rows = [_row(each) for each in found]
        if is_old(ask):
            return done("Webhooks", rows)
        return done("Webhooks", {"webhook_data": rows, "fail_count": sum(each.failed for each in found)})

    async def add(self, ask: Ask) -> HttpAnswer:
        return done("Webhook added", {"id": (await self._save(ask, None)).id})

    async def show(self, ask: Ask) -> HttpAnswer:
        wanted = number(ask.request.parameters["id"])
        for each in await self._all(ask):
            if each.id == wanted:
                return done("Webhook", _row(each))
        raise _missing()

    async def change(self, ask: Ask) -> HttpAnswer:
        return done("Webhook updated", {"id": (await self._save(ask, await self._writable(ask))).id})

    async def drop(self, ask: Ask) -> HttpAnswer:
        if not await self._mta.ask(DropEndpoint(ask.account.name, await self._writable(ask))):
            raise _missing()
        return done("Webhook deleted", "")

    async def test(self, ask: Ask) -> HttpAnswer:
        found = await self._mta.ask(TryEndpoint(ask.account.name, ask.data.url))
        if found != 200:
            text = f"the URL answered {found}" if isinstance(found, int) else found
            raise Problem(400, text, "url", more={"data": ""})
        return done("Webhook tested", "")

    async def _all(self, ask: Ask) -> Sequence[Endpoint]:
        found = await self._mta.ask(Endpoints(ask.account.name))
        if found is None:
            raise Problem(503, "webhooks can't be read now, or this server keeps none")
        return found

    async def _writable(self, ask: Ask) -> int:
        """The id of a webhook that the account made."""
        wanted = number(ask.request.parameters["id"])
        found = next((each for each in await self._all(ask) if each.id == wanted), None)
        if found is None:
            raise _missing()
        if not found.is_writable:
            raise Problem(400, "the operator's configuration has this webhook; it is changed there", "id")
        return found.id

    async def _save(self, ask: Ask, wanted: int | None) -> Endpoint:
        data: Webhook = ask.data
        known = {kind.value: kind for kind in EventType}
        for place, name in enumerate(data.events or ()):
            if name not in known:
                raise Problem(400, "is no type of event", f"events.{place}")
        events = frozenset(known[name] for name in data.events or ())
        question = SaveEndpoint(ask.account.name, wanted, data.url, data.desc or "", events, data.active)
        answer = await self._mta.ask(question)
        if isinstance(answer, EndpointFault):
            raise Problem(400, answer.text, {"description": "desc"}.get(answer.field, answer.field) or None,
                          more={"data": ""})  # fmt: skip
        if answer is None:
            raise _missing()
        return answer


def _missing() -> Problem:
    return Problem(404, "there is no such webhook", "id", more={"data": ""})


def _row(each: Endpoint) -> dict[str, Any]:
    return {
        "id": each.id,
        "entered": moment(each.entered_at),
        "url": each.url,
        "active": int(each.is_active),
        "desc": each.description,
        "secret": each.secret,
        "signing_secret": each.signing_secret,
        "events": sorted(kind.value for kind in each.events or EventType),
        "writable": each.is_writable,
        "failed": each.failed,
    }
