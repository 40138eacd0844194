"""An HTTP server that answers as rspamd would, or as the test wants it to fail."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

HANG, DROP, CUT = "hang", "drop", "cut"
"""Instead of an answer: none, the end of the connection, half an answer."""

GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


@dataclass(frozen=True)
class Asked:
    path: str
    headers: CIMultiDict[str]
    body: bytes
    connection: object


def opinion(action: str = "no action", score: Any = 1.5, **more: Any) -> dict[str, Any]:
    """An answer of /checkv2, as rspamd 3.4 has it."""
    return {"is_skipped": False, "score": score, "required_score": 15.0, "action": action, "symbols": {}} | more


class ScriptedRspamd:
    """``async with ScriptedRspamd(opinion("reject")) as rspamd``; ``rspamd.asked`` has the requests.

    ``answers`` are given one after another, the last one again and again: an object (JSON), octets, a status, or
    HANG, DROP, CUT. What holds GTUBE is rejected whatever they say.
    """

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers or [opinion()])
        self.asked: list[Asked] = []

    async def __aenter__(self) -> "ScriptedRspamd":
        app = web.Application(client_max_size=50_000_000)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append(Asked(request.path, CIMultiDict(request.headers), body, request.transport))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if GTUBE in body:
            answer = opinion("reject", 15.0, is_skipped=True)
        if answer == HANG:
            await asyncio.sleep(60)
        if answer in (DROP, CUT):
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            if answer == CUT:
                await response.prepare(request)
                await response.write(b'{"action": "no action", "sco')
            assert request.transport is not None
            request.transport.abort()
            return response
        if isinstance(answer, int):
            return web.Response(status=answer, text=json.dumps({"error": "scripted"}))
        return web.Response(body=answer if isinstance(answer, bytes) else json.dumps(answer).encode())
