"""A real HTTP server that takes webhooks, checks each signature as a receiver would, and answers as a test tells it."""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

SECRET = "whsec_" + "bXRhZnJhbWUtbXRhZnJhbWUtbXRhZnJhbWUh"
TOKEN = "a-token-of-mine"


class Receiver:
    """``async with Receiver() as receiver:`` then ``receiver.url``.

    ``answers`` are used once, in order; then ``always``. An answer is a status, or a status with header fields.
    """

    def __init__(self, *answers: int | tuple[int, dict[str, str]], always: int = 200, delay: float = 0.0) -> None:
        self.answers = deque(answers)
        self.always: int | tuple[int, dict[str, str]] = always
        self.delay = delay
        self.events: list[dict[str, Any]] = []
        """Every body, also those that were not answered with success."""
        self.taken: list[dict[str, Any]] = []
        """The bodies that were."""
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.unproven = 0
        self.at_once = self.most_at_once = 0
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/hook"

    @property
    def ids(self) -> list[str]:
        return [each["id"] for each in self.taken]

    async def __aenter__(self) -> "Receiver":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Listen; again on the port of before."""
        app = web.Application()
        app.router.add_post("/hook", self._answer)
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            Webhook(SECRET).verify(body, dict(request.headers))
        except Exception:
            self.unproven += 1
        event = json.loads(body)
        self.bodies.append(body)
        self.events.append(event)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        answer = self.answers.popleft() if self.answers else self.always
        status, fields = answer if isinstance(answer, tuple) else (answer, {})
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.at_once -= 1
        if 200 <= status < 300:
            self.taken.append(event)
        return web.Response(status=status, headers=fields)


async def until(is_so: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for what is about to be so."""
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.005)
