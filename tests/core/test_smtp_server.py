"""The door for clients, on real sockets, with a reception that does what the test wants."""

import asyncio
import base64
import logging
import os
import smtplib
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from mtaframe.clock import SystemClock
from mtaframe.guard import Guard
from mtaframe.reply import Reply
from mtaframe.settings import ClientSettings, ListenerSettings
from mtaframe.smtp_server import SmtpServer
from mtaframe.smtp_server.commands import Command, parse_line, parse_mail, parse_rcpt
from mtaframe.smtp_server.offer import Offer
from mtaframe.testing import VirtualClock, self_signed
from tests.scripted_reception import FAIL, HANG, NOTHING, ScriptedReception, connected

NULL = base64.b64encode(b"\0shop\0secret").decode()


class Client:
    """A client that says lines and reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, server: SmtpServer, which: int = 0, **options: Any) -> "Client":
        address = server.addresses[which]
        if address.startswith("/"):
            return cls(*await asyncio.open_unix_connection(address, **options))
        host, _, port = address.rpartition(":")
        return cls(*await asyncio.open_connection(host.strip("[]"), int(port), **options))

    async def reply(self) -> str:
        """One reply; the last line of one that has several."""
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), 5)).decode()
            if line[3:4] != "-":
                return line.removesuffix("\r\n")

    async def says(self, *lines: str) -> str:
        """Sends the lines in one write; the reply to the last one."""
        self.send("".join(f"{line}\r\n" for line in lines))
        for _ in lines:
            reply = await self.reply()
        return reply

    def send(self, text: str | bytes) -> None:
        self.writer.write(text if isinstance(text, bytes) else text.encode())

    async def up_to_data(self, *recipients: str, hello: str = "EHLO") -> None:
        rcpts = [f"RCPT TO:<{r}>" for r in recipients or ("b@example.net",)]
        assert (await self.reply())[:3] == "220"
        assert (await self.says(f"{hello} client", "MAIL FROM:<a@example.org>", *rcpts, "DATA"))[:3] == "354"

    async def is_closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(), 8) == b""

    async def secure(self) -> None:
        await self.writer.start_tls(trusting())

    def reset(self) -> None:
        """Ends the connection with a TCP RST."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Door:
    """Servers of one test, with their reception."""

    def __init__(self) -> None:
        self.reception = ScriptedReception()
        self.terms = ClientSettings()
        self.servers: list[SmtpServer] = []
        self.clients: list[Client] = []

    async def open(self, clock: Any = None, **settings: Any) -> SmtpServer:
        clock = clock or SystemClock()
        guard = Guard(clock, settings=self.terms)
        server = SmtpServer(listener(**settings), self.reception, clock, "mx.example.org", guard=guard)
        await server.start()
        self.servers.append(server)
        return server

    async def client(self, server: SmtpServer, which: int = 0, **options: Any) -> Client:
        self.clients.append(await Client.to(server, which, **options))
        return self.clients[-1]

    async def settled(self) -> list[str]:
        """What the transactions were told, once nobody is connected."""
        await until(lambda: not any(server.connections for server in self.servers))
        return [told for transaction in self.reception.transactions for told in transaction.settled]


def listener(**settings: Any) -> ListenerSettings:
    return ListenerSettings.model_validate({"name": "test", "kind": "mta", "addresses": ["127.0.0.1:0"], **settings})


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    yield door
    for client in door.clients:
        await client.close()
    for server in door.servers:
        await server.close()


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, str]:
    certificate, key = self_signed("mx.example.org", tmp_path)
    return {"certificate": str(certificate), "key": str(key)}


# messages


@pytest.mark.parametrize("chunk", [1000, 65_537, 3_000_000])
async def test_a_big_message_comes_whole_whatever_its_chunks(door: Door, chunk: int) -> None:
    client = await door.client(await door.open())
    await client.up_to_data()
    message = (b"x" * 70 + b"\r\n" + b"." * 5 + b"\r\n.\r\n") * 30_000
    wire = message.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    for start in range(0, len(wire), chunk):
        client.send(wire[start : start + chunk])
        await client.writer.drain()
    assert await client.reply() == "250 2.0.0 delivered"
    assert door.reception.messages == [message]


