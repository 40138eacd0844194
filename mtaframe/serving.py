"""What a plugin serves over HTTP: routes, the request that comes in, the answer that goes out.

The law: a handler sees whole requests of bounded size, by the time they must be answered, and no library's objects.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtaframe.redaction import Private, Redacted

NOTHING: Private[str] = Private()


@dataclass(frozen=True, slots=True, repr=False)
class HttpRequest(Redacted):
    """One request. ``path`` has neither double nor trailing slashes; ``parameters`` are those of the route's pattern.

    ``query`` has each name with its first value, ``headers`` each by its name in lower case. ``client`` is an IP
    address, or empty on a Unix socket. ``deadline`` is in the clock's monotonic seconds: by then the client wants
    its answer.
    """

    _shown = ("id", "listener")

    id: str
    method: str
    path: str
    body: bytes = b""
    parameters: Private[str] = NOTHING
    query: Private[str] = NOTHING
    headers: Private[str] = NOTHING
    client: str = ""
    listener: str = ""
    tls: str | None = None
    deadline: float = 0.0


@dataclass(frozen=True, slots=True, repr=False)
class HttpAnswer(Redacted):
    """``body`` is octets, or what yields them one after the other while the client reads."""

    _shown = ("status",)

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    headers: Private[str] = NOTHING
    content_type: str = "application/json"

    @classmethod
    def json(cls, data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> "HttpAnswer":
        """``data`` as JSON, without anything beyond ASCII."""
        return cls(status, json.dumps(data, separators=(",", ":")).encode(), Private(headers or {}))


def no_refusal(request: HttpRequest) -> HttpAnswer | None:
    """Everybody may ask."""
    return None


Trouble = Callable[[int, str, Mapping[str, str]], HttpAnswer]
"""Writes what the server itself has to say, by status, text and headers."""


def plain_trouble(status: int, text: str, headers: Mapping[str, str]) -> HttpAnswer:
    """In the form of MimePost's errors."""
    return HttpAnswer.json({"success": 0, "error_code": status, "message": text}, status, headers)


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """Who answers ``method`` at ``path``, whose segments may be names in braces: ``/v1/domains/{id}``.

    ``refusal`` sees the request before its body is read: if it has an answer, that is sent, and no room is made for
    the body of a stranger. ``trouble`` writes that the request is too large (413) or late (408), can't be read
    (400), finds no room now (503) or an error of ours (500).
    """

    method: str
    path: str
    handle: Callable[[HttpRequest], Awaitable[HttpAnswer]]
    refusal: Callable[[HttpRequest], HttpAnswer | None] = no_refusal
    trouble: Trouble = plain_trouble


class Routes:
    """All routes of a server. ValueError if two of them are for the same requests."""

    def __init__(self, routes: Sequence[HttpRoute] = ()) -> None:
        self._fixed: dict[str, dict[str, HttpRoute]] = {}
        self._open: dict[tuple[str | None, ...], dict[str, HttpRoute]] = {}
        for route in routes:
            segments = _pattern(route.path)
            if None in segments:
                methods = self._open.setdefault(segments, {})
            else:
                methods = self._fixed.setdefault(plain_path(route.path), {})
            if route.method in methods:
                raise ValueError(f"{route.method} {route.path} is served already")
            methods[route.method] = route

    def __bool__(self) -> bool:
        return bool(self._fixed or self._open)

    def find(self, path: str) -> tuple[Mapping[str, HttpRoute], Sequence[str]]:
        """The routes at a plain path, by method, and what its open segments hold. None has no methods."""
        if (fixed := self._fixed.get(path)) is not None:
            return fixed, ()
        segments = path.split("/")[1:]
        for pattern, methods in self._open.items():
            if len(pattern) == len(segments) and all(map(_fits, pattern, segments)):
                return methods, [held for open_, held in zip(pattern, segments, strict=True) if open_ is None]
        return {}, ()


def plain_path(path: str) -> str:
    """Without double and trailing slashes: ``/v1//emails/`` is ``/v1/emails``."""
    return "/" + "/".join(filter(None, path.split("/")))


def names(route: HttpRoute) -> Sequence[str]:
    """The names in a route's braces, in their order."""
    return [segment[1:-1] for segment in route.path.split("/") if segment.startswith("{")]


def _pattern(path: str) -> tuple[str | None, ...]:
    return tuple(None if segment.startswith("{") else segment for segment in plain_path(path).split("/")[1:])


def _fits(wanted: str | None, segment: str) -> bool:
    return wanted is None or wanted == segment
