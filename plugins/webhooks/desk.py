"""What account holders may ask: their webhooks listed, made, changed, deleted and tried.

The law: an account sees and touches its own and what the configuration names it for; what it asks never ends in a
fault of the plugin, which works for everybody's mail.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from mtaframe import (
    Counter,
    DropEndpoint,
    Endpoint,
    EndpointFault,
    Endpoints,
    EventType,
    HttpError,
    Mta,
    Question,
    SaveEndpoint,
    TryEndpoint,
)
from mtaframe_plugins.webhooks.holding import Holding, failures
from mtaframe_plugins.webhooks.line import Line
from mtaframe_plugins.webhooks.made import Made, Wish, listed, without_password
from mtaframe_plugins.webhooks.notice import sample
from mtaframe_plugins.webhooks.settings import EndpointSettings, WebhooksSettings
from mtaframe_plugins.webhooks.shelf import Shelf

log = logging.getLogger("mtaframe.webhooks")

T = TypeVar("T")

TRIES_PER_HOUR = 60
"""Of one account: a trial makes this server call whatever the account holder says."""
TRIAL, ANSWERED = 8.0, 9.0
"""Seconds that a trial, and any answer, may take: less than a plugin has for it."""
COUNTED = timedelta(days=45)

NOT_NOW = EndpointFault("webhooks can't be kept now, try again later")
OFF = EndpointFault("webhooks are made by the operator of this server")
READ_ONLY = EndpointFault("this webhook is in the server's configuration")
NOBODY = EndpointFault("there is no such account")


class Desk:
    """``holding`` is that of the instance now: it changes hands at a reload."""

    def __init__(self, rules: WebhooksSettings, mta: Mta, holding: Callable[[], Holding]) -> None:
        self._rules, self._mta, self._holding = rules, mta, holding

    def answers(self) -> Mapping[type[Question[Any]], Callable[[Any], Awaitable[Any]]]:
        return {
            Endpoints: lambda asked: _sound(self._list(asked), None),
            SaveEndpoint: lambda asked: _sound(self._save(asked), NOT_NOW),
            DropEndpoint: lambda asked: _sound(self._drop(asked), False),
            TryEndpoint: lambda asked: _sound(self._try(asked), NOT_NOW.text),
        }

    async def _list(self, asked: Endpoints) -> tuple[Endpoint, ...]:
        """The configuration's first."""
        made = await self._shelf.all(asked.account) if self._shelf.limit else []
        found = [*listed(asked.account, self._rules.endpoint), *(each.endpoint() for each in made)]
        return tuple(await self._counted(found))

    async def _counted(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        if not endpoints:
            return []
        counters = [_failures(each) for each in endpoints]
        sums = await self._mta.state.counters.sums(counters, self._mta.clock.now() - COUNTED)
        return [replace(each, failed=failed) for each, failed in zip(endpoints, sums, strict=True)]

    async def _save(self, asked: SaveEndpoint) -> Endpoint | EndpointFault | None:
        account, number = asked.account, asked.id
        wish = Wish(asked.url, asked.description, asked.events, asked.is_active)
        if (fault := self._refusal(account, number) or wish.fault()) is not None:
            return fault
        if number is None:
            made: Made | EndpointFault | None = await self._shelf.add(account, wish)
        else:
            made = await self._shelf.change(account, number, wish)
        if made is None or isinstance(made, EndpointFault):
            return made
        await self._holding().is_read(account)
        return (await self._counted([made.endpoint()]))[0]

    def _refusal(self, account: str, number: int | None) -> EndpointFault | None:
        if account not in self._mta.accounts:
            return NOBODY
        if not self._shelf.limit:
            return OFF
        return READ_ONLY if number in {each.id for each in listed(account, self._rules.endpoint)} else None

    async def _drop(self, asked: DropEndpoint) -> bool:
        account, number = asked.account, asked.id
        if number <= 0 or self._refusal(account, number) is not None:
            return False
        was_there = await self._shelf.drop(account, number)
        await self._holding().is_read(account)
        if was_there:
            await self._mta.state.counters.clear([failures(account, number)])
        return was_there

    async def _try(self, asked: TryEndpoint) -> int | str:
        """Signed as the webhook of that URL is, if the account has one; one that is not made yet has no secrets."""
        account = asked.account
        if (fault := Wish(asked.url, "", frozenset(), True).fault()) is not None:
            return fault.text
        tries = Counter("webhooks.tries", account=account)
        if await self._mta.state.counters.take(tries, 1, per_hour=TRIES_PER_HOUR) is not None:
            return "too many trials in this hour"
        line = await self._line(account, asked.url)
        notice = sample(EventType.DELIVERED, account, self._mta.clock.now())
        try:
            return (await line.send(notice, TRIAL)).status
        except HttpError as error:
            return str(error)

    async def _line(self, account: str, url: str) -> Line:
        """A way there that keeps nothing."""
        made = await self._shelf.all(account) if self._shelf.limit else []
        settings = [each.settings() for each in made if each.wish.url == url]
        settings += [
            each for each in self._rules.endpoint if account in each.accounts and without_password(each.url) == url
        ]
        endpoint = settings[0] if settings else EndpointSettings(url=url)
        return Line(self, endpoint, self._rules, self._mta)

    @property
    def _shelf(self) -> Shelf:
        return self._holding().shelf


async def _sound(work: Awaitable[T], otherwise: T) -> T:
    """What the state can't do now, or not in time, is no fault of the plugin, which works for mail."""
    try:
        async with asyncio.timeout(ANSWERED):
            return await work
    except Exception as error:
        log.error("webhooks of an account can't be read or kept fault=%s", type(error).__name__)
        return otherwise


def _failures(endpoint: Endpoint) -> Counter:
    return failures(endpoint.account if endpoint.is_writable else "", endpoint.id)