async def test_a_big_message_that_comes_before_it_is_asked_for(door: Door) -> None:
    """A client that does not wait for 354, while we are busy with RCPT."""
    door.reception.rcpt_answers["b@example.net"] = HANG
    client = await door.client(await door.open())
    await client.reply()
    message = b"x\r\n" * 300_000
    client.send(b"EHLO client\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n" + message + b".\r\n")
    await asyncio.sleep(0.1)
    door.reception.go_on.set()
    assert [(await client.reply())[:3] for _ in range(5)] == ["250", "250", "250", "354", "250"]
    assert door.reception.messages == [message]


async def test_a_client_that_goes_behind_a_big_message_is_noticed(door: Door) -> None:
    door.reception.dot_answers.append(HANG)
    client = await door.client(await door.open())
    await client.up_to_data()
    client.send(b"x\r\n" * 500_000 + b".\r\n")
    await asyncio.wait_for(door.reception.completing.wait(), 5)
    client.writer.close()
    assert await door.settled() == ["unproven"]


async def test_too_big_a_message_is_swallowed_within_the_limit(door: Door) -> None:
    server = await door.open(max_size="100 KB")
    client = await door.client(server)
    await client.up_to_data()
    [conversation] = server._connections
    most = 0
    for _ in range(100):
        client.send(b"." * 50_000 + b"\r\n")
        await client.writer.drain()
        await asyncio.sleep(0)
        most = max(most, len(conversation.framing.input))
    client.send(b".\r\n")
    assert await client.reply() == "552 5.3.4 the message is too big"
    assert most < 400_000  # the limit, and what one read may bring
    assert await client.says("NOOP") == "250 2.0.0 ok"
    assert door.reception.messages == []


async def test_the_limit_is_exact_and_stuffing_does_not_count(door: Door) -> None:
    client = await door.client(await door.open(max_size="12 B"))
    assert (await client.reply())[:3] == "220"
    await client.says("EHLO client")
    for message, code in [(b"1234567890\r\n", "250"), (b"12345678901\r\n", "552"), (b".\r\n.\r\n.\r\n.\r\n", "250")]:
        await client.says("MAIL FROM:<>", "RCPT TO:<b@example.net>", "DATA")
        client.send(b"".join(b"." * line.startswith(b".") + line for line in message.splitlines(True)) + b".\r\n")
        assert (await client.reply())[:3] == code


