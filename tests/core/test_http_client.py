"""The HTTP client and its guard, against a real server."""

import asyncio

import pytest
from aiohttp import web

from mtaframe.http_client import LIMIT, HttpClient, is_public
from mtaframe.lifecycle import HttpError
from mtaframe.testing import ScriptedDns, VirtualClock


class Server:
    """Answers ``/status/N``, ``/big``, ``/slow``, ``/away`` (a redirect) and echoes everything else."""

    def __init__(self):
        self.requests = []

    async def answer(self, request):
        self.requests.append((request.method, request.path, dict(request.headers), await request.read()))
        kind, _, number = request.path[1:].partition("/")
        if kind == "status":
            return web.Response(status=int(number))
        if kind == "big":
            return web.Response(body=bytes(LIMIT + 1))
        if kind == "slow":
            await asyncio.sleep(30)
        if kind == "away":
            raise web.HTTPFound("http://127.0.0.1:1/")
        return web.Response(text="hello", headers={"X-Answer": "yes"})


@pytest.fixture
async def server():
    scripted = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", scripted.answer)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    scripted.port = runner.addresses[0][1]
    scripted.url = f"http://127.0.0.1:{scripted.port}"
    yield scripted
    await runner.cleanup()


@pytest.fixture
async def dns():
    zone = {
        "inside.example": {"A": ["127.0.0.1"]},
        "mapped.example": {"AAAA": ["::ffff:127.0.0.1"]},
        "private.example": {"A": ["10.0.0.1"], "AAAA": ["fd00::1"]},
    }
    async with ScriptedDns(zone) as scripted:
        yield scripted


@pytest.fixture
async def client(dns):
    resolver = dns.resolver(VirtualClock())
    http = HttpClient(resolver)
    yield http
    await http.close()


async def test_a_request_and_its_answer(client, server):
    answer = await client.request("POST", f"{server.url}/a", headers={"X-One": "1"}, content=b"body", trusted=True)
    assert (answer.status, answer.headers["x-answer"], answer.body) == (200, "yes", b"hello")
    [(method, path, headers, body)] = server.requests
    assert (method, path, headers["X-One"], body) == ("POST", "/a", "1", b"body")


async def test_a_trusted_url_may_have_a_name(client, server):
    answer = await client.request("GET", f"http://inside.example:{server.port}/", trusted=True)
    assert answer.status == 200


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "10.1.2.3",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "100.64.0.1",
        "224.0.0.1",
        "inside.example",
        "mapped.example",
        "private.example",
        "nowhere.example",
        "localhost",
        "2130706433",
        "0x7f.1",
        "127.1",
        "127.0.0.1.",
        "\uff11\uff12\uff17.0.0.1",
        "127\u30020.0.1",
    ],
)
async def test_a_url_of_somebody_else_never_reaches_this_machine_or_its_network(client, server, host):
    with pytest.raises(HttpError) as caught:
        await client.request("POST", f"http://{host}:{server.port}/", timeout=2)
    assert host not in str(caught.value)
    assert not server.requests


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://example.com/", "example.com", "", "http://", "gopher://x"]
)
async def test_only_http_is_asked(client, url):
    with pytest.raises(HttpError):
        await client.request("GET", url)


async def test_a_redirect_is_an_answer_and_is_not_followed(client, server):
    assert (await client.request("GET", f"{server.url}/away", trusted=True)).status == 302


async def test_a_long_answer_is_an_error(client, server):
    with pytest.raises(HttpError, match="too long"):
        await client.request("GET", f"{server.url}/big", trusted=True)


async def test_a_slow_answer_is_an_error(client, server):
    with pytest.raises(HttpError, match="in time"):
        await client.request("GET", f"{server.url}/slow", timeout=0.1, trusted=True)


async def test_nobody_there_is_an_error(client):
    with pytest.raises(HttpError, match="no answer"):
        await client.request("GET", "http://127.0.0.1:1/", trusted=True)


async def test_connections_are_reused(client, server):
    for _ in range(3):
        await client.request("GET", f"{server.url}/status/204", trusted=True)
    assert len(server.requests) == 3


@pytest.mark.parametrize("address", ["192.0.2.1", "203.0.113.5", "198.18.0.1", "::", "ff02::1", "2001:db8::1"])
def test_addresses_that_are_nobodys(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_addresses_of_the_internet(address):
    assert is_public(address)
