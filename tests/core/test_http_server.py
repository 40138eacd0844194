"""The HTTP porch: what plugins serve, in a whole mtaframe, and what no client may do to it."""

import asyncio
import gc
import gzip
import json
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.web import RequestHandler

from mtaframe import HttpAnswer, HttpRequest, HttpRoute, Plugin
from mtaframe.plugins import PluginError, Plugins
from mtaframe.serving import Routes, plain_path
from mtaframe.settings import ListenerSettings, PluginSettings
from mtaframe.testing import House, running, self_signed

SETTINGS = """
plugins = ["echo"]
[[listener]]
name = "http"
kind = "http"
addresses = ["{address}"]
{more}
"""


FAULTS = {each.__name__: each for each in (RuntimeError, TimeoutError, ConnectionResetError)}


class Echo(Plugin):
    """Serves what a test asks for."""

    gone: asyncio.Event
    begun: asyncio.Event

    def http_routes(self) -> Sequence[HttpRoute]:
        return (
            HttpRoute("POST", "/v1/echo", self.echo),
            HttpRoute("GET", "/v1/echo/{name}", self.named),
            HttpRoute("GET", "/v1/stream", self.stream),
            HttpRoute("GET", "/v1/fault", self.fault),
            HttpRoute("GET", "/v1/slow", self.slow),
            HttpRoute("GET", "/v1/large", self.large),
            HttpRoute("POST", "/v1/known", self.echo, self.refusal),
        )

    def refusal(self, request: HttpRequest) -> HttpAnswer | None:
        assert request.body == b""
        return None if request.headers.get("x-key") == "known" else HttpAnswer.json({"who": "nobody"}, 401)

    async def echo(self, request: HttpRequest) -> HttpAnswer:
        return HttpAnswer.json({"size": len(request.body), "client": request.client, "tls": request.tls})

    async def named(self, request: HttpRequest) -> HttpAnswer:
        found = {"name": request.parameters["name"], "query": dict(request.query), "path": request.path}
        return HttpAnswer.json(found)

    async def stream(self, request: HttpRequest) -> HttpAnswer:
        async def pieces() -> AsyncIterator[bytes]:
            for number in range(3):
                yield b"%d\n" % number
                await asyncio.sleep(0.01)

        return HttpAnswer(body=pieces(), content_type="application/x-ndjson")

    async def fault(self, request: HttpRequest) -> HttpAnswer:
        raise FAULTS[request.query["kind"]]("canary")

    async def large(self, request: HttpRequest) -> HttpAnswer:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(200):
                yield bytes(100_000)

        return HttpAnswer(body=pieces() if request.query.get("streamed") else bytes(20_000_000))

    async def slow(self, request: HttpRequest) -> HttpAnswer:
        type(self).begun.set()
        try:
            await asyncio.sleep(0.5 if request.query.get("short") else 30)
        except asyncio.CancelledError:
            type(self).gone.set()
            raise
        return HttpAnswer.json({"done": True})


