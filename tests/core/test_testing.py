"""The scripted servers, seen by clients on real sockets: raw ones, and those of the standard library."""

import asyncio
import re
import smtplib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from inspect import isawaitable, signature
from pathlib import Path
from typing import Any

import pytest
import uvloop

from mtaframe import Address, Event, Message, Mta, Outcome, Question, Tls
from mtaframe.testing import (
    DROP,
    HANG,
    RESET,
    RecordingMta,
    ScriptedDns,
    ScriptedMx,
    VirtualClock,
    account,
    authority,
    deliveries,
    delivery,
    envelope,
    event,
    message,
    recipient,
    reply,
    result,
    route,
    self_signed,
    server_context,
    session,
)


class Talk:
    """A raw client: says octets, hears whole replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def hear(self, replies: int = 1) -> list[str]:
        heard = []
        while len(heard) < replies:
            line = (await self.reader.readuntil(b"\r\n")).decode().rstrip("\r\n")
            if line[3:4] != "-":
                heard.append(line)
        return heard

    async def say(self, *lines: str | bytes, replies: int = 1) -> list[str]:
        for line in lines:
            self.writer.write(line if isinstance(line, bytes) else f"{line}\r\n".encode())
        return await self.hear(replies)


@asynccontextmanager
async def talk(mx: ScriptedMx, *, hello: str | None = "EHLO client.example") -> AsyncIterator[Talk]:
    if mx.unix is not None:
        reader, writer = await asyncio.open_unix_connection(mx.unix)
    else:
        reader, writer = await asyncio.open_connection(mx.host, mx.port)
    try:
        client = Talk(reader, writer)
        if hello is not None:
            await client.hear()
            await client.say(hello)
        yield client
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


ENVELOPE = ("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.net>", "DATA")


def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    return asyncio.to_thread(function, *arguments)


async def test_a_transaction_is_recorded_as_it_came() -> None:
    async with ScriptedMx(extensions=("PIPELINING", "8BITMIME", "DSN", "SIZE 1000")) as mx, talk(mx) as client:
        lines = ("MAIL FROM:<> BODY=8BITMIME RET=HDRS", "RCPT TO:<b@example.net> NOTIFY=NEVER", "DATA")
        assert [line[:3] for line in await client.say(*lines, replies=3)] == ["250", "250", "354"]
        assert await client.say("Subject: x\r\n\r\n..\r\n.hidden\r\n\xe9\r\n.") == ["250 2.0.0 taken"]
        assert await client.say("QUIT") == ["221 2.0.0 bye"]
        assert await client.reader.read() == b""
        (received,) = mx.received
        assert (received.reverse_path, received.recipients) == ("", ["b@example.net"])
        assert received.raw == "Subject: x\r\n\r\n.\r\nhidden\r\n\xe9\r\n".encode()
        assert (received.mail_parameters, received.rcpt_parameters) == ("BODY=8BITMIME RET=HDRS", ["NOTIFY=NEVER"])
        assert (received.ehlo, received.client, received.tls, received.user) == (
            "client.example",
            "127.0.0.1",
            False,
            None,
        )
        assert mx.commands == ["EHLO client.example", *lines, "QUIT"]
        assert (mx.connections, mx.messages, mx.faults) == (1, 1, [])


async def test_content_ends_only_at_a_dot_between_two_whole_line_ends() -> None:
    smuggled = b"a\n.\nb\r.\rc\r\n.\rd\n.\r\ne\r\n"
    async with ScriptedMx() as mx, talk(mx) as client:
        await client.say(*ENVELOPE, replies=3)
        assert await client.say(b"\r\n" + smuggled + b".\r\n") == ["250 2.0.0 taken"]
        (received,) = mx.received
        assert received.raw == b"\r\n" + smuggled.replace(b"\r\n.\r", b"\r\n\r")
        assert received.bare_line_ends
        assert mx.faults == ["a bare CR or LF in message content"]


async def test_empty_content_and_a_dot_that_comes_octet_by_octet() -> None:
    async with ScriptedMx() as mx, talk(mx) as client:
        await client.say(*ENVELOPE, replies=3)
        assert await client.say(".") == ["250 2.0.0 taken"]
        await client.say(*ENVELOPE, replies=3)
        for octet in b"x\r\n.\r":
            client.writer.write(bytes([octet]))
            await asyncio.sleep(0.002)
        assert await client.say(b"\n") == ["250 2.0.0 taken"]
        assert [received.raw for received in mx.received] == [b"", b"x\r\n"]


async def test_answers_are_used_once_in_order_then_always_then_the_usual() -> None:
    async with ScriptedMx() as mx, talk(mx) as client:
        mx.script("rcpt", "450 4.2.0 later", to="b@example.net")
        mx.script("rcpt", "550 5.1.1 one")
        mx.script("rcpt", "550 5.1.1 two")
        mx.script("mail", "451 4.3.0 always", always=True)
        assert await client.say("MAIL FROM:<a@example.com>") == ["451 4.3.0 always"]
        assert await client.say("RCPT TO:<b@example.net>") == ["503 5.5.1 MAIL first"]
        mx.unscript()
        mx.script("rcpt", "450 4.2.0 later", to="b@example.net")
        mx.script("rcpt", "550 5.1.1 one")
        mx.script("rcpt", "550-5.1.1 two\n550 5.1.1 lines")
        await client.say("MAIL FROM:<a@example.com>")
        recipients = ["c@example.net", "b@example.net", "b@example.net", "b@example.net"]
        said = await client.say(*(f"RCPT TO:<{recipient}>" for recipient in recipients), replies=4)
        assert said == ["550 5.1.1 one", "450 4.2.0 later", "550 5.1.1 lines", "250 2.1.5 ok"]
        mx.script("dot", "451 4.0.0 no", always=True)
        mx.script("dot", "554 5.0.0 first")
        await client.say("DATA")
        assert await client.say(".") == ["554 5.0.0 first"]
        await client.say(*ENVELOPE, replies=3)
        assert await client.say(".") == ["451 4.0.0 no"]
        assert (mx.received, len(mx.arrived)) == ([], 2)
        with pytest.raises(ValueError, match="no such stage"):
            mx.script("bdat", "250 ok")


async def test_drop_hang_reset_delay_and_octets_as_they_are() -> None:
    async with ScriptedMx() as mx:
        mx.script("connect", DROP)
        async with talk(mx, hello=None) as client:
            assert await client.reader.read() == b""
        mx.script("mail", RESET)
        async with talk(mx) as client:
            with pytest.raises(ConnectionResetError):
                await client.say("MAIL FROM:<a@example.com>")
        mx.script("mail", HANG)
        async with talk(mx) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.say("MAIL FROM:<a@example.com>"), 0.05)
        await mx.until(lambda: mx.open_connections == 0)
        mx.script("mail", delay=0.05)
        mx.script("rcpt", b"25")
        async with talk(mx) as client:
            began = asyncio.get_running_loop().time()
            assert await client.say("MAIL FROM:<a@example.com>") == ["250 2.1.0 ok"]
            assert asyncio.get_running_loop().time() - began > 0.04
            client.writer.write(b"RCPT TO:<b@example.net>\r\n")
            assert await client.reader.readexactly(2) == b"25"
        assert mx.connections == 4


async def test_a_connection_can_break_or_stall_inside_the_content() -> None:
    async with ScriptedMx() as mx:
        mx.script("content", RESET)
        async with talk(mx) as client:
            await client.say(*ENVELOPE, replies=3)
            with pytest.raises(ConnectionResetError):
                await client.say("Subject: x")
        mx.script("content", HANG)
        async with talk(mx) as client:
            await client.say(*ENVELOPE, replies=3)
            client.writer.write(b"x" * 20_000_000)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.writer.drain(), 0.1)
            client.writer.transport.abort()
        assert mx.arrived == []


async def test_421_ends_the_connection_and_a_refused_session_only_knows_quit() -> None:
    async with ScriptedMx() as mx:
        mx.script("connect", "421 4.3.2 busy")
        async with talk(mx, hello=None) as client:
            assert await client.hear() == ["421 4.3.2 busy"]
            assert await client.reader.read() == b""
        mx.script("connect", "554 5.7.1 go away")
        async with talk(mx, hello=None) as client:
            assert await client.hear() == ["554 5.7.1 go away"]
            assert (await client.say("EHLO x"))[0].startswith("503 ")
            assert (await client.say("QUIT"))[0].startswith("221 ")


async def test_lmtp_answers_each_accepted_recipient_after_the_dot() -> None:
    async with ScriptedMx(lmtp=True) as mx, talk(mx, hello="LHLO client.example") as client:
        mx.script("rcpt", "550 5.1.1 no", to="x@example.net")
        mx.script("dot", "452 4.2.2 full", to="c@example.net")
        names = ["b@example.net", "x@example.net", "c@example.net", "b@example.net"]
        said = await client.say("MAIL FROM:<a@example.com>", *(f"RCPT TO:<{n}>" for n in names), "DATA", replies=6)
        assert [line[:3] for line in said] == ["250", "250", "550", "250", "250", "354"]
        said = await client.say("Subject: x\r\n\r\n.", replies=3)
        assert said == ["250 2.0.0 taken", "452 4.2.2 full", "250 2.0.0 taken"]
        assert [r.recipients for r in mx.received] == [["b@example.net", "b@example.net"]]
        assert [r.recipients for r in mx.arrived] == [["b@example.net", "c@example.net", "b@example.net"]]
        assert await client.say("RSET", "MAIL FROM:<>", "DATA", replies=3) == [
            "250 2.0.0 ok",
            "250 2.1.0 ok",
            "503 5.5.1 no valid recipients",
        ]
        assert await client.say("EHLO x") == ["500 5.5.1 this is LMTP"]


async def test_what_a_client_does_against_the_rfcs_is_a_fault() -> None:
    async with ScriptedMx(extensions=("SIZE 10",)) as mx, talk(mx) as client:
        for line, code in [
            ("LHLO x", "500"),
            ("BDAT 1 LAST", "500"),
            ("STARTTLS", "502"),
            ("AUTH PLAIN AGEAYg==", "503"),
            ("MAIL a@example.com", "501"),
            ("MAIL FROM:<a@example.com> BODY=8BITMIME", "555"),
            ("MAIL FROM:<a@example.com> SIZE=11", "552"),
            ("MAIL FROM:<\u00e4@example.com>", "553"),
            ("MAIL FROM:<a@example.com> SIZE=10", "250"),
            ("MAIL FROM:<a@example.com>", "503"),
            ("RCPT TO:<b@example.net> NOTIFY=NEVER", "555"),
            ('RCPT TO:<"b> c"@example.net>', "250"),
            ("DATA", "354"),
        ]:
            assert (await client.say(line))[0].startswith(code), line
        assert await client.say("12345678\xe9\r\n.") == ["552 5.3.4 too large"]
        await client.say("NOOP", "NOOP", replies=2)
        assert mx.arrived[0].recipients == ['"b> c"@example.net']
        assert mx.faults == [
            "LHLO to SMTP",
            "unknown command BDAT",
            "STARTTLS was not offered",
            "AUTH was not offered",
            "MAIL without a path",
            "BODY was not offered",
            "an address that needs SMTPUTF8, without it",
            "MAIL out of order",
            "NOTIFY was not offered",
            "8-bit content without BODY=8BITMIME",
            "something followed NOOP before its answer",
        ]


async def test_a_unix_socket(tmp_path: Path) -> None:
    async with ScriptedMx(lmtp=True, unix=str(tmp_path / "lmtp.sock")) as mx:
        async with talk(mx, hello="LHLO x") as client:
            await client.say(*ENVELOPE, replies=3)
            assert await client.say("Subject: x\r\n\r\n.") == ["250 2.0.0 taken"]
        mx.script("mail", RESET)
        async with talk(mx, hello="LHLO x") as client:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await client.say("MAIL FROM:<>")
        assert mx.received[0].client == ""


async def test_starttls_and_auth_with_the_librarys_client(tmp_path: Path) -> None:
    issuer = authority(tmp_path)
    trusting = ssl.create_default_context(cafile=str(issuer.ca_file))
    context = server_context(*issue(issuer))

    def send(port: int, mechanism: str) -> None:
        with smtplib.SMTP("localhost", port, local_hostname="client.example") as client:
            client.ehlo()
            assert client.has_extn("starttls")
            assert not client.has_extn("auth")
            client.starttls(context=trusting)
            client.ehlo()
            assert not client.has_extn("starttls")
            client.user, client.password = "user", "secret"
            client.auth(mechanism, getattr(client, f"auth_{mechanism.lower()}"))
            client.sendmail("a@example.com", ["b@example.net"], b"Subject: x\r\n\r\n.\r\n")

    async with ScriptedMx(tls=context, credentials={"user": "secret"}) as mx:
        for mechanism in ("PLAIN", "LOGIN"):
            await in_thread(send, mx.port, mechanism)
        assert [(r.tls, r.user, r.raw) for r in mx.received] == [(True, "user", b"Subject: x\r\n\r\n.\r\n")] * 2
        mx.script("auth", "454 4.7.0 later")
        with pytest.raises(smtplib.SMTPAuthenticationError, match="454"):
            await in_thread(send, mx.port, "PLAIN")
        mx.credentials = {"user": "other"}
        with pytest.raises(smtplib.SMTPAuthenticationError, match="535"):
            await in_thread(send, mx.port, "LOGIN")
        mx.script("starttls", "454 4.7.0 no")
        with pytest.raises(smtplib.SMTPResponseException, match="454"):
            await in_thread(send, mx.port, "PLAIN")
        assert mx.faults == []


def issue(issuer: Any) -> tuple[Path, Path]:
    pair: tuple[Path, Path] = issuer.issue("localhost", "127.0.0.1")
    return pair


async def test_commands_before_the_handshake_do_not_survive_it(tmp_path: Path) -> None:
    issuer = authority(tmp_path)
    trusting = ssl.create_default_context(cafile=str(issuer.ca_file))
    async with ScriptedMx(tls=server_context(*issue(issuer))) as mx, talk(mx) as client:
        await client.say("STARTTLS", "MAIL FROM:<injected@example.com>")
        await client.writer.start_tls(trusting, server_hostname="localhost")
        assert await client.say("EHLO again.example") == ["250 ENHANCEDSTATUSCODES"]
        assert mx.commands == ["EHLO client.example", "STARTTLS", "EHLO again.example"]
        assert mx.faults == ["something followed STARTTLS before its answer"]


async def test_implicit_tls_and_clients_that_trust_nobody(tmp_path: Path) -> None:
    def send(port: int, trusting: ssl.SSLContext) -> None:
        with smtplib.SMTP_SSL("localhost", port, context=trusting) as client:
            client.sendmail("a@example.com", ["b@example.net"], b"Subject: x\r\n\r\n")

    cert_path, key_path = self_signed("localhost", tmp_path)
    async with ScriptedMx(tls=server_context(cert_path, key_path), implicit_tls=True) as mx:
        await in_thread(send, mx.port, ssl.create_default_context(cafile=str(cert_path)))
        assert mx.received[0].tls
        with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
            await in_thread(send, mx.port, ssl.create_default_context())
    old = authority(tmp_path)
    async with ScriptedMx(tls=server_context(*old.issue("localhost", expired=True))) as mx:
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            await in_thread(starttls, mx.port, ssl.create_default_context(cafile=str(old.ca_file)))
    async with ScriptedMx(tls=server_context(*old.issue("mx.example.com"))) as mx:
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            await in_thread(starttls, mx.port, ssl.create_default_context(cafile=str(old.ca_file)))


def starttls(port: int, trusting: ssl.SSLContext) -> None:
    with smtplib.SMTP("localhost", port) as client:
        client.starttls(context=trusting)


async def test_lmtp_with_the_librarys_client() -> None:
    def send(port: int) -> Any:
        with smtplib.LMTP("127.0.0.1", port) as client:
            return client.sendmail("a@example.com", ["b@example.net"], b"Subject: x\r\n\r\n")

    async with ScriptedMx(lmtp=True) as mx:
        assert await in_thread(send, mx.port) == {}
        assert mx.messages == 1
        assert mx.faults == []


async def test_leaving_closes_connections_and_tasks() -> None:
    async with ScriptedMx() as mx:
        mx.script("noop", HANG, always=True)
        reader, writer = await asyncio.open_connection(mx.host, mx.port)
        idle, idle_writer = await asyncio.open_connection(mx.host, mx.port)
        await reader.readline()
        writer.write(b"NOOP\r\n")
        await mx.until(lambda: mx.commands == ["NOOP"])
        assert (mx.open_connections, mx.most_open) == (2, 2)
        with pytest.raises(TimeoutError):
            await mx.until(lambda: False, timeout=0.01)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    for stream, its_writer in ((reader, writer), (idle, idle_writer)):
        with suppress(OSError):
            await stream.read()
        its_writer.close()
        with suppress(OSError):
            await its_writer.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(mx.host, mx.port)
    await mx.close()


def test_the_scripted_servers_run_on_uvloop_too(tmp_path: Path) -> None:
    issuer = authority(tmp_path)
    trusting = ssl.create_default_context(cafile=str(issuer.ca_file))

    async def main() -> None:
        async with ScriptedMx(tls=server_context(*issue(issuer))) as mx:
            mx.script("mail", RESET)
            async with talk(mx) as client:
                with pytest.raises(ConnectionResetError):
                    await client.say("MAIL FROM:<>")
            await in_thread(starttls, mx.port, trusting)
            mx.script("ehlo", HANG)
            async with talk(mx, hello=None) as client:
                client.writer.write(b"EHLO x\r\n")
                await mx.until(lambda: mx.commands[-1] == "EHLO x")
        async with ScriptedDns({"example.com": {"A": ["127.0.0.1"]}}) as dns:
            assert dns.server.startswith("127.0.0.1:")

    uvloop.run(main())


async def test_a_port_and_an_address_can_be_chosen() -> None:
    async with ScriptedMx(host="127.0.0.2") as first, ScriptedMx(host="127.0.0.3", port=first.port) as second:
        assert first.port == second.port
        with socket.create_connection(("127.0.0.3", second.port), timeout=5):
            await second.until(lambda: second.connections == 1)
        assert first.connections == 0


async def test_a_name_server_can_be_changed_while_it_runs() -> None:
    async with ScriptedDns({"a.example": {"A": ["127.0.0.1"]}}) as dns:
        with pytest.raises(ValueError, match="no such failure"):
            dns.fail("a.example", "SULK")
        dns.set("a.example", None)
        dns.set("b.example", {"A": "127.0.0.2"})
    await dns.close()


def test_the_clock_stands_still_until_it_is_turned() -> None:
    clock = VirtualClock()
    now, seconds = clock.now(), clock.monotonic()
    assert now == datetime(2026, 3, 1, 12, tzinfo=UTC)
    clock.advance(90)
    assert (clock.now() - now).total_seconds() == clock.monotonic() - seconds == 90
    with pytest.raises(ValueError, match="go back"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="aware"):
        VirtualClock(datetime(2026, 1, 1))


def test_virtual_seconds_are_exact_wherever_the_real_clock_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 32722.185783505)
    clock = VirtualClock()
    seconds = clock.monotonic()
    clock.advance(90)
    assert clock.monotonic() - seconds == 90
    assert abs(seconds - 32722.185783505) < 0.001


def test_builders_are_pure_and_fill_in_what_is_not_said() -> None:
    assert delivery() == delivery()
    assert delivery("c@example.org").recipient.address == Address("c", "example.org")
    assert delivery(envelope=envelope(["c@example.org"], reverse_path=None)).reverse_path is None
    assert delivery("d@example.org", envelope=envelope(["c@example.org"])).recipient.address.local_part == "d"
    assert [copy.id for copy in deliveries("a@example.org", "b@example.org")] == ["d1", "d2"]
    assert envelope([recipient("c@example.org", merge_vars={"name": "C"})]).recipients[0].merge_vars["name"] == "C"
    assert envelope(notes={"x": 1}, stream="news").notes["x"] == 1
    assert session(client="192.0.2.1").client == "192.0.2.1"
    assert route(next_hop="127.0.0.1", port=2525, tls=Tls.OFF).port == 2525
    assert result(Outcome.DEFERRED).reply == reply("451 4.0.0 later")
    assert account().domains == {"example.com"}
    assert event(data={"url": "x"}).data["url"] == "x"


def test_a_message_is_built_from_text_octets_or_fields() -> None:
    assert message("Subject: a\n\nb\n") == Message(b"Subject: a\r\n", b"b\r\n")
    assert message(b"Subject: a\n").raw == Message.parse(b"Subject: a\n").raw
    built = message(fields={"Subject": "Hi", "Date": None, "X-New": "1"}, body="a\nb\n")
    assert [field.name for field in built.fields] == ["From", "To", "Subject", "Message-ID", "X-New"]
    assert (built.first("subject"), built.body) == ("Hi", b"a\r\nb\r\n")


class Sum(Question[int]):
    @property
    def default(self) -> int:
        return 0


async def test_the_recording_mta_keeps_what_a_plugin_told_it() -> None:
    async def answer(question: Sum) -> int:
        return 42

    mta = RecordingMta(accounts=[account("acme")], outcome=Outcome.FAILED)
    facade: Mta = mta
    told: Event = event()
    facade.emit(told)
    results = await facade.submit(session(), envelope(["a@example.org", "b@example.org"]), message())
    assert [each.outcome for each in results] == [Outcome.FAILED] * 2
    assert (mta.events, len(mta.submitted)) == ([told], 1)
    assert await facade.ask(Sum()) == 0
    assert await RecordingMta(answers={Sum: answer}).ask(Sum()) == 42
    assert list(await facade.resolver.mx("example.com")) == []
    assert list(await facade.resolver.addresses("a")) == list(await facade.resolver.txt("a")) == []
    assert facade.accounts["acme"].name == "acme"


async def test_the_examples_in_the_docs_pass(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "testing.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile("\n".join(blocks), str(page), "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert len(tests) >= 5
    for test in tests:
        done = test(tmp_path) if "tmp_path" in signature(test).parameters else test()
        if isawaitable(done):
            await done


async def test_leaving_does_not_wait_for_a_handshake_that_never_comes(tmp_path: Path) -> None:
    context = server_context(*self_signed("localhost", tmp_path))
    async with asyncio.timeout(3):
        async with ScriptedMx(tls=context, implicit_tls=True) as mx:
            _, writer = await asyncio.open_connection(mx.host, mx.port)
            await asyncio.sleep(0.05)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
