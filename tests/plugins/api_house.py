"""A whole mtaframe with the HTTP API, an account with a token, and a next hop that tells what it got."""

import email as email_package
import email.policy
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from mtaframe.testing import House, ScriptedMx, running
from mtaframe.tokens import hash_secret
from mtaframe_plugins.http_api.templates import Template, Templates

SECRET = "A" * 43
TOKEN, OTHER = f"mta_abcdefghijkl_{SECRET}", f"mta_mnopqrstuvwx_{SECRET}"
BOB, CAROL, DAVE = "bob@example.net", "carol@example.net", "dave@example.org"

SETTINGS = """
hostname = "mta.example.com"
plugins = {plugins}
[route]
next_hop = "127.0.0.1"
port = {mx}
tls = "off"
[[listener]]
name = "api"
kind = "http"
addresses = ["127.0.0.1:0"]
{listener}
"""
ACCOUNTS = f"""
[[account]]
name = "shop"
domains = ["example.com"]
streams = ["news"]
[[account.token]]
name = "first"
id = "abcdefghijkl"
hash = "{hash_secret(SECRET)}"
[[account]]
name = "rival"
domains = ["rival.example"]
[[account.token]]
name = "first"
id = "mnopqrstuvwx"
hash = "{hash_secret(SECRET)}"
"""


class Api:
    """What a test does with the running API."""

    def __init__(self, house: House, mx: ScriptedMx, client: aiohttp.ClientSession) -> None:
        self.house = house
        self.mx = mx
        self.url = f"http://127.0.0.1:{house.port('api')}"
        self._client = client

    async def call(
        self,
        method: str,
        path: str,
        data: Any = None,
        *,
        token: str | None = TOKEN,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Status and JSON. ``data`` is sent as JSON, octets and text as they are."""
        named = {"X-Auth-Token": token} if token else {}
        octets = data if isinstance(data, (bytes, str)) or data is None else json.dumps(data)
        async with self._client.request(
            method, self.url + path, data=octets, headers={**named, **(headers or {})}, allow_redirects=False
        ) as answer:
            text = await answer.text()
            if answer.content_type == "application/x-ndjson":
                return answer.status, [json.loads(line) for line in text.splitlines()]
            return answer.status, json.loads(text) if text else None


@asynccontextmanager
async def api(
    folder: Path,
    plugins: Sequence[str] = ("merge_tags", "http_api"),
    *,
    listener: str = "",
    classes: Mapping[str, type[Any]] | None = None,
    **files: str,
) -> AsyncIterator[Api]:
    """``files`` are further ones of the configuration by name: ``http_api='raw_html = false'``."""
    async with ScriptedMx() as mx, aiohttp.ClientSession() as client:
        names = json.dumps([*plugins, *(classes or {})])
        written = {
            "mtaframe.toml": SETTINGS.format(plugins=names, mx=mx.port, listener=listener),
            "accounts.toml": ACCOUNTS,
            **{f"{name}.toml": text for name, text in files.items()},
        }
        async with running(folder, written, plugins=classes) as house:
            yield Api(house, mx, client)


def email(*to: str, **more: Any) -> dict[str, Any]:
    """A body for ``POST /v1/emails``."""
    recipients = [{"email": each} for each in to or (BOB,)]
    return {"html": "<p>Hello</p>", "subject": "Hi", "from_email": "shop@example.com", "to": recipients} | more


def parsed(raw: bytes) -> Any:
    """A message as Python's email package reads it."""
    return email_package.message_from_bytes(raw, policy=email_package.policy.default)


def by_recipient(running: Api) -> dict[str, Any]:
    """What each recipient got, of several the last."""
    return {recipient: parsed(one.raw) for one in running.mx.received for recipient in one.recipients}


async def kept_template(running: Api, uid: str, account: str = "shop", **more: Any) -> Any:
    """A template that the account has. ``more``: html, text, subject, dialect, status."""
    generation = running.house.mta.generation
    assert generation is not None
    plugin = next(one.instance for one in generation.plugins.loaded if one.name == "http_api")
    return await Templates(plugin.mta).add(account, Template(0, uid, uid.title(), **more), 100)