@asynccontextmanager
async def served(folder: Path, more: str = "", address: str = "127.0.0.1:0") -> AsyncIterator[tuple[House, str]]:
    Echo.gone, Echo.begun = asyncio.Event(), asyncio.Event()
    files = {"mtaframe.toml": SETTINGS.format(address=address, more=more)}
    async with running(folder, files, plugins={"echo": Echo}) as house:
        yield house, f"http://127.0.0.1:{house.port('http')}" if address.startswith("127") else ""


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def raw(url: str, octets: bytes, *, wait: float = 5.0) -> bytes:
    """All that comes back until the server closes, or says nothing more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(octets)
    found = b""
    try:
        async with asyncio.timeout(wait):
            while piece := await reader.read(65536):
                found += piece
    except TimeoutError:
        pass
    writer.close()
    return found


@pytest.mark.parametrize("path", ["/v1/echo/a", "/v1//echo/a", "/v1/echo/a/", "//v1///echo//a//"])
async def test_double_and_trailing_slashes_do_not_matter(
    path: str, tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    async with served(tmp_path) as (_, url):
        async with client.get(f"{url}{path}?x=1&x=2", allow_redirects=False) as answer:
            assert answer.status == 200
            assert await answer.json() == {"name": "a", "query": {"x": "1"}, "path": "/v1/echo/a"}


async def test_what_is_in_a_path_is_decoded_once_and_after_it_is_cut(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    async with served(tmp_path) as (_, url):
        from yarl import URL

        async with client.get(URL(f"{url}/v1/echo/a%40b%2Fc%252F", encoded=True)) as answer:
            assert (await answer.json())["name"] == "a@b/c%2F"


async def test_what_is_not_there_is_told_in_json(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    async with served(tmp_path) as (_, url):
        async with client.get(f"{url}/nothing") as answer:
            assert (answer.status, (await answer.json())["error_code"]) == (404, 404)
            assert answer.content_type == "application/json"
        async with client.delete(f"{url}/v1/echo") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        async with client.head(f"{url}/v1/echo/a") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        assert (await raw(url, b"HEAD /v1/stream HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\n")


async def test_a_body_is_bounded_however_it_comes(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    async with served(tmp_path, 'max_size = "100 KB"') as (_, url):
        async with client.post(f"{url}/v1/echo", data=b"x" * 100_000) as answer:
            assert (await answer.json())["size"] == 100_000
        async with client.post(f"{url}/v1/echo", data=b"x" * 100_001) as answer:
            assert answer.status == 413

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b"x" * 10_000

        async with client.post(f"{url}/v1/echo", data=chunks()) as answer:
            assert answer.status == 413
        head = b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        bomb = await raw(url, head + _chunk(gzip.compress(bytes(5_000_000))) + b"0\r\n\r\n", wait=2)
        assert bomb.startswith(b"HTTP/1.1 413 ")


def _chunk(octets: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(octets), octets)


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        ("Content-Length: 100001", b"", b"413"),
        ("Transfer-Encoding: chunked", b"186a1\r\n" + b"x" * 100_001, b"413"),
        ("Content-Encoding: gzip\r\nContent-Length: 90", b"x" * 90, b"400"),
        ("Content-Length: 90000", b"x" * 70_000, b"408"),
        ("Content-Length: 90000\r\nX-Key: x", b"", b"401"),
    ],
)
async def test_whoever_is_refused_takes_no_room_and_keeps_no_configuration_alive(
    head: str, body: bytes, status: bytes, tmp_path: Path
) -> None:
    path = "known" if "X-Key" in head else "echo"
    async with served(tmp_path, 'max_size = "100 KB"\nidle_timeout = "300ms"') as (house, url):
        generation = house.mta.generation
        assert generation is not None
        gc.disable()  # what waits for the collector waits long in a worker
        try:
            found = await raw(url, f"POST /v1/{path} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + body, wait=2)
            assert found.startswith(b"HTTP/1.1 " + status)
            assert (house.mta.reception.memory.used, generation._leases) == (0, 0)
        finally:
            gc.enable()


async def test_a_client_that_asks_whether_it_may_send_is_answered_first(tmp_path: Path) -> None:
    async with served(tmp_path, 'max_size = "1 KB"') as (_, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        head = b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % 3)
        assert await asyncio.wait_for(reader.readline(), 5) == b"HTTP/1.1 100 Continue\r\n"
        writer.write(b"abc")
        answer = await asyncio.wait_for(reader.readuntil(b"}"), 5)
        assert b"HTTP/1.1 200 OK" in answer
        assert b'"size":3' in answer
        writer.write(head % 5000)
        assert b" 413 " in await asyncio.wait_for(reader.readuntil(b"}"), 5)
        writer.close()


async def test_a_stranger_is_refused_before_the_body_is_read(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    async with served(tmp_path) as (house, url):
        for headers, status, answer in (({"X-Key": "known"}, 200, None), ({}, 401, {"who": "nobody"})):
            async with client.post(f"{url}/v1/known", data=b"x" * 1_000_000, headers=headers) as found:
                assert found.status == status
                assert answer is None or await found.json() == answer
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"POST /v1/known HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9000000\r\n\r\n")
        writer.write(b"x" * 500_000)
        answered = await asyncio.wait_for(reader.readuntil(b"}"), 5)
        assert answered.startswith(b"HTTP/1.1 401 ")
        assert b"Connection: close" in answered
        assert house.mta.reception.memory.used == 0
        writer.close()
        without_body = await raw(url, b"POST /v1/known HTTP/1.1\r\nHost: x\r\n\r\n" * 2, wait=1)
        assert without_body.count(b"HTTP/1.1 401 ") == 2


async def test_who_sends_too_slowly_is_told_so(tmp_path: Path) -> None:
    async with served(tmp_path, 'idle_timeout = "300ms"') as (_, url):
        found = await raw(url, b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
        assert found.startswith(b"HTTP/1.1 408 ")
        assert b"Connection: close" in found
        assert await raw(url, b"GET /v1/ec") == b""  # closed in silence, and soon


@pytest.mark.parametrize(
    "octets",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"EHLO client\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: x\r\n" * 1000 + b"\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
async def test_what_is_no_http_gets_400_and_the_log_holds_nothing_of_it(
    octets: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path) as (_, url):
        found = await raw(url, octets, wait=1)
        assert found.startswith(b"HTTP/1.") and b" 400 " in found[:16]  # noqa: PT018
        assert json.loads(found.partition(b"\r\n\r\n")[2])["error_code"] == 400
        assert "EHLO" not in caplog.text
        assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("kind", FAULTS)
async def test_a_fault_is_a_500_that_tells_nothing(
    kind: str, tmp_path: Path, client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with served(tmp_path) as (_, url):
        async with client.get(f"{url}/v1/fault?kind={kind}&secret=canary") as answer:
            assert answer.status == 500
            assert "canary" not in await answer.text()
        assert f"http failed listener=http route=/v1/fault fault={kind}" in caplog.text
        assert "canary" not in caplog.text


async def test_an_answer_may_come_bit_by_bit(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    async with served(tmp_path) as (_, url):
        async with client.get(f"{url}/v1/stream") as answer:
            assert [line async for line in answer.content] == [b"0\n", b"1\n", b"2\n"]
            assert answer.content_type == "application/x-ndjson"


async def test_a_client_that_goes_ends_its_request(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, url):
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /v1/slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(Echo.begun.wait(), 5)
        writer.close()
        await asyncio.wait_for(Echo.gone.wait(), 5)


async def test_who_is_being_answered_is_waited_for_at_the_end(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    async with served(tmp_path) as (house, url):
        idle = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        asking = asyncio.create_task(client.get(f"{url}/v1/slow?short=1").__aenter__())
        await asyncio.wait_for(Echo.begun.wait(), 5)
        await house.mta.stop(5.0)
        answer = await asking
        assert await answer.json() == {"done": True}
        assert answer.headers["Connection"] == "close"
        assert await asyncio.wait_for(idle[0].read(), 5) == b""
        idle[1].close()


@pytest.mark.parametrize("query", ["", "?streamed=1"])
async def test_who_does_not_read_its_answer_is_not_waited_for_without_end(query: str, tmp_path: Path) -> None:
    async with served(tmp_path, 'idle_timeout = "300ms"') as (house, url):
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), limit=1000)
        writer.write(f"GET /v1/large{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        server = house.mta.listeners["http"]
        async with asyncio.timeout(5):
            while not server.connections:
                await asyncio.sleep(0.01)
            while server.connections:
                await asyncio.sleep(0.01)
        writer.transport.abort()


async def test_who_reads_slowly_gets_all_the_same(tmp_path: Path) -> None:
    async with served(tmp_path, 'idle_timeout = "500ms"') as (_, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), limit=1000)
        writer.write(b"GET /v1/large?streamed=1 HTTP/1.0\r\n\r\n")
        size = 0
        while piece := await reader.read(1_000_000):
            size += len(piece)
            await asyncio.sleep(0.02)
        assert size > 20_000_000
        writer.close()


@pytest.mark.parametrize("seconds", [0.0, 1.0])
async def test_the_end_does_not_wait_longer_than_it_may(seconds: float, tmp_path: Path) -> None:
    async with served(tmp_path) as (house, url):
        asking = asyncio.create_task(raw(url, b"GET /v1/slow HTTP/1.1\r\nHost: x\r\n\r\n", wait=20))
        await asyncio.wait_for(Echo.begun.wait(), 5)
        async with asyncio.timeout(seconds + 0.8):
            await house.mta.listeners["http"].drain(seconds)
        await asyncio.wait_for(Echo.gone.wait(), 5)
        assert await asking == b""


async def test_more_clients_than_allowed_are_told_to_come_back(tmp_path: Path) -> None:
    async with served(tmp_path, "max_connections = 1") as (_, url):
        port = int(url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v1/slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(Echo.begun.wait(), 5)
        found = await raw(url, b"GET /v1/echo/a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert found.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: " in found
        writer.close()


async def test_there_must_be_room_in_memory(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    async with served(tmp_path) as (house, url):
        house.write("mtaframe.toml", 'max_in_flight = "50 KB"\n' + (tmp_path / "mtaframe.toml").read_text())
        assert await house.mta.reload()
        async with client.post(f"{url}/v1/echo", data=b"x" * 40_000) as answer:
            assert answer.status == 200
        async with client.post(f"{url}/v1/echo", data=b"x" * 60_000) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert house.mta.reception.memory.used == 0


async def test_tls_is_from_the_first_octet_on(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    certificate, key = self_signed("mta.example.com", tmp_path)
    async with served(tmp_path, f'tls = "implicit"\ncertificate = "{certificate}"\nkey = "{key}"') as (_, url):
        trusting = ssl.create_default_context(cafile=str(certificate))
        secure = url.replace("http:", "https:")
        async with client.post(
            f"{secure}/v1/echo", data=b"x", ssl=trusting, server_hostname="mta.example.com"
        ) as answer:
            assert (await answer.json())["tls"].startswith("TLSv1.")
        assert await raw(url, b"GET / HTTP/1.1\r\n\r\n") == b""


async def test_nothing_is_left_of_who_fails_at_the_handshake(tmp_path: Path) -> None:
    def connections() -> int:
        gc.collect()
        return sum(isinstance(one, RequestHandler) for one in gc.get_objects())

    certificate, key = self_signed("mta.example.com", tmp_path)
    async with served(tmp_path, f'tls = "implicit"\ncertificate = "{certificate}"\nkey = "{key}"') as (_, url):
        before = connections()
        for _ in range(5):
            assert await raw(url, b"GET / HTTP/1.1\r\n\r\n") == b""
        assert connections() <= before


async def test_a_proxy_tells_the_client(tmp_path: Path) -> None:
    async with served(tmp_path, 'proxy_from = ["127.0.0.1"]') as (_, url):
        head = b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n"
        found = await raw(
            url, head + b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        assert json.loads(found.partition(b"\r\n\r\n")[2])["client"] == "192.0.2.7"


async def test_a_unix_socket_does(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    async with served(tmp_path, address=str(path)):
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
            async with session.get("http://local/v1/echo/a") as answer:
                assert answer.status == 200


async def test_a_reload_keeps_the_door_open_and_takes_new_settings(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    async with served(tmp_path) as (house, url):
        slow = asyncio.create_task(client.get(f"{url}/v1/slow?short=1").__aenter__())
        await asyncio.wait_for(Echo.begun.wait(), 5)
        more = 'max_size = "1 KB"\nidle_timeout = "200ms"\n'
        house.write("mtaframe.toml", (tmp_path / "mtaframe.toml").read_text() + more)
        assert await house.mta.reload()
        assert await raw(url, b"GET /v1/ec") == b"", "who comes from now on may be silent for so long"
        async with client.post(f"{url}/v1/echo", data=b"x" * 1001) as answer:
            assert answer.status == 413
        assert await (await slow).json() == {"done": True}


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ('tls = "starttls"', "HTTP has no STARTTLS"),
        ('trusted = ["127.0.0.1"]', '"trusted" means nothing to a listener of the kind http'),
        ('on_defer = "hold"', '"on_defer" means nothing'),
    ],
)
def test_a_listener_says_only_what_http_has(more: str, text: str) -> None:
    import tomllib

    data: dict[str, Any] = {"name": "http", "kind": "http", "addresses": ["127.0.0.1:0"], **tomllib.loads(more)}
    with pytest.raises(ValueError, match=text):
        ListenerSettings.model_validate(data)


def test_two_plugins_can_not_serve_the_same() -> None:
    class Same(Plugin):
        def http_routes(self) -> Sequence[HttpRoute]:
            return (HttpRoute("GET", "/x/{id}/", self.answer),)

        async def answer(self, request: HttpRequest) -> HttpAnswer:
            return HttpAnswer()

    one, other = Same(None, None), Same(None, None)  # type: ignore[arg-type]
    with pytest.raises(PluginError, match="two plugins serve the same: GET /x/"):
        Plugins([("one", one, PluginSettings()), ("other", other, PluginSettings())])


def test_a_fixed_path_goes_before_an_open_one() -> None:
    async def nobody(request: HttpRequest) -> HttpAnswer:
        return HttpAnswer()

    fixed, opened = HttpRoute("POST", "/webhooks/test", nobody), HttpRoute("POST", "/webhooks/{id}", nobody)
    routes = Routes([opened, fixed])
    assert routes.find("/webhooks/test") == ({"POST": fixed}, ())
    assert routes.find("/webhooks/7") == ({"POST": opened}, ["7"])
    assert routes.find("/webhooks") == ({}, ())
    assert plain_path("") == "/"
