"""The HTTP client and its guard, against a real server."""

import asyncio

import pytest
from aiohttp import web

from mtaframe.alarms import Alarms
from mtaframe.clock import SystemClock
from mtaframe.http_client import LIMIT, HttpClient, is_public
from mtaframe.http_site import CONNECTIONS, Site
from mtaframe.lifecycle import HttpError
from mtaframe.testing import ScriptedDns, VirtualClock
from mtaframe.testing.certificates import authority, server_context


class Server:
    """Answers ``/status/N``, ``/big``, ``/slow``, ``/away`` (a redirect) and echoes everything else."""

    def __init__(self):
        self.requests = []
        self.connections = set()

    async def answer(self, request):
        self.requests.append((request.method, request.path, dict(request.headers), await request.read()))
        self.connections.add(request.transport)
        kind, _, number = request.path[1:].partition("/")
        if kind == "status":
            return web.Response(status=int(number))
        if kind == "big":
            return web.Response(body=bytes(LIMIT + 1))
        if kind == "slow":
            await asyncio.sleep(30)
        if kind == "away":
            raise web.HTTPFound("http://127.0.0.1:1/")
        if kind == "chunks":
            response = web.StreamResponse()
            response.enable_chunked_encoding()
            await response.prepare(request)
            for _ in range(3):
                await response.write(b"hello ")
            return response
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
        "[64:ff9b:1::7f00:1]",
        "[::ffff:0:7f00:1]",
        "[::127.0.0.1]",
        "[fec0::1]",
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
    assert len(server.connections) == 1


async def test_no_more_than_so_many_are_open_at_once_and_each_request_has_its_turn(client, server):
    asked = [client.request("GET", f"{server.url}/chunks", trusted=True) for _ in range(3 * CONNECTIONS)]
    answers = await asyncio.gather(*asked)
    assert {answer.body for answer in answers} == {b"hello hello hello "}
    assert len(server.connections) <= CONNECTIONS


async def all_taken(client, server):
    """Requests that take every connection, and have no answer."""
    url = f"{server.url}/slow"
    slow = [asyncio.ensure_future(client.request("GET", url, trusted=True)) for _ in range(CONNECTIONS)]
    while len(server.requests) < CONNECTIONS:
        await asyncio.sleep(0.01)
    return slow


async def test_who_is_cancelled_while_it_waits_takes_no_place(client, server):
    slow = await all_taken(client, server)
    waiting = [asyncio.ensure_future(client.request("GET", f"{server.url}/a", trusted=True)) for _ in range(5)]
    await asyncio.sleep(0.01)
    for task in (*waiting[:3], *slow):
        task.cancel()
    assert [(await task).status for task in waiting[3:]] == [200, 200]
    for _ in range(2 * CONNECTIONS):
        assert (await client.request("GET", f"{server.url}/a", trusted=True)).status == 200


async def test_a_request_that_waits_for_its_turn_waits_no_longer_than_its_time(client, server):
    slow = await all_taken(client, server)
    with pytest.raises(HttpError, match="in time"):
        await client.request("GET", f"{server.url}/a", timeout=0.05, trusted=True)
    for task in slow:
        task.cancel()


async def test_a_connection_that_the_server_has_closed_is_not_used(client, server):
    await client.request("GET", f"{server.url}/a", trusted=True)
    for transport in server.connections:
        transport.close()
    await asyncio.sleep(0.05)
    assert (await client.request("GET", f"{server.url}/a", trusted=True)).status == 200


async def test_a_header_field_is_one_line(client, server):
    with pytest.raises(HttpError):
        await client.request("GET", server.url, headers={"X-A": "1\r\nX-B: 2"}, trusted=True)
    assert not server.requests


async def test_a_url_may_hold_a_query_credentials_and_any_letters(client, server):
    url = server.url.replace("//", "//us%40er:secret@") + "/a b/\u00e9%2F?q=\u00e9&x=%20#part"
    await client.request("GET", url, trusted=True)
    [(_, path, headers, _)] = server.requests
    assert path == "/a b/\u00e9/"
    assert headers["Authorization"] == "Basic dXNAZXI6c2VjcmV0"


async def test_an_address_that_does_not_answer_holds_up_no_other(server):
    class Two:
        async def addresses(self, host):
            return ["100::1", "127.0.0.1"]  # the discard prefix of RFC 6666, and then the server

    http = HttpClient(Two())
    answer = await http.request("GET", f"http://two.example:{server.port}/", timeout=5, trusted=True)
    assert answer.status == 200
    await http.close()


@pytest.fixture
async def secure(tmp_path, monkeypatch):
    """A server with a certificate for the name, by an authority that is trusted."""
    ours = authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(ours.ca_file))
    scripted = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", scripted.answer)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    tls = server_context(*ours.issue("inside.example"))
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    scripted.port = runner.addresses[0][1]
    yield scripted
    await runner.cleanup()


async def test_https_is_spoken_and_a_connection_is_kept(client, secure):
    for _ in range(2):
        answer = await client.request("POST", f"https://inside.example:{secure.port}/a", content=b"x", trusted=True)
        assert answer.body == b"hello"
    assert len(secure.connections) == 1


async def test_a_certificate_must_be_for_the_name(client, secure):
    with pytest.raises(HttpError, match="no answer"):
        await client.request("GET", f"https://127.0.0.1:{secure.port}/", trusted=True)
    assert not secure.requests


@pytest.mark.parametrize("address", ["192.0.2.1", "203.0.113.5", "198.18.0.1", "::", "ff02::1", "2001:db8::1"])
def test_addresses_that_are_nobodys(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_addresses_of_the_internet(address):
    assert is_public(address)


async def test_whoever_waits_is_not_given_a_connection_that_has_ended_on_the_way(server):
    """A request went out on a connection that the server had closed a moment before, and had no answer."""

    async def here():
        return ["127.0.0.1"]

    site = Site(here, "127.0.0.1", server.port, None, Alarms(SystemClock()))
    connections = [await site.connected() for _ in range(CONNECTIONS)]
    waiting = asyncio.create_task(site.connected())
    await asyncio.sleep(0)
    site.leave(connections[0])
    connections[0].eof_received()  # what uvloop says before it goes on with who was waiting
    found = await waiting
    assert found.is_open
    for connection in (*connections[1:], found):
        connection.close()
        site.leave(connection)
    assert not site.is_in_use
