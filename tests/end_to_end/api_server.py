"""A server with two workers that takes mail by the HTTP API, signs it and sends it to a next hop of the test's."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from mtaframe.testing import ScriptedMx
from tests.end_to_end.chain import Mtaframe
from tests.end_to_end.postfix import free_port
from tests.plugins.api_house import ACCOUNTS, TOKEN
from tests.plugins.dkim_oracle import Dns, rsa_key

SETTINGS = """
hostname = "mta.example.com"
workers = 2
drain = "5s"
plugins = ["webhooks", "usage", "admission", "merge_tags", "http_api", "dkim"]
[state]
folder = "{state}"
[route]
next_hop = "127.0.0.1"
port = {mx}
tls = "off"
[[listener]]
name = "api"
kind = "http"
addresses = ["127.0.0.1:{port}"]
patience = "60s"
{more}
"""
KEY = '[[key]]\ndomain = "example.com"\nselector = "s1"\nfile = "s1.pem"\n'


@dataclass
class ApiServer:
    """``mtaframe`` may be killed and started again: ``url`` stays. ``dns`` has the keys of its signatures."""

    mtaframe: Mtaframe
    url: str
    dns: Dns

    async def call(
        self, method: str, path: str, data: Any = None, *, key: str | None = None, token: str = TOKEN
    ) -> tuple[int, Any]:
        """Status and JSON, over a connection of its own."""
        headers = {"X-Auth-Token": token, "X-Postmark-Server-Token": token}
        headers |= {"Idempotency-Key": key} if key else {}
        async with aiohttp.ClientSession() as client:
            async with client.request(method, self.url + path, json=data, headers=headers) as answer:
                return answer.status, await answer.json()


@asynccontextmanager
async def api_server(
    folder: Path, mx: ScriptedMx, *, more: str = "", files: Mapping[str, str] | None = None
) -> AsyncIterator[ApiServer]:
    """Until the end of the block; ``more`` goes to the listener, ``files`` are further ones of the configuration."""
    port, conf = free_port(), folder / "conf"
    mtaframe = Mtaframe(conf, SETTINGS.format(state=folder / "state", mx=mx.port, port=port, more=more))
    key = rsa_key(conf / "s1.pem")
    for name, text in {"accounts.toml": ACCOUNTS, "dkim.toml": KEY, **(files or {})}.items():
        (conf / name).write_text(text)
    async with mtaframe:
        yield ApiServer(mtaframe, f"http://127.0.0.1:{port}", {"s1._domainkey.example.com": key.record})
