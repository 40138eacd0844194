"""One request and its answer: the route found, the body read within its bounds, the plugin asked, the answer sent.

The law: nothing of a request stands in a log but the route's own pattern, and no body touches the disk. What goes
wrong in a plugin is a 500 that says nothing of it.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from urllib.parse import unquote

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_exceptions import HTTPException

from mtaframe.entrance import client_of
from mtaframe.generation import Lease
from mtaframe.lifecycle import Clock
from mtaframe.reception import Reception
from mtaframe.redaction import Private
from mtaframe.serving import HttpAnswer, HttpRequest, HttpRoute, Trouble, names, plain_path, plain_trouble
from mtaframe.settings import ListenerSettings

log = logging.getLogger("mtaframe.http_server")

_STEP = 65_536
"""Octets of a body for which room is made at once."""
_RETRY = {"Retry-After": "5"}
_FAILED = (500, "internal error; try again", _RETRY)


class RefusedError(Exception):
    """The request can't be taken. Its connection is closed where octets of it are unread."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers or {}


class Exchange:
    """``is_draining``: whoever has its answer is to come again elsewhere."""

    def __init__(self, reception: Reception, clock: Clock) -> None:
        self.is_draining = False
        self._reception = reception
        self._clock = clock

    async def refused(self, request: web.BaseRequest, settings: ListenerSettings) -> web.StreamResponse:
        """Somebody who has too many connections already."""
        answer = plain_trouble(503, "too many connections; come back later", _RETRY)
        return await self._sent(request, settings, answer, is_last=True)

    async def answered(
        self, request: web.BaseRequest, settings: ListenerSettings, proxied: str | None
    ) -> tuple[web.StreamResponse, bool]:
        """The answer, sent; and whether the visit was of use."""
        began = self._clock.monotonic()
        lease = self._reception.lease()
        pattern, is_last = "-", False
        trouble: Trouble = plain_trouble
        try:
            route, told = _found(lease, request)
            pattern, trouble = route.path, route.trouble
            head = _head(request, route, told, settings, proxied, began)
            if (refusal := route.refusal(head)) is not None:
                answer, is_last = refusal, not request.content.at_eof()
            else:
                body = await self._body(request, settings, lease)
                answer = await _handled(route, replace(head, body=body) if body else head)
        except RefusedError as error:
            answer, is_last = trouble(error.status, error.text, error.headers), not request.content.at_eof()
        except TimeoutError:
            answer, is_last = trouble(408, "the request did not come in time", {}), True
        except (web.RequestPayloadError, HTTPException, HttpProcessingError) as error:
            error.__traceback__ = None  # the request keeps the error, which would keep our lease
            answer, is_last = trouble(400, "the request's body can't be read", {}), True
        except (asyncio.CancelledError, ConnectionError) as error:
            error.__traceback__ = None  # it may be part of a cycle with what a plugin knew, our lease included
            log.info("http gone listener=%s route=%s", settings.name, pattern)
            raise
        except Exception as error:
            _tell(error, settings.name, pattern)
            answer = trouble(*_FAILED)
        response = await self._sent(request, settings, answer, is_last=is_last)
        took = self._clock.monotonic() - began
        log.info("http listener=%s method=%s route=%s status=%d took=%.3fs",
                 settings.name, _word(request.method), pattern, answer.status, took)  # fmt: skip
        return response, answer.status < 400

    async def _body(self, request: web.BaseRequest, settings: ListenerSettings, lease: Lease) -> bytes:
        """All of it, within the size and the time that the listener allows, while there is room in memory."""
        if (request.content_length or 0) > settings.max_size:
            raise _too_large(settings)
        if not request.body_exists:
            return b""
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        memory = self._reception.memory
        memory.limit_to(lease.generation.settings.max_in_flight)
        place = lease.place = memory.place(None)
        body = bytearray()
        async with asyncio.timeout(settings.idle_timeout):
            async for chunk in request.content.iter_chunked(_STEP):
                body += chunk
                if len(body) > settings.max_size:
                    raise _too_large(settings)
                if not place.grow_to(len(body)):
                    raise RefusedError(503, "no room in memory now; try again", _RETRY)
        return bytes(body)

    async def _sent(
        self, request: web.BaseRequest, settings: ListenerSettings, answer: HttpAnswer, *, is_last: bool
    ) -> web.StreamResponse:
        """ConnectionError if the client does not take it: who reads nothing is not waited for without end."""
        headers = {**answer.headers, "Content-Type": answer.content_type, "Server": "mtaframe"}
        if isinstance(answer.body, bytes):
            response: web.StreamResponse = web.Response(status=answer.status, body=answer.body, headers=headers)
        else:
            response = web.StreamResponse(status=answer.status, headers=headers)
        if is_last or self.is_draining:
            response.force_close()
        try:
            async with asyncio.timeout(settings.idle_timeout):
                await response.prepare(request)
            if not isinstance(answer.body, bytes) and request.method != "HEAD":
                await _streamed(response, answer.body, settings.idle_timeout)
            async with asyncio.timeout(settings.idle_timeout):
                await response.write_eof()
        except TimeoutError:
            log.info("http answer not read listener=%s", settings.name)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError from None
        return response