@given(body=st.binary(max_size=60).map(lambda raw: raw.replace(b"\n", b"").replace(b"\0", b"")), cut=st.integers(0, 80))
def test_any_stuffed_message_comes_back_as_it_was(body: bytes, cut: int) -> None:
    """Bytes of all kinds, full of dots and line ends, cut in two anywhere."""
    message = body.replace(b"\r", b"\r\n").replace(b"a", b"\r\n.") + b"\r\n"

    async def run() -> list[bytes]:
        reception = ScriptedReception()
        server = SmtpServer(listener(), reception, SystemClock(), "mx.example.org")
        await server.start()
        client = await Client.to(server)
        await client.up_to_data()
        wire = (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
        client.send(wire[:cut])
        await asyncio.sleep(0)
        client.send(wire[cut:])
        await client.reply()
        await client.close()
        await server.close()
        return reception.messages

    assert asyncio.run(run()) == [message]


# time


async def test_a_silent_client_is_dismissed(door: Door) -> None:
    client = await door.client(await door.open(idle_timeout="200ms"))
    assert (await client.reply())[:3] == "220"
    assert await client.reply() == "421 4.4.2 silent for too long"
    assert await client.is_closed()


async def test_a_slow_message_is_not_silence(door: Door) -> None:
    client = await door.client(await door.open(idle_timeout="300ms"))
    await client.up_to_data()
    for _ in range(6):
        client.send("x" * 500)
        await asyncio.sleep(0.1)
    client.send("\r\n.\r\n")
    assert (await client.reply())[:3] == "250"


async def test_a_trickle_of_a_message_ends(door: Door) -> None:
    """Never silent for the idle timeout, and yet it would keep its connection for ever."""
    client = await door.client(await door.open(idle_timeout="300ms"))
    await client.up_to_data()
    begun = asyncio.get_running_loop().time()

    async def trickle() -> None:
        while True:
            client.send("x\r\n")
            await asyncio.sleep(0.02)

    trickling = asyncio.create_task(trickle())
    assert await client.reply() == "421 4.4.2 silent for too long"
    trickling.cancel()
    assert 0.25 < asyncio.get_running_loop().time() - begun < 1
    assert door.reception.messages == []


async def test_a_trickle_of_a_command_is_silence(door: Door) -> None:
    client = await door.client(await door.open(idle_timeout="300ms"))
    await client.reply()
    for _ in range(5):
        client.send("x")
        await asyncio.sleep(0.05)
    assert await client.reply() == "421 4.4.2 silent for too long"


async def test_our_own_waiting_is_not_the_clients_silence(door: Door) -> None:
    door.reception.dot_answers.append(HANG)
    client = await door.client(await door.open(idle_timeout="150ms"))
    await client.up_to_data()
    client.send("hi\r\n.\r\n")
    await asyncio.sleep(0.5)
    door.reception.go_on.set()
    assert (await client.reply())[:3] == "250"


# answers


async def test_lmtp_replies_are_written_as_they_come(door: Door) -> None:
    door.reception.dot_answers += [Reply(250, "2.0.0", "first"), HANG]
    client = await door.client(await door.open(kind="lmtp"))
    await client.up_to_data("b@example.net", "c@example.net", hello="LHLO")
    client.send("hi\r\n.\r\n")
    assert await client.reply() == "250 2.0.0 first"
    door.reception.go_on.set()
    assert (await client.reply())[:3] == "250"


@pytest.mark.parametrize("how", ["close", "reset", "unix", "tls"])
async def test_a_client_that_goes_while_it_waits_cancels(
    door: Door, how: str, tmp_path: Path, pair: dict[str, str]
) -> None:
    door.reception.dot_answers.append(HANG)
    addresses = [str(tmp_path / "smtp.sock")] if how == "unix" else ["127.0.0.1:0"]
    server = await door.open(addresses=addresses, **({"tls": "implicit", **pair} if how == "tls" else {}))
    client = await door.client(server, **({"ssl": trusting()} if how == "tls" else {}))
    await client.up_to_data()
    client.send("hi\r\n.\r\nQUIT\r\n")  # what was pipelined is no proof
    await door.reception.completing.wait()
    await asyncio.sleep(0.02)
    client.reset() if how == "reset" else client.writer.close()
    assert await door.settled() == ["unproven"]
    assert door.reception.transactions[0].was_cancelled


async def test_every_transaction_is_settled_once(door: Door) -> None:
    server = await door.open()
    client = await door.client(server)
    await client.up_to_data()
    assert (await client.says("hi\r\n."))[:3] == "250"
    [transaction] = door.reception.transactions
    assert transaction.settled == []
    client.send("NO")
    await asyncio.sleep(0.02)
    assert transaction.settled == []  # half a line proves nothing
    assert (await client.says("OP"))[:3] == "250"
    assert transaction.settled == ["proven"]
    assert (await client.says("RSET"))[:3] == "250"
    assert (await client.says("MAIL FROM:<>", "RCPT TO:<b@example.net>", "DATA"))[:3] == "354"
    assert (await client.says("hi\r\n."))[:3] == "250"
    client.reset()
    assert await door.settled() == ["proven", "unproven"]


async def test_a_last_command_counts_though_the_connection_breaks_at_once(door: Door) -> None:
    server = await door.open()
    client = await door.client(server)
    await client.up_to_data()
    assert (await client.says("hi\r\n."))[:3] == "250"
    client.send("QUIT\r\n")
    client.writer.close()
    assert await door.settled() == ["proven"]


@pytest.mark.parametrize("where", ["tcp", "unix", "tls"])
async def test_closing_in_order_with_nothing_unread_is_proof(
    door: Door, where: str, tmp_path: Path, pair: dict[str, str]
) -> None:
    """Postfix closes a connection that it has cached without QUIT."""
    addresses = [str(tmp_path / "smtp.sock")] if where == "unix" else ["127.0.0.1:0"]
    server = await door.open(addresses=addresses, **({"tls": "implicit", **pair} if where == "tls" else {}))
    client = await door.client(server, **({"ssl": trusting()} if where == "tls" else {}))
    await client.up_to_data()
    assert (await client.says("hi\r\n."))[:3] == "250"
    client.writer.close()
    assert await door.settled() == ["proven"]


@pytest.mark.parametrize("where", ["tcp", "unix"])
@pytest.mark.parametrize("quits", ["", "QUIT\r\n"])
async def test_closing_with_the_reply_unread_is_none(door: Door, where: str, quits: str, tmp_path: Path) -> None:
    path = str(tmp_path / "smtp.sock")
    server = await door.open(addresses=[path] if where == "unix" else ["127.0.0.1:0"])

    def talk() -> None:
        with socket.socket(socket.AF_UNIX) if where == "unix" else socket.socket() as client:
            client.connect(path if where == "unix" else _host(server))
            client.settimeout(5)
            client.recv(1000)
            client.sendall(b"HELO client\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
            while b"354" not in client.recv(1000):
                pass
            client.sendall(f"hi\r\n.\r\n{quits}".encode())
            client.recv(1, socket.MSG_PEEK)

    await asyncio.to_thread(talk)
    assert await door.settled() == ["unproven"]


async def test_quit_with_the_dot_and_a_reset_prove_nothing(door: Door) -> None:
    client = await door.client(await door.open())
    await client.up_to_data()
    client.send("hi\r\n.\r\nQUIT\r\n")
    assert (await client.reply())[:3] == "250"
    assert (await client.reply())[:3] == "221"
    client.reset()
    assert await door.settled() == ["unproven"]


async def test_a_message_without_its_end_is_none(door: Door) -> None:
    client = await door.client(await door.open())
    await client.up_to_data()
    client.send("hi\r\n.\r")
    client.writer.close()
    assert await door.settled() == []
    assert door.reception.messages == []


async def test_faults_are_told_to_nobody(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    door.reception.mail_answer = FAIL
    server = await door.open()
    client = await door.client(server)
    await client.reply()
    assert await client.says("EHLO client", "MAIL FROM:<canary@example.org>") == "451 4.3.0 internal error, try again"
    door.reception.connect_answer = FAIL
    second = await door.client(server)
    assert await second.reply() == "421 4.3.0 internal error, try again"
    assert [r.name for r in caplog.records if r.name != "asyncio"] == ["mtaframe.smtp_server"] * 2
    assert not any("private" in r.getMessage() or "canary" in r.getMessage() for r in caplog.records)


# limits


async def test_one_connection_too_many_is_told(door: Door) -> None:
    server = await door.open(max_connections=1)
    first, second = await door.client(server), await door.client(server)
    assert (await first.reply())[:3] == "220"
    assert await second.reply() == "421 4.3.2 too many connections"
    assert await second.is_closed()
    assert len(door.reception.sessions) == 1
    await first.says("QUIT")
    await until(lambda: server.connections == 0)
    assert (await (await door.client(server)).reply())[:3] == "220"


async def test_a_client_that_never_reads_is_not_read_from_either(door: Door) -> None:
    server = await door.open(idle_timeout="1s")
    client = await door.client(server)
    await client.up_to_data()
    [conversation] = server._connections
    client.send("hi\r\n.\r\n" + "HELP\r\n" * 1_000_000)
    for _ in range(40):
        await asyncio.sleep(0.01)
        assert len(conversation.framing.input) < 600_000
        assert conversation.transport is None or conversation.transport.get_write_buffer_size() < 600_000
    await door.settled()


async def test_a_client_that_does_not_read_is_obeyed_no_further(door: Door) -> None:
    """The transport says so when it holds more than it should."""
    server = await door.open()
    client = await door.client(server)
    await client.reply()
    [conversation] = server._connections
    conversation.pause_writing()
    assert (await client.says("NOOP"))[:3] == "250"
    client.send("NOOP\r\n")
    await until(lambda: conversation.framing.input == b"NOOP\r\n")
    await asyncio.sleep(0.05)
    assert conversation.framing.input == b"NOOP\r\n"
    conversation.resume_writing()
    assert (await client.reply())[:3] == "250"


async def test_a_client_that_neither_reads_nor_goes_is_cut_off(door: Door) -> None:
    server = await door.open(idle_timeout="200ms")
    client = await door.client(server, limit=1000)
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.send("HELP\r\n" * 200_000 + "QUIT\r\n")
    await until(lambda: not server.connections)


async def test_lines_may_be_as_long_as_their_command_says(door: Door) -> None:
    client = await door.client(await door.open(auth_without_tls=True))
    await client.reply()
    await client.says("EHLO client")
    assert (await client.says("MAIL FROM:<a@example.org> AUTH=" + "a" * 900))[:3] == "250"
    assert (await client.says("RSET", "MAIL FROM:<a@example.org> AUTH=" + "a" * 1200))[:9] == "500 5.5.6"
    long = "N" * 490
    assert (await client.says("RSET", "MAIL FROM:<>", f"RCPT TO:<b@example.net> ORCPT=rfc822;{long}"))[:3] == "250"
    assert (await client.says(f"RCPT TO:<b@example.net> ORCPT=rfc822;{long * 3}"))[:9] == "500 5.5.6"
    await client.says("RSET")
    assert (await client.says("AUTH PLAIN " + "A" * 8000))[:3] == "535"
    assert (await client.says("AUTH PLAIN " + "A" * 20_000))[:9] == "500 5.5.6"


# who the client is


async def test_the_session_says_what_is_known(door: Door, tmp_path: Path) -> None:
    server = await door.open(addresses=["127.0.0.1:0", "[::1]:0", str(tmp_path / "smtp.sock")], trusted=["::1/128"])
    assert [a.rpartition(":")[0] for a in server.addresses[:2]] == ["127.0.0.1", "[::1]"]
    known = []
    for which in range(3):
        client = await door.client(server, which)
        await client.reply()
        await client.says(("HELO", "EHLO", "EHLO")[which] + " client", "MAIL FROM:<>")
        session = door.reception.sessions[-1]
        known.append((session.client, session.trusted, session.protocol))
        assert (session.ehlo, session.tls, session.listener, len(session.id)) == ("client", None, "test", 16)
        assert session.notes["seen"]  # what on_connect changed is kept
    assert known == [("127.0.0.1", False, "SMTP"), ("::1", True, "ESMTP"), ("", True, "ESMTP")]
    assert os.stat(tmp_path / "smtp.sock").st_mode & 0o777 == 0o660


async def test_the_protocol_names_of_rfc_3848(door: Door, pair: dict[str, str]) -> None:
    server = await door.open(kind="lmtp", tls="starttls", auth_without_tls=True, **pair)
    client = await door.client(server)
    await client.reply()
    seen = []
    for lines in (["LHLO x"], ["STARTTLS"], ["LHLO x"], ["RSET", f"AUTH PLAIN {NULL}"]):
        reply = await client.says(*lines)
        if reply[:3] == "220":
            await client.secure()
            continue
        await client.says("MAIL FROM:<>", "RSET")
        session = door.reception.sessions[-1]
        seen.append((session.protocol, session.tls, session.account))
    assert seen == [("LMTP", None, None), ("LMTPS", "TLSv1.3", None), ("LMTPSA", "TLSv1.3", "shop")]


async def test_starttls_forgets_who_authenticated_in_clear(door: Door, pair: dict[str, str]) -> None:
    client = await door.client(await door.open(tls="starttls", auth_without_tls=True, **pair))
    await client.reply()
    assert (await client.says("EHLO client", f"AUTH PLAIN {NULL}"))[:3] == "235"
    assert (await client.says("STARTTLS"))[:3] == "220"
    await client.secure()
    await client.says("EHLO client", "MAIL FROM:<>")
    assert (door.reception.sessions[-1].account, door.reception.sessions[-1].protocol) == (None, "ESMTPS")


# TLS


async def test_implicit_tls(door: Door, pair: dict[str, str]) -> None:
    server = await door.open(tls="implicit", kind="application", **pair)
    client = await door.client(server, ssl=trusting())
    await client.up_to_data()
    assert (await client.says("hi\r\n."))[:3] == "250"
    assert (await client.says("RSET", f"AUTH PLAIN {NULL}"))[:3] == "235"
    assert (await client.says("QUIT"))[:3] == "221"
    assert await client.is_closed()
    assert await door.settled() == ["proven"]
    assert door.reception.sessions[-1].protocol == "ESMTPS"


async def test_tls_before_1_2_is_refused(door: Door, pair: dict[str, str]) -> None:
    server = await door.open(tls="implicit", **pair)
    context = trusting()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await Client.to(server, ssl=context)


@pytest.mark.parametrize("how", ["implicit", "starttls"])
@pytest.mark.parametrize("what", ["garbage", "close", "hang"])
async def test_a_handshake_that_fails_leaves_nothing_behind(
    door: Door, pair: dict[str, str], how: str, what: str
) -> None:
    server = await door.open(tls=how, **pair)
    client = await door.client(server)
    if how == "starttls":
        await client.reply()
        await client.says("EHLO client", "STARTTLS")
    if what == "garbage":
        client.send("EHLO client\r\n" * 100)
    elif what == "close":
        client.send(b"\x16\x03\x01\x02\x00")
        client.writer.close()
    if what != "hang":
        await until(lambda: not server.connections)
    await asyncio.wait_for(server.close(), 3)


async def test_a_renewed_certificate_is_shown_and_a_broken_one_is_not(
    door: Door, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock()
    certificate, key = self_signed("one.example.org", tmp_path)
    server = await door.open(clock, tls="implicit", certificate=str(certificate), key=str(key))

    async def shown() -> bytes:
        client = await door.client(server, ssl=trusting())
        assert (await client.reply())[:3] == "220"
        return client.writer.get_extra_info("ssl_object").getpeercert(True)

    first = await shown()
    new = self_signed("two.example.org", tmp_path)
    os.replace(new[0], certificate)
    clock.advance(2)
    assert await shown() == first  # certificate without its key yet
    assert [r.levelname for r in caplog.records if r.name == "mtaframe.entrance"] == ["ERROR"]
    os.replace(new[1], key)
    assert await shown() == first  # looked at a moment ago
    clock.advance(2)
    second = await shown()
    assert second != first
    certificate.unlink()
    clock.advance(2)
    assert await shown() == second


def test_tls_under_uvloop(pair: dict[str, str]) -> None:
    async def run(how: str) -> list[str]:
        reception = ScriptedReception()
        server = SmtpServer(listener(tls=how, **pair), reception, SystemClock(), "mx.example.org")
        await server.start()
        client = await Client.to(server, **({"ssl": trusting()} if how == "implicit" else {}))
        if how == "starttls":
            await client.reply()
            await client.says("EHLO client", "STARTTLS")
            await client.secure()
            await client.says("EHLO client")
            assert (await client.says("MAIL FROM:<>", "RCPT TO:<b@example.net>", "DATA"))[:3] == "354"
        else:
            await client.up_to_data()
        client.send("hi\r\n.\r\nQUIT\r\n")
        assert [(await client.reply())[:3], (await client.reply())[:3]] == ["250", "221"]
        await client.close()
        await until(lambda: not server.connections)
        await server.close()
        return reception.transactions[0].settled

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert [runner.run(run(how)) for how in ("starttls", "implicit")] == [["proven"], ["proven"]]


# reload and stop


async def test_new_settings_hold_from_the_next_transaction_on(door: Door) -> None:
    server = await door.open()
    client = await door.client(server)
    await client.up_to_data()
    server.adopt(listener(max_size="3 B", idle_timeout="9s"))
    assert (await client.says("longer\r\n."))[:3] == "250"
    assert (await client.says("MAIL FROM:<> SIZE=4"))[:3] == "552"
    assert (await client.says("MAIL FROM:<>", "RCPT TO:<b@example.net>", "DATA"))[:3] == "354"
    assert (await client.says("longer\r\n."))[:3] == "552"


async def test_a_broken_certificate_is_not_adopted(door: Door, pair: dict[str, str]) -> None:
    server = await door.open(tls="starttls", **pair)
    before = server.settings
    with pytest.raises(OSError, match=r".*"):
        server.adopt(listener(tls="starttls", certificate="/nowhere", key=pair["key"]))
    assert server.settings is before


async def test_drain_ends_idle_sessions_and_lets_the_others_finish(door: Door) -> None:
    door.reception.dot_answers.append(HANG)
    server = await door.open()
    idle, busy = await door.client(server), await door.client(server)
    assert (await idle.reply())[:3] == "220"
    assert (await idle.says("EHLO client", "MAIL FROM:<>", "RSET"))[:3] == "250"
    await busy.up_to_data()
    busy.send("hi\r\n.\r\n")
    await door.reception.completing.wait()
    draining = asyncio.create_task(server.drain(5))
    assert await idle.reply() == "421 4.3.2 the service is stopping"
    assert await idle.is_closed()
    with pytest.raises(ConnectionRefusedError):
        await Client.to(server)
    assert not draining.done()
    door.reception.go_on.set()
    assert (await busy.reply())[:3] == "250"
    assert (await busy.says("MAIL FROM:<>")) == "421 4.3.2 the service is stopping"
    await asyncio.wait_for(draining, 2)
    assert await door.settled() == ["proven"]


async def test_who_has_just_come_when_the_server_stops_may_send_one_message(door: Door) -> None:
    """A refused session is what makes an upstream suspend its next hop."""
    server = await door.open()
    client = await door.client(server)
    assert (await client.reply())[:3] == "220"
    draining = asyncio.create_task(server.drain(5))
    await asyncio.sleep(0.2)
    assert (await client.says("EHLO client", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA"))[
        :3
    ] == "354"
    assert (await client.says("hi\r\n."))[:3] == "250"
    assert await client.says("MAIL FROM:<a@example.org>") == "421 4.3.2 the service is stopping"
    await asyncio.wait_for(draining, 2)


async def test_drain_takes_no_longer_than_it_may(door: Door) -> None:
    door.reception.dot_answers.append(HANG)
    server = await door.open()
    client = await door.client(server)
    await client.up_to_data()
    client.send("hi\r\n.\r\n")
    await door.reception.completing.wait()
    await asyncio.wait_for(server.drain(0.2), 1)
    assert server.connections == 1
    await server.close()
    assert door.reception.transactions[0].was_cancelled
    assert door.reception.transactions[0].settled == ["unproven"]


async def test_sockets_given_are_used_and_unix_sockets_of_the_dead_replaced(door: Door, tmp_path: Path) -> None:
    path = tmp_path / "lmtp.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = await door.open(addresses=[str(path)], kind="lmtp", socket_mode="0600")
    assert (await (await door.client(server)).reply())[:8] == "220 mx.e"
    assert path.stat().st_mode & 0o777 == 0o600
    given = socket.create_server(("127.0.0.1", 0))
    second = SmtpServer(listener(), door.reception, SystemClock(), "mx.example.org")
    door.servers.append(second)
    await second.start([given])
    assert second.addresses == (f"127.0.0.1:{given.getsockname()[1]}",)
    assert (await (await door.client(second)).reply())[:3] == "220"
    await server.close()
    assert not path.exists()


# other people's clients


async def test_smtplib(door: Door, pair: dict[str, str]) -> None:
    server = await door.open(kind="application", tls="starttls", **pair)

    def send() -> dict[str, Any]:
        with smtplib.SMTP(*_host(server), timeout=10) as client:
            client.starttls(context=trusting())
            client.login("shop", "secret")
            text = "Subject: hi\r\n\r\n.line\r\nGrüße\r\n"
            return client.sendmail(
                "a@example.org", ["b@example.net", "c@example.net"], text.encode(), ["BODY=8BITMIME"]
            )

    assert await asyncio.to_thread(send) == {}
    assert door.reception.messages == ["Subject: hi\r\n\r\n.line\r\nGrüße\r\n".encode()]
    assert await door.settled() == ["proven"]
    assert door.reception.sessions[-1].protocol == "ESMTPSA"


async def test_smtplib_lmtp(door: Door, tmp_path: Path) -> None:
    server = await door.open(kind="lmtp", addresses=[str(tmp_path / "lmtp.sock")])

    def send() -> list[tuple[int, bytes]]:
        with smtplib.LMTP(server.addresses[0]) as client:
            client.ehlo()
            return [client.mail("a@example.org"), client.rcpt("b@example.net"), client.data("hi\r\n")]

    assert [code for code, _ in await asyncio.to_thread(send)] == [250, 250, 250]


async def test_swaks(door: Door, program: Callable[[str], Path]) -> None:
    swaks = program("swaks")
    server = await door.open(kind="application", auth_without_tls=True)
    host, port = _host(server)
    command = [str(swaks), "--server", host, "--port", str(port), "--auth", "LOGIN", "--auth-user", "shop"]
    command += ["--auth-password", "secret", "--from", "a@example.org", "--to", "b@example.net", "--pipeline"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(door.reception.messages) == 1
    assert await door.settled() == ["proven"]


async def test_a_plain_socket_that_talks_before_the_banner(door: Door) -> None:
    server = await door.open()

    def talk() -> bytes:
        with connected(server.addresses[0]) as client:
            client.sendall(b"EHLO client\r\nQUIT\r\n")
            return b"".join(iter(lambda: client.recv(4096), b""))

    said = await asyncio.to_thread(talk)
    assert said.startswith(b"220 ")
    assert said.endswith(b"221 2.0.0 bye\r\n")


def _host(server: SmtpServer) -> tuple[str, int]:
    host, _, port = server.addresses[0].rpartition(":")
    return host, int(port)


# command lines

ALL = Offer(10, auth=True, dsn=True, prdr=True)


@given(st.binary(max_size=100) | st.text(max_size=60).map(str.encode))
def test_any_line_is_a_command_or_refused(line: bytes) -> None:
    command = parse_line(line)
    assert isinstance(command, Command | Reply)
    if isinstance(command, Command):
        text = command.argument
        for parsed in (
            parse_mail(f"FROM:{text}", ALL.mail_parameters, 10),
            parse_rcpt(f"TO:{text}", ALL.rcpt_parameters, smtputf8=True),
        ):
            assert not isinstance(parsed, Reply) or parsed.is_permanent


def test_a_hostile_path_takes_no_time() -> None:
    for text in ("<" + '"' * 900, "<" + '"\\' * 450, "<@" + "a,@" * 300, "<" + "a" * 900):
        assert isinstance(parse_rcpt(f"TO:{text}", (), smtputf8=False), Reply)


@pytest.mark.parametrize("fault", [FAIL, NOTHING])
async def test_a_client_that_was_told_other_than_reception_meant_has_read_no_answer_of_it(
    door: Door, fault: str
) -> None:
    """The first was delivered; forgotten as proven, it would be delivered again with each repeat of the second."""
    server = await door.open(kind="lmtp")
    client = await door.client(server)
    door.reception.dot_answers = [Reply(250, "2.0.0", "delivered"), fault]
    await client.up_to_data("b@example.net", "c@example.net", hello="LHLO")
    assert (await client.says("hi\r\n."))[:3] == "250"
    assert (await client.reply())[:3] == "451"
    assert (await client.says("NOOP"))[:3] == "250"
    assert door.reception.transactions[0].settled == ["unproven"]
