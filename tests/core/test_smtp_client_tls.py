"""TLS four ways, certificates, and credentials."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mtaframe import Credentials, Outcome, Tls
from mtaframe.testing import DROP, Authority, ScriptedMx, authority, message, route, self_signed, server_context
from tests.core.sending import Names, raw_server, sender

DELIVERED, DEFERRED = Outcome.DELIVERED, Outcome.DEFERRED
NAMES = Names({"example.net": [(10, "mx.example.net")]}, {"mx.example.net": ["127.0.0.1"]})
ME = Credentials("user", "secret")


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def trusted(ca: Authority) -> Any:
    return server_context(*ca.issue("mx.example.net", "127.0.0.1"))


@pytest.fixture
def unknown(tmp_path: Path) -> Any:
    return server_context(*self_signed("mx.example.net", tmp_path))


@pytest.mark.parametrize("tls", list(Tls))
@pytest.mark.parametrize("size", [10, 100_000, 1_000_000])
async def test_with_a_good_certificate_all_but_off_encrypt(tls: Tls, size: int, ca: Authority, trusted: Any) -> None:
    mail = message(body=("x" * 70 + "\n") * (size // 71 + 1))
    async with ScriptedMx(tls=trusted) as mx, sender(NAMES) as out:
        way = route(port=mx.port, tls=tls, ca_file=str(ca.ca_file))
        for _ in range(2):
            (result,) = await out.send(way, mail=mail)
            assert result.outcome is DELIVERED
    assert mx.received[0].tls == (tls is not Tls.OFF)
    assert mx.received[0].raw == mail.raw
    assert mx.connections == 1
    assert not mx.faults


async def test_a_certificate_counts_only_where_it_is_verified(ca: Authority, unknown: Any) -> None:
    async with ScriptedMx(tls=unknown) as mx, sender(NAMES) as out:
        for tls in (Tls.OPPORTUNISTIC, Tls.REQUIRED):
            (result,) = await out.send(route(port=mx.port, tls=tls))
            assert result.outcome is DELIVERED
        (result,) = await out.send(route(port=mx.port, tls=Tls.VERIFIED, ca_file=str(ca.ca_file)))
        assert (result.outcome, result.reply.code, result.reply.status) == (DEFERRED, 451, "4.7.5")
    assert [received.tls for received in mx.received] == [True, True]


@pytest.mark.parametrize(("name", "expired"), [("other.example.net", False), ("mx.example.net", True)])
async def test_a_certificate_for_another_name_or_time_is_not_verified(name: str, expired: bool, ca: Authority) -> None:
    async with ScriptedMx(tls=server_context(*ca.issue(name, expired=expired))) as mx, sender(NAMES) as out:
        (result,) = await out.send(route(port=mx.port, tls=Tls.VERIFIED, ca_file=str(ca.ca_file)))
    assert (result.outcome, result.reply.status) == (DEFERRED, "4.7.5")


async def test_an_address_as_next_hop_is_verified_as_an_address(ca: Authority, trusted: Any) -> None:
    async with ScriptedMx(tls=trusted) as mx, sender() as out:
        for next_hop in ("127.0.0.1", "[127.0.0.1]"):
            way = route(next_hop=next_hop, port=mx.port, tls=Tls.VERIFIED, ca_file=str(ca.ca_file))
            (result,) = await out.send(way)
            assert result.outcome is DELIVERED


@pytest.mark.parametrize("tls", list(Tls))
async def test_where_no_tls_is_offered(tls: Tls) -> None:
    async with ScriptedMx() as mx, sender(NAMES) as out:
        (result,) = await out.send(route(port=mx.port, tls=tls))
    if tls in (Tls.OFF, Tls.OPPORTUNISTIC):
        assert result.outcome is DELIVERED
    else:
        assert (result.outcome, result.reply.code, result.reply.status) == (DEFERRED, 451, "4.7.4")
        assert not mx.messages


@pytest.mark.parametrize("tls", [Tls.OPPORTUNISTIC, Tls.REQUIRED, Tls.VERIFIED])
@pytest.mark.parametrize("fault", ["handshake", "refused", "dropped", "hung up", "hung up behind it"])
async def test_where_tls_fails_only_opportunistic_goes_on_in_clear(tls: Tls, fault: str, trusted: Any) -> None:
    heard: list[bytes] = []

    async def unable(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        while line := await reader.readline():
            heard.append(line)
            if line.startswith(b"EHLO"):
                writer.write(b"250-hi\r\n250 STARTTLS\r\n")
            elif line.startswith(b"STARTTLS") and fault == "refused":
                writer.write(b"454 4.7.0 no key\r\n")
            elif line.startswith(b"STARTTLS") and fault == "hung up":
                return
            elif line.startswith(b"STARTTLS"):
                writer.write(b"220 2.0.0 go ahead\r\n")
                if fault == "hung up behind it":
                    with suppress(OSError):  # who verifies does not take the certificate
                        await writer.start_tls(trusted)
                    return
                await reader.readexactly(100)
                if fault == "handshake":
                    writer.write(b"this is no TLS\r\n")
                    await writer.drain()
                return
            elif line.startswith(b"DATA"):
                writer.write(b"354 go\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                writer.write(b"250 2.0.0 taken\r\n")
            else:
                writer.write(b"250 2.0.0 ok\r\n")

    async with raw_server(unable) as port, sender(NAMES) as out:
        (result,) = await out.send(route(port=port, tls=tls))
        assert result.outcome is (DELIVERED if tls is Tls.OPPORTUNISTIC else DEFERRED)
    assert any(line.startswith(b"MAIL") for line in heard) == (tls is Tls.OPPORTUNISTIC)


async def test_octets_in_clear_behind_the_answer_to_starttls_end_the_connection(trusted: Any) -> None:
    async with ScriptedMx(tls=trusted) as mx, sender(NAMES) as out:
        for injected in (b"250 injected\r\n", b"250-inj", b"\x16\x03"):
            mx.script("starttls", b"220 2.0.0 go\r\n" + injected)
            (result,) = await out.send(route(port=mx.port, tls=Tls.REQUIRED))
            assert (result.outcome, result.reply.code) == (DEFERRED, 451)
    assert not mx.messages


async def test_the_operator_may_want_more_for_a_recipients_domain(unknown: Any) -> None:
    async with ScriptedMx() as mx, sender(NAMES, tls={"example.net": Tls.REQUIRED}) as out:
        (result,) = await out.send(route(port=mx.port))
        assert (result.outcome, result.reply.status) == (DEFERRED, "4.7.4")
        # It is about the recipient's own hosts: a smart host goes by its own route.
        (result,) = await out.send(out.to(mx))
        assert result.outcome is DELIVERED


@pytest.mark.parametrize("domain", ["xn--bcher-kva.example", "bücher.example", "BÜCHER.example"])
async def test_a_policy_for_a_domain_holds_however_the_domain_is_written(domain: str) -> None:
    """To bücher.example mail went in clear where its policy stood under xn--bcher-kva.example."""
    names = Names({"xn--bcher-kva.example": [(10, "mx.example.net")]}, {"mx.example.net": ["127.0.0.1"]})
    async with ScriptedMx() as mx, sender(names, tls={"xn--bcher-kva.example": Tls.REQUIRED}) as out:
        (result,) = await out.send(route(port=mx.port), f"bob@{domain}")
    assert (result.outcome, result.reply.status) == (DEFERRED, "4.7.4")
    assert not mx.messages


@pytest.mark.parametrize("tls", [Tls.REQUIRED, Tls.VERIFIED])
async def test_port_465_is_tls_from_the_first_octet(tls: Tls, ca: Authority, trusted: Any, monkeypatch: Any) -> None:
    async with ScriptedMx(tls=trusted, implicit_tls=True, credentials={"user": "secret"}) as mx, sender() as out:
        monkeypatch.setattr("mtaframe.smtp_client.opening.IMPLICIT_TLS_PORT", mx.port)
        way = out.to(mx, tls=tls, ca_file=str(ca.ca_file), credentials=ME)
        for _ in range(2):
            (result,) = await out.send(way)
            assert result.outcome is DELIVERED
    assert (mx.received[0].tls, mx.received[0].user, mx.connections) == (True, "user", 1)


async def test_port_465_with_a_wrong_certificate(ca: Authority, unknown: Any, monkeypatch: Any) -> None:
    async with ScriptedMx(tls=unknown, implicit_tls=True) as mx, sender() as out:
        monkeypatch.setattr("mtaframe.smtp_client.opening.IMPLICIT_TLS_PORT", mx.port)
        (result,) = await out.send(out.to(mx, tls=Tls.VERIFIED, ca_file=str(ca.ca_file)))
    assert (result.outcome, result.reply.status) == (DEFERRED, "4.7.5")


async def test_authorities_that_cannot_be_read_are_our_own_fault(
    unknown: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with ScriptedMx(tls=unknown) as mx, sender() as out:
        (result,) = await out.send(out.to(mx, tls=Tls.VERIFIED, ca_file=str(tmp_path / "none.pem")))
    assert (result.outcome, result.reply.status) == (DEFERRED, "4.3.5")
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_authorities_that_were_replaced_are_read_again(ca: Authority, trusted: Any, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(self_signed("other.example.net", tmp_path)[0].read_bytes())
    async with ScriptedMx(tls=trusted) as mx, sender(NAMES) as out:
        way = route(port=mx.port, tls=Tls.VERIFIED, ca_file=str(ca_file))
        assert (await out.send(way))[0].outcome is DEFERRED
        ca_file.write_bytes(ca.ca_file.read_bytes())
        assert (await out.send(way))[0].outcome is DELIVERED


@pytest.mark.parametrize("encrypted", [True, False])
async def test_credentials_are_shown_once_per_connection(encrypted: bool, unknown: Any) -> None:
    tls = unknown if encrypted else None
    async with ScriptedMx(tls=tls, credentials={"user": "secret"}) as mx, sender() as out:
        for _ in range(3):
            (result,) = await out.send(out.to(mx, credentials=ME))
            assert result.outcome is DELIVERED
    assert [received.user for received in mx.received] == ["user"] * 3
    assert len([command for command in mx.commands if command.startswith("AUTH")]) == 1


async def test_wrong_credentials_are_our_own_fault_and_tried_once(
    unknown: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with ScriptedMx(tls=unknown, credentials={"user": "other"}) as mx, sender() as out:
        (result,) = await out.send(out.to(mx, credentials=ME))
        assert (result.outcome, result.reply.status) == (DEFERRED, "4.3.5")
        assert [record.getMessage() for record in caplog.records] == [
            "smtp to 127.0.0.1: refused: reply 535 5.7.8 to auth"
        ]
        mx.script("auth", "454 4.7.0 later")
        (result,) = await out.send(out.to(mx, credentials=ME))
        assert (result.outcome, result.reply.line) == (DEFERRED, "454 4.7.0 later")
        mx.script("auth", "550 5.7.1 not you")
        (result,) = await out.send(out.to(mx, credentials=ME))
        assert (result.outcome, result.reply.status) == (DEFERRED, "4.3.5")
        mx.script("auth", DROP)
        (result,) = await out.send(out.to(mx, credentials=ME))
        assert (result.outcome, result.reply.status) == (DEFERRED, "4.4.2")
    assert len(caplog.records) == 2
    assert len([command for command in mx.commands if command.startswith("AUTH")]) == 4


async def test_a_server_that_offers_no_auth_is_our_own_fault(caplog: pytest.LogCaptureFixture) -> None:
    async with ScriptedMx() as mx, sender() as out:
        (result,) = await out.send(out.to(mx, credentials=ME))
    assert (result.outcome, result.reply.status) == (DEFERRED, "4.3.5")
    assert caplog.records


@pytest.mark.parametrize(("tls", "shown"), [(Tls.OFF, True), (Tls.OPPORTUNISTIC, False)])
async def test_credentials_go_in_clear_only_where_the_operator_says_off(
    tls: Tls, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtaframe.smtp_client.connection.Target.is_local", False)  # as if it were far away
    async with ScriptedMx(credentials={"user": "secret"}) as mx, sender() as out:
        (result,) = await out.send(out.to(mx, credentials=ME, tls=tls))
    assert result.outcome is (DELIVERED if shown else DEFERRED)
    assert any(command.startswith("AUTH") for command in mx.commands) == shown
