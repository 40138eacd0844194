"""webhooks: posts what becomes of mail to URLs of the account holders'. See docs/plugins/webhooks.md."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from mtaframe import (
    CommandError,
    Counter,
    Delivery,
    Envelope,
    Event,
    EventType,
    HttpError,
    Message,
    Mta,
    Plugin,
    Private,
    Question,
    Result,
    command,
    event_type,
    hookimpl,
)
from mtaframe_plugins.webhooks.desk import Desk
from mtaframe_plugins.webhooks.gathering import merged, tried_again
from mtaframe_plugins.webhooks.holding import Holding, failures
from mtaframe_plugins.webhooks.line import Line
from mtaframe_plugins.webhooks.made import of_the_configuration
from mtaframe_plugins.webhooks.notice import Fact, Notice, author, custom_data, new_id, sample
from mtaframe_plugins.webhooks.settings import EndpointSettings, WebhooksSettings

log = logging.getLogger("mtaframe.webhooks")

GATHERED = 0.01
"""Seconds in which events gather that are given numbers together."""
REMEMBERED = 1000
"""Kinds of mail, by type of event, account and stream, whose endpoints are remembered."""

Told = tuple[Sequence[Line], Notice]
"""An event and whom the configuration wants told."""


class Webhooks(Plugin):
    """Tells other servers of events: one POST for each event and URL."""

    Config: ClassVar[type[WebhooksSettings]] = WebhooksSettings
    config: WebhooksSettings

    def __init__(self, config: WebhooksSettings, mta: Mta) -> None:
        super().__init__(config, mta)
        self._lines = {endpoint.url: self._configured(endpoint) for endpoint in config.endpoint}
        self._holding = Holding(self, config, mta)
        self._unnumbered: list[Told] = []
        self._gathering: asyncio.TimerHandle | None = None
        self._numbering: asyncio.Task[None] | None = None
        self._sequences: dict[str, Counter] = {}
        self._found: dict[tuple[EventType, str | None, str | None], list[Line]] = {}
        self._lacks_numbers = False

    def _configured(self, endpoint: EndpointSettings) -> Line:
        return Line(self, endpoint, self.config, self.mta, failures("", of_the_configuration(endpoint.url)))

    def answers(self) -> Mapping[type[Question[Any]], Callable[[Any], Awaitable[Any]]]:
        return Desk(self.config, self.mta, lambda: self._holding).answers()

    async def start(self) -> None:
        for endpoint in self.config.endpoint:
            for name in endpoint.accounts:
                if name not in self.mta.accounts:
                    raise ValueError(f'conf/webhooks.toml: there is no account "{name}"')

    def adopt(self, old: "Webhooks") -> None:
        """Take over the queue of every URL that stays; those that went are the old instance's to finish."""
        for endpoint in self.config.endpoint:
            line = old._lines.get(endpoint.url)
            if line is None or line.owner is not old:
                line = self._lines[endpoint.url]
            self._lines[endpoint.url] = line
            line.take_over(self, endpoint, self.config, self.mta)
        self._found.clear()
        if old._holding.owner is old and self.config.max_per_account:
            self._holding = old._holding
            self._holding.take_over(self, self.config, self.mta)

    async def stop(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._begin_numbering()
        if self._numbering is not None:
            await asyncio.wait([self._numbering], timeout=self.config.drain)
        mine = [line for _, _, line in self._all_lines() if line.owner is self]
        await asyncio.gather(*(line.finish(self.config.drain) for line in mine))

    @hookimpl
    def on_data(self, envelope: Envelope, message: Message) -> None:
        """``request``, for each recipient: an event, so that nothing is told of a rehearsal."""
        if _is_report(envelope) or self._wanting(EventType.REQUEST, envelope.account, envelope.stream) is None:
            return
        now = self.mta.clock.now()
        data: dict[str, Fact] = {
            "from_email": author(message, envelope.reverse_path),
            "stream": envelope.stream,
            "vars": custom_data(message),
        }
        shared = Private(data)
        for recipient in envelope.recipients:
            to, message_id = recipient.address, envelope.message_id(recipient)
            self.mta.emit(Event(new_id(), EventType.REQUEST, now, envelope.account, message_id, to, shared))

    @hookimpl
    def on_result(self, delivery: Delivery, result: Result) -> None:
        """Delivered, deferred, a bounce or a block."""
        envelope, kind = delivery.envelope, event_type(result)
        lines = None if _is_report(envelope) else self._wanting(kind, envelope.account, envelope.stream)
        if lines is None:
            return
        notice = Notice(
            id=new_id(),
            type=kind,
            at=self.mta.clock.now(),
            account=envelope.account,
            stream=envelope.stream,
            message_id=envelope.message_id(delivery.recipient),
            recipient=delivery.recipient.address,
            vars=custom_data(delivery.message),
            reply=result.reply,
            by=result.by,
            remote=result.remote,
        )
        self._tell(lines, notice)

    @hookimpl
    def on_event(self, event: Event) -> None:
        """Whatever else becomes known, with what its data says. What on_result has told is not told twice."""
        stream, variables = _text(event, "stream"), _text(event, "vars")
        lines = None if "unreported" in event.data else self._wanting(event.type, event.account, stream)
        if lines is None:
            return
        notice = Notice(
            id=event.id,
            type=event.type,
            at=event.at,
            account=event.account,
            stream=stream,
            message_id=event.message_id,
            recipient=event.recipient,
            vars=variables,
            data=event.data,
        )
        self._tell(lines, notice)

    def _tell(self, lines: Sequence[Line], notice: Notice) -> None:
        """Soon, for whoever tells of an event is not to wait for its number."""
        self._unnumbered.append((lines, notice))
        if self._numbering is None and self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHERED, self._begin_numbering)

    def _begin_numbering(self) -> None:
        self._gathering = None
        self._numbering = asyncio.get_running_loop().create_task(self._number())

    async def _number(self) -> None:
        """Queue events under the next numbers of their account, which no other process gives out.

        Those of a moment, and those that come while numbers are on their way, are asked for together: one question
        costs two processes as much as three events cost here.
        """
        try:
            while self._unnumbered:
                told, self._unnumbered = self._unnumbered, []
                accounts: dict[str, list[Told]] = {}
                for each in told:
                    accounts.setdefault(each[1].account or "", []).append(each)
                if len(accounts) == 1:
                    await self._numbered(*accounts.popitem())
                else:
                    await asyncio.gather(*(self._numbered(*each) for each in accounts.items()))
        finally:
            self._numbering = None

    async def _numbered(self, account: str, told: Sequence[Told]) -> None:
        if account:
            told = await self._told_to_holders_too(account, told)
        if not told:
            return
        try:
            number = await self.mta.state.sequences.next(self._sequence(account), len(told))
            for _, notice in told:
                notice.sequence, number = number, number + 1
        except Exception as error:
            if not self._lacks_numbers:
                log.warning("events are told without a number fault=%s", type(error).__name__)
            self._lacks_numbers = True
        for lines, notice in told:
            for line in lines:
                line.put(notice)

    async def _told_to_holders_too(self, account: str, told: Sequence[Told]) -> Sequence[Told]:
        """The events that somebody wants, with the account holders' own lines added."""
        await self._holding.read(account)
        everybody = (([*lines, *self._holding.wanting(notice.type, account)], notice) for lines, notice in told)
        return [(lines, notice) for lines, notice in everybody if lines]

    def _sequence(self, account: str) -> Counter:
        found = self._sequences.get(account)
        if found is None:
            found = self._sequences[account] = Counter("webhooks.sequence", account=account)
        return found

    @command(gather=merged)
    async def show(self) -> Sequence[Mapping[str, Any]]:
        """Each URL: its state, what is queued for it and what came of the rest.

        Those that account holders made are shown once there were events for them.
        """
        return [
            {
                "url": line.endpoint.url,
                "account": account,
                "id": number,
                "state": line.state,
                "queued": line.queue.waiting + line.sending,
                "to retry": line.queue.parked,
                "sent": line.sent,
                "failed": line.failed,
                "dropped": line.dropped,
                "expired": line.queue.expired,
                "last": line.last,
            }
            for account, number, line in self._all_lines()
        ]

    @command
    async def test(self, url: str, *, event: str = "delivered") -> Sequence[Mapping[str, Any]]:
        """Post a signed event about no real mail to an endpoint at once, past its queue.

        ``event``: The type of the event, or "all" for one of each.
        """
        line = self._lines_to(url)[0]
        kinds = [kind for kind in EventType if event in (kind.value, "all")]
        if not kinds:
            raise CommandError(f'there is no event "{event}"; docs/events.md lists them')
        account = next(iter(line.endpoint.accounts), None)
        rows = []
        for kind in kinds:
            began = self.mta.clock.monotonic()
            try:
                answer = await line.send(sample(kind, account, self.mta.clock.now()))
                status, is_good = str(answer.status), line.is_success(answer)
            except HttpError as error:
                status, is_good = str(error), False
            took = round(self.mta.clock.monotonic() - began, 3)
            rows.append({"event": kind.value, "status": status, "success": is_good, "seconds": took})
        return rows

    @command(gather=tried_again)
    async def retry(self, url: str) -> int:
        """Try again now whatever waits for an endpoint, and switch it on again if it was off."""
        return sum(line.hasten() for line in self._lines_to(url))

    def _for(self, kind: EventType, account: str | None, stream: str | None) -> list[Line]:
        """Who is told; worked out once, for it follows from the configuration alone."""
        key = kind, account, stream
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            found = [self._lines[each.url] for each in self.config.endpoint if each.takes(kind, account, stream)]
            self._found[key] = found
        return found

    def _wanting(self, kind: EventType, account: str | None, stream: str | None) -> Sequence[Line] | None:
        """Whom the configuration wants told; None if nobody else may want it either."""
        lines = self._for(kind, account, stream)
        if lines or (account is not None and self._holding.may_want(kind, account)):
            return lines
        return None

    def _all_lines(self) -> Iterator[tuple[str, int, Line]]:
        """Account, number and line; those of the configuration first, which belong to no account."""
        for url, line in self._lines.items():
            yield "-", of_the_configuration(url), line
        yield from self._holding.lines()

    def _lines_to(self, url: str) -> Sequence[Line]:
        """Those that lead there: several accounts may have made the same."""
        found = [line for _, _, line in self._all_lines() if line.endpoint.url == url]
        if not found:
            raise CommandError("there is no endpoint with that URL; `mtaframe webhooks show` lists them")
        return found


def _text(event: Event, key: str) -> str | None:
    value = event.data.get(key)
    return value if isinstance(value, str) else None


def _is_report(envelope: Envelope) -> bool:
    """A DSN of our own: it tells of mail that has been told of."""
    return envelope.session.protocol == "DSN"
