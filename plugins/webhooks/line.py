"""The way to one URL: what waits for it, who sends it, and when it is left alone.

The law: one URL never holds up another, nor mail; what waits is bounded in number and in age; a request is made again
with the same ``webhook-id`` until it succeeds, so the receiver may get an event twice, and never half.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from mtaframe import Counter, HttpError, HttpResponse, Mta
from mtaframe_plugins.webhooks.notice import Notice
from mtaframe_plugins.webhooks.queue import Item, Queue
from mtaframe_plugins.webhooks.settings import EndpointSettings, WebhooksSettings
from mtaframe_plugins.webhooks.signing import signature, signing_key

log = logging.getLogger("mtaframe.webhooks")

FAILURES_IN_A_ROW = 5
"""After so many the URL rests, and then gets one event at a time until one succeeds."""
SHORTEST_REST, LONGEST_REST = 1.0, 60.0
LONGEST_RETRY_AFTER = 3600.0
JITTER = 0.2
LOG_INTERVAL = 60.0
GONE = 410
SLOW_DOWN = (429, 503)


class Line:
    """Made by one instance of the plugin, and taken over by the next one: ``owner`` is whose it is.

    It has tasks while it sends and a timer while something waits, else neither. ``failures`` counts events that were
    not taken at once, for all processes. ``is_known`` is asked before each request, and may end the line; False: wait.
    ``known_as`` stands in the log, else the URL's host.
    """

    def __init__(
        self,
        owner: object,
        endpoint: EndpointSettings,
        rules: WebhooksSettings,
        mta: Mta,
        failures: Counter | None = None,
        is_known: Callable[[], Awaitable[bool]] | None = None,
        known_as: str = "",
    ) -> None:
        self.queue = Queue()
        self.sent = self.failed = self.dropped = self.lost = 0
        self.last = "-"
        """What the last request came to: a status, or why there was none."""
        self.is_off = False
        self._senders: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._count = 0
        self._failures = 0
        self._rest_until = 0.0
        self._is_asked_to_wait = False
        self._finishing = self._ended = False
        self._failures_of_all, self._is_known, self._known_as = failures, is_known, known_as
        self._uncounted = 0
        self._told = 0
        self._tell_at = 0.0
        self._set(owner, endpoint, rules, mta)

    def _set(self, owner: object, endpoint: EndpointSettings, rules: WebhooksSettings, mta: Mta) -> None:
        self.owner, self.endpoint, self._rules, self._mta = owner, endpoint, rules, mta
        self._key = signing_key(endpoint.secret.get_secret_value()) if endpoint.secret else None
        self._title = self._known_as or f"host={urlsplit(endpoint.url).hostname}"

    def take_over(self, owner: object, endpoint: EndpointSettings, rules: WebhooksSettings, mta: Mta) -> None:
        """Go on for another instance, by its settings; where they are new, the past is forgiven."""
        is_same = endpoint == self.endpoint
        self._set(owner, endpoint, rules, mta)
        if not is_same:
            self._forgive()
        self._trim()
        self._go_on()

    @property
    def sending(self) -> int:
        """Requests under way."""
        return len(self._senders)

    @property
    def state(self) -> str:
        if self.is_off:
            return "off"
        if self._mta.clock.monotonic() < self._rest_until:
            return "asked to wait" if self._is_asked_to_wait else "resting"
        return "failing" if self._failures else "on"

    def put(self, notice: Notice) -> None:
        """Queue one event. It costs next to nothing: who sends it makes the body."""
        if self.is_off or self._ended:
            self.dropped += 1
            return
        now = self._mta.clock.monotonic()
        self._count += 1
        self.queue.add(Item(notice, self._count, now + self._rules.max_age))
        self._trim()
        if now < self._rest_until:
            if self._timer is None:
                self._go_on()
        elif len(self._senders) < self._room:
            self._start()

    def hasten(self) -> int:
        """Try again now whatever waits for its next attempt, also where the URL was off; how many those are."""
        self._forgive()
        count = self.queue.hasten(self._mta.clock.monotonic())
        self._go_on()
        return count

    async def finish(self, seconds: float) -> None:
        """Try what is queued once more, for so long; then it is over, and what is left is lost.

        What has failed comes last: it may be what this URL never takes.
        """
        self._finishing = self.queue.is_new_first = True
        now = self._mta.clock.monotonic()
        if not (self._is_asked_to_wait and now < self._rest_until):
            self._forgive()
        self.queue.hasten(now)
        self._go_on()
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self._senders and (left := end - loop.time()) > 0:
            await asyncio.wait(set(self._senders), timeout=left)
        self._ended = True
        cut = set(self._senders)
        for task in cut:
            task.cancel()
        if cut:
            await asyncio.wait(cut)
        self._rest()
        self.lost += self.queue.clear()
        if self.lost:
            log.warning("events lost at the end %s count=%d", self._title, self.lost)

    def end(self) -> None:
        """Nobody wants anything more there: what waits is forgotten, what is under way is broken off."""
        self._ended = True
        for task in set(self._senders):
            task.cancel()
        self._rest()
        self.dropped += self.queue.clear()

    async def send(self, notice: Notice, timeout: float | None = None) -> HttpResponse:
        """One request, signed now. HttpError if there is no answer."""
        endpoint, now = self.endpoint, self._mta.clock.now()
        body = notice.body()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "mtaframe-webhooks",
            "webhook-id": notice.id,
            "webhook-timestamp": str(int(now.timestamp())),
        }
        if self._key is not None:
            headers["webhook-signature"] = signature(self._key, notice.id, headers["webhook-timestamp"], body)
        if endpoint.token is not None:
            headers["x-secret-token"] = endpoint.token.get_secret_value()
        return await self._mta.http.request(
            "POST",
            endpoint.url,
            headers=headers,
            content=body,
            timeout=timeout or endpoint.timeout,
            trusted=endpoint.private,
        )

    def is_success(self, answer: HttpResponse) -> bool:
        return answer.status == 200 if self.endpoint.strict_200 else 200 <= answer.status < 300

    # Who sends, and when.

    @property
    def _room(self) -> int:
        """Requests at once: a URL that fails gets one, as a probe."""
        return 1 if self._failures >= FAILURES_IN_A_ROW else self._rules.connections

    def _start(self) -> None:
        task = asyncio.get_running_loop().create_task(self._send_all())
        self._senders.add(task)
        task.add_done_callback(self._sender_ended)

    def _sender_ended(self, task: asyncio.Task[None]) -> None:
        self._senders.discard(task)
        self._go_on()

    def _go_on(self) -> None:
        """As many senders as there is work and room for; a timer for what is due later."""
        self._rest()
        if self._ended or self.is_off:
            return
        now = self._mta.clock.monotonic()
        self.queue.expire(now)
        wake_at: float | None = None
        if now < self._rest_until:
            wake_at = self._rest_until if len(self.queue) else None
        elif self._may_send(now):
            for _ in range(min(self.queue.ready(now), self._room - len(self._senders))):
                self._start()
            wake_at = self.queue.next_due(now)
        if wake_at is not None and not self._finishing:
            self._timer = asyncio.get_running_loop().call_later(wake_at - now, self._go_on)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _may_send(self, now: float) -> bool:
        given_up = self._finishing and self._failures >= FAILURES_IN_A_ROW
        return not (self.is_off or self._ended or given_up or now < self._rest_until)

    async def _send_all(self) -> None:
        while True:
            if self._is_known is not None and not await self._is_known():
                self._rest_until = max(self._rest_until, self._mta.clock.monotonic() + SHORTEST_REST)
            now = self._mta.clock.monotonic()
            if not self._may_send(now) or len(self._senders) > self._room or (item := self.queue.take(now)) is None:
                return
            asked, answer, fault = self.endpoint, None, ""
            try:
                answer = await self.send(item.notice)
            except asyncio.CancelledError:
                self.lost += 1
                raise
            except HttpError as error:
                fault = str(error)
            except Exception as error:
                log.error("webhook fault %s fault=%s", self._title, type(error).__name__)
                fault = type(error).__name__
            if (
                self.endpoint is not asked
                and self.endpoint != asked
                and not (answer is not None and self.is_success(answer))
            ):
                self.queue.park(item, now)  # what another URL answers, or says to another secret, is none of this one's
            elif answer is None:
                self._has_failed(item, fault)
            else:
                self._has_answered(item, answer)
            if self._uncounted:
                await self._count_failures()

    async def _count_failures(self) -> None:
        count, self._uncounted = self._uncounted, 0
        if self._failures_of_all is not None:
            with suppress(Exception):  # a figure, on which nothing hangs
                await self._mta.state.counters.add({self._failures_of_all: count})

    # What an answer means.

    def _has_answered(self, item: Item, answer: HttpResponse) -> None:
        if self.is_success(answer):
            self.last = str(answer.status)
            self.sent += 1
            if self._failures >= FAILURES_IN_A_ROW:
                log.info("webhook endpoint answers again %s", self._title)
            self._failures = 0
            return
        if answer.status == GONE:
            self._switch_off()
        wait = None
        if answer.status in SLOW_DOWN:
            wait = retry_after(answer.headers.get("retry-after", ""), self._mta.clock.now())
        self._has_failed(item, str(answer.status), wait)

    def _has_failed(self, item: Item, last: str, wait: float | None = None) -> None:
        """Park the event, and leave the URL alone if it asks for that, or failed too often in a row."""
        self.last = last
        self.failed += 1
        self._failures += 1
        if not item.has_failed:
            item.has_failed = True
            self._uncounted += 1
        now = self._mta.clock.monotonic()
        if wait is not None:
            self._rest_until, self._is_asked_to_wait = max(self._rest_until, now + wait), True
        elif self._failures >= FAILURES_IN_A_ROW and now >= self._rest_until:
            if self._failures == FAILURES_IN_A_ROW:
                log.warning("webhook endpoint fails %s last=%s", self._title, self.last)
            rest = min(LONGEST_REST, SHORTEST_REST * 2.0 ** min(self._failures - FAILURES_IN_A_ROW, 16))
            self._rest_until, self._is_asked_to_wait = now + _jittered(rest), False
        if self._finishing:
            self.lost += 1
            return
        if self.is_off:
            self.dropped += 1
            return
        retries = self._rules.retries
        due_at = now + _jittered(retries[item.attempts]) if item.attempts < len(retries) else item.expires_at
        item.attempts += 1
        self.queue.park(item, max(due_at, self._rest_until))
        self._trim()

    def _switch_off(self) -> None:
        """410: the receiver wants no more of it. What waits is dropped."""
        self.is_off = True
        self.dropped += self.queue.clear()
        log.warning("webhook endpoint is gone (410), off until its configuration changes %s", self._title)

    def _forgive(self) -> None:
        self.is_off = self._is_asked_to_wait = False
        self._failures, self._rest_until = 0, 0.0

    def _trim(self) -> None:
        """Keep the bound, and say so once a minute."""
        self.dropped += (dropped := self.queue.trim(self._rules.max_queue))
        if not dropped:
            return
        self._told += dropped
        now = self._mta.clock.monotonic()
        if now >= self._tell_at:
            log.warning("webhook queue is full, events dropped %s count=%d", self._title, self._told)
            self._told, self._tell_at = 0, now + LOG_INTERVAL


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After field (RFC 9110 §10.2.3), an hour at most; None if it says nothing."""
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), LONGEST_RETRY_AFTER)
    try:
        until = parsedate_to_datetime(value)
        return min(max((until - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)