async def _handled(route: HttpRoute, request: HttpRequest) -> HttpAnswer:
    """The plugin's answer. What fails there is its fault, even if it is called like what a client can do to us."""
    try:
        return await route.handle(request)
    except Exception as error:
        _tell(error, request.listener, route.path)
        return route.trouble(*_FAILED)


def _tell(error: Exception, listener: str, pattern: str) -> None:
    log.error("http failed listener=%s route=%s fault=%s", listener, pattern, type(error).__name__,
              exc_info=error if log.isEnabledFor(logging.DEBUG) else None)  # fmt: skip


def _too_large(settings: ListenerSettings) -> RefusedError:
    """Made where it is raised: who raises an error that it knows by name keeps itself alive, and its lease."""
    return RefusedError(413, f"a request may hold {settings.max_size:,} octets")


async def _streamed(response: web.StreamResponse, pieces: AsyncIterator[bytes], seconds: float) -> None:
    """``seconds``: how long the client may take for one piece."""
    async for piece in pieces:
        async with asyncio.timeout(seconds):
            await response.write(piece)


def _found(lease: Lease, request: web.BaseRequest) -> tuple[HttpRoute, dict[str, str]]:
    """The route and what its open segments hold. RefusedError if there is none."""
    path = plain_path(request.rel_url.raw_path)
    methods, held = lease.generation.plugins.routes.find(path)
    if not methods:
        raise RefusedError(404, "there is nothing at this path")
    route = methods.get(request.method) or (methods.get("GET") if request.method == "HEAD" else None)
    if route is None:
        raise RefusedError(405, "this path does not know the method", {"Allow": ", ".join(sorted(methods))})
    return route, dict(zip(names(route), (unquote(segment) for segment in held), strict=True))


def _head(
    request: web.BaseRequest,
    route: HttpRoute,
    told: Mapping[str, str],
    settings: ListenerSettings,
    proxied: str | None,
    began: float,
) -> HttpRequest:
    """The request, without its body."""
    query: dict[str, str] = {}
    for name, value in request.query.items():
        query.setdefault(name, value)
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers.setdefault(name.lower(), value)
    transport = request.transport
    encrypted = transport.get_extra_info("ssl_object") if transport is not None else None
    return HttpRequest(
        id=os.urandom(8).hex(),
        method=route.method,
        path=plain_path(request.rel_url.raw_path),
        parameters=Private(told),
        query=Private(query),
        headers=Private(headers),
        client=proxied or (client_of(transport) if transport is not None else ""),
        listener=settings.name,
        tls=encrypted.version() if encrypted else None,
        deadline=began + settings.seconds_of_patience,
    )


def _word(text: str) -> str:
    """A method as a log line may show it."""
    return text if text.isalpha() and len(text) < 16 else "?"
