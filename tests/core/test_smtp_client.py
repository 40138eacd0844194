"""One transaction and what becomes of it: every row of the policy in docs/delivery.md, on real sockets."""

import asyncio
import logging
from typing import Any

import pytest

from mtaframe import Address, Attempt, Limits, Outcome, Source
from mtaframe.testing import DROP, HANG, RESET, ScriptedMx, deliveries, message, route
from tests.core.sending import raw_server, sender

DELIVERED, DEFERRED, FAILED = Outcome.DELIVERED, Outcome.DEFERRED, Outcome.FAILED
THREE = ("a@example.net", "b@example.net", "c@example.net")


def outcomes(results: Any) -> list[Outcome]:
    return [result.outcome for result in results]


async def test_a_message_arrives_octet_for_octet_and_the_result_tells_all() -> None:
    mail = message("From: a@example.com\nSubject: dots\n\n.\n..\n.x\nlast\n")
    async with ScriptedMx() as mx, sender() as out:
        mx.script("dot", "250 2.6.0 queued as 4711")
        way = out.to(mx)
        (result,) = await out.send(way, mail=mail)
    assert mx.received[0].raw == mail.raw
    assert (mx.received[0].reverse_path, mx.received[0].recipients) == ("alice@example.com", ["bob@example.net"])
    assert mx.received[0].ehlo == "mta.example.com"
    assert (result.outcome, result.reply.line) == (DELIVERED, "250 2.6.0 queued as 4711")
    assert (result.by, result.remote, result.route) == ("smtp", "127.0.0.1", way)
    assert result.began is not None
    assert 0 < result.took < 10
    assert f"SIZE={mail.size}" in mx.received[0].mail_parameters
    assert not mx.faults


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("size", [0, 1, 60_000, 100_000, 3_000_000])
async def test_messages_of_any_size_pass_with_and_without_pipelining(pipelining: bool, size: int) -> None:
    mail = message("Subject: x\n\n" + ("." + "x" * 58 + "\n") * (size // 60) + "y" * (size % 60))
    async with ScriptedMx(extensions=("PIPELINING",) if pipelining else ()) as mx, sender() as out:
        assert outcomes(await out.send(out.to(mx), *THREE, mail=mail)) == [DELIVERED] * 3
        assert outcomes(await out.send(out.to(mx), mail=mail)) == [DELIVERED]
    ending = b"" if mail.raw.endswith(b"\r\n") else b"\r\n"
    assert [received.raw for received in mx.received] == [mail.raw + ending] * 2
    assert mx.connections == 1
    assert not mx.faults


async def test_a_dot_behind_a_bare_line_feed_does_not_end_the_message() -> None:
    mail = message(b"Subject: x\r\n\r\nhello\n.\r\nMAIL FROM:<evil@example.com>\r\n")
    async with ScriptedMx() as mx, sender() as out:
        await out.send(out.to(mx), mail=mail)
    assert b"\n..\r\nMAIL" in mx.received[0].raw


async def test_the_null_reverse_path_is_empty_brackets() -> None:
    async with ScriptedMx() as mx, sender() as out:
        await out.send(out.to(mx), reverse_path=None)
    assert mx.received[0].reverse_path == ""
    assert any(command.startswith("MAIL FROM:<>") for command in mx.commands)


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize(
    ("said", "outcome", "told"),
    [
        ("450 4.2.0 later", DEFERRED, "450 4.2.0 later"),
        ("550 5.1.1 nobody", FAILED, "550 5.1.1 nobody"),
        ("503 5.5.1 bad sequence", DEFERRED, "451 4.3.5"),
        ("421 4.3.2 closing", DEFERRED, "451 4.3.2 closing"),
    ],
)
@pytest.mark.parametrize("pipelining", [True, False])
async def test_a_refusal_is_told_in_the_servers_words(
    stage: str, said: str, outcome: Outcome, told: str, pipelining: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with ScriptedMx(extensions=("PIPELINING",) if pipelining else ()) as mx, sender() as out:
        mx.script(stage, said)
        (result,) = await out.send(out.to(mx))
        assert (result.outcome, result.remote) == (outcome, "127.0.0.1")
        assert result.reply.line.startswith(told)
        assert out.attempt.dot_sent == (stage == "dot")
        # The connection, or the next one, is in order.
        assert outcomes(await out.send(out.to(mx))) == [DELIVERED]
    assert mx.connections == (2 if said.startswith("421") else 1)
    assert not mx.faults
    alarms = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert alarms == ([f"smtp to 127.0.0.1: refused: reply 503 5.5.1 to {stage}"] if said[:3] == "503" else [])


@pytest.mark.parametrize("stage", ["connect", "ehlo"])
@pytest.mark.parametrize("said", ["554 5.7.1 go away", "421 4.3.2 busy", "450 4.7.1 later"])
async def test_a_refusal_before_mail_says_nothing_of_the_message(stage: str, said: str) -> None:
    async with ScriptedMx() as mx, sender() as out:
        mx.script(stage, said, always=True)
        (result,) = await out.send(out.to(mx))
    assert result.outcome is DEFERRED
    assert result.reply.code in (450, 451)


async def test_helo_is_said_to_a_server_that_knows_no_ehlo() -> None:
    async with ScriptedMx() as mx, sender() as out:
        mx.script("ehlo", "502 5.5.1 what")
        assert outcomes(await out.send(out.to(mx), *THREE)) == [DELIVERED] * 3
    assert mx.received[0].mail_parameters == ""


@pytest.mark.parametrize("trouble", [DROP, RESET, HANG])
@pytest.mark.parametrize("stage", ["connect", "ehlo", "mail", "rcpt", "data", "dot"])
async def test_silence_and_broken_connections_are_deferred(stage: str, trouble: Any) -> None:
    async with ScriptedMx() as mx, sender(dot_timeout="300ms") as out:
        mx.script(stage, trouble, always=True)
        (result,) = await out.send(out.to(mx), patience=0.4)
        assert result.outcome is DEFERRED
        assert result.reply.status == "4.4.2"
        assert out.attempt.dot_sent == (stage == "dot")
        assert ("in doubt" in result.reply.text) == (stage == "dot")
        assert result.took < 2


async def test_a_server_that_stops_reading_holds_us_up_before_the_dot() -> None:
    mail = message("Subject: x\n\n" + ("x" * 70 + "\n") * 300_000)
    async with ScriptedMx(extensions=("PIPELINING",)) as mx, sender() as out:
        mx.script("content", HANG)
        (result,) = await out.send(out.to(mx), mail=mail, patience=0.5)
        assert (result.outcome, result.reply.status, out.attempt.dot_sent) == (DEFERRED, "4.4.2", False)
        # Half a message is no connection for the next one.
        assert outcomes(await out.send(out.to(mx))) == [DELIVERED]
    assert mx.connections == 2


@pytest.mark.parametrize(
    ("said", "outcome", "code"),
    [(b"552 5.2.3 enough", FAILED, 552), (b"452 4.3.1 disk full", DEFERRED, 452), (b"250 2.0.0 taken", DEFERRED, 451)],
)
async def test_an_answer_in_the_middle_of_the_message_ends_it(said: bytes, outcome: Outcome, code: int) -> None:
    mail = message("Subject: x\n\n" + ("x" * 70 + "\n") * 300_000)

    async def impatient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        for answer in (b"250 hi\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(answer)
        await reader.readexactly(100_000)
        writer.write(said + b"\r\n")
        await asyncio.sleep(5)

    async with raw_server(impatient) as port, sender() as out:
        (result,) = await out.send(route(next_hop="127.0.0.1", port=port), mail=mail)
    assert (result.outcome, result.reply.code, out.attempt.dot_sent) == (outcome, code, False)


@pytest.mark.parametrize(
    "octets", [b"hello\r\n", b"2", b"999999\r\n", b"250-" + b"x" * 40_000, b"250-x\r\n" * 9000, b"\xff\xfe\r\n"]
)
async def test_nonsense_is_deferred(octets: bytes) -> None:
    async with ScriptedMx() as mx, sender() as out:
        mx.script("mail", octets, always=True)
        (result,) = await out.send(out.to(mx), patience=0.5)
    assert (result.outcome, result.reply.code) == (DEFERRED, 451)


async def test_354_although_nobody_was_accepted_is_ended_by_an_empty_message() -> None:
    heard = bytearray()

    async def keen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        await reader.readline()
        writer.write(b"250-hi\r\n250 PIPELINING\r\n")
        for _ in range(2):
            for _ in range(3):
                heard.extend(await reader.readline())
            writer.write(b"250 ok\r\n550 5.1.1 nobody\r\n354 go\r\n")
            heard.extend(await reader.readuntil(b".\r\n"))
            writer.write(b"554 no recipients\r\n")
        heard.extend(await reader.readline())
        writer.write(b"221 bye\r\n")

    async with raw_server(keen) as port, sender() as out:
        for _ in range(2):
            (result,) = await out.send(route(next_hop="127.0.0.1", port=port))
            assert (result.outcome, result.reply.line) == (FAILED, "550 5.1.1 nobody")
            assert not out.attempt.dot_sent
    assert heard.count(b"DATA\r\n.\r\n") == 2
    assert heard.endswith(b"QUIT\r\n")


@pytest.mark.parametrize("pipelining", [True, False])
async def test_recipients_are_judged_one_by_one(pipelining: bool) -> None:
    async with ScriptedMx(extensions=("PIPELINING",) if pipelining else ()) as mx, sender() as out:
        mx.script("rcpt", "550 5.1.1 nobody", to=THREE[0])
        mx.script("rcpt", "450 4.2.1 greylisted", to=THREE[1])
        results = await out.send(out.to(mx), *THREE)
    assert outcomes(results) == [FAILED, DEFERRED, DELIVERED]
    assert [result.reply.code for result in results] == [550, 450, 250]
    assert mx.received[0].recipients == [THREE[2]]
    assert not mx.faults


@pytest.mark.parametrize("said", ["452 4.5.3 too many", "452 too many", "552 5.5.3 too many", "552 too many"])
async def test_too_many_recipients_go_in_the_next_transaction(said: str) -> None:
    async with ScriptedMx() as mx, sender() as out:
        mx.script("rcpt", said, to=THREE[1])
        mx.script("rcpt", said, to=THREE[2])
        assert outcomes(await out.send(out.to(mx), *THREE)) == [DELIVERED] * 3
    assert [received.recipients for received in mx.received] == [[THREE[0]], [THREE[1], THREE[2]]]
    assert mx.connections == 1


@pytest.mark.parametrize(("said", "outcome"), [("452 4.2.2 full", DEFERRED), ("552 5.2.2 full", FAILED)])
async def test_a_full_mailbox_is_not_too_many(said: str, outcome: Outcome) -> None:
    async with ScriptedMx() as mx, sender() as out:
        mx.script("rcpt", said, to=THREE[1])
        assert outcomes(await out.send(out.to(mx), *THREE)) == [DELIVERED, outcome, DELIVERED]
    assert mx.messages == 1


async def test_too_many_for_the_very_first_recipient_is_no_endless_loop() -> None:
    async with ScriptedMx() as mx, sender() as out:
        mx.script("rcpt", "452 4.5.3 too many", always=True)
        assert outcomes(await out.send(out.to(mx), *THREE)) == [DEFERRED] * 3
    assert len([command for command in mx.commands if command.startswith("MAIL")]) == 1


async def test_a_transaction_carries_no_more_recipients_than_the_route_allows() -> None:
    recipients = [f"r{number}@example.net" for number in range(7)]
    async with ScriptedMx() as mx, sender() as out:
        assert outcomes(await out.send(out.to(mx, limits=Limits(recipients=3)), *recipients)) == [DELIVERED] * 7
    assert [len(received.recipients) for received in mx.received] == [3, 3, 1]


async def test_what_can_never_pass_is_not_even_begun() -> None:
    async with ScriptedMx(extensions=("SIZE 100",)) as mx, sender() as out:
        (result,) = await out.send(out.to(mx))
        assert (result.outcome, result.reply.code, result.reply.status) == (FAILED, 552, "5.3.4")
    assert not [command for command in mx.commands if command.startswith("MAIL")]


async def test_an_address_that_no_command_can_carry_fails_alone() -> None:
    bad = Address("x> NOTIFY=NEVER\r\nRCPT TO:<y", "example.net")
    async with ScriptedMx() as mx, sender() as out:
        results = await out.send(out.to(mx), bad, "bob@example.net")  # type: ignore[arg-type]
    assert outcomes(results) == [FAILED, DELIVERED]
    assert results[0].reply.status == "5.1.3"
    assert mx.received[0].recipients == ["bob@example.net"]


async def test_8bitmime_is_said_only_for_eight_bit_octets() -> None:
    async with ScriptedMx() as mx, sender() as out:
        await out.send(out.to(mx))
        await out.send(out.to(mx), mail=message(body="grüß\n"))
    assert ["BODY" in received.mail_parameters for received in mx.received] == [False, True]
    assert not mx.faults


async def test_smtputf8_is_said_only_where_it_is_needed() -> None:
    async with ScriptedMx() as mx, sender() as out:
        assert outcomes(await out.send(out.to(mx), "bob@bücher.example")) == [DELIVERED]
        assert outcomes(await out.send(out.to(mx), "jürgen@bücher.example")) == [DELIVERED]
    assert mx.received[0].recipients == ["bob@xn--bcher-kva.example"]
    assert mx.received[1].recipients == ["jürgen@bücher.example"]
    assert ["SMTPUTF8" in received.mail_parameters for received in mx.received] == [False, True]
    assert not mx.faults


async def test_without_smtputf8_only_those_that_need_it_fail() -> None:
    async with ScriptedMx(extensions=("PIPELINING",)) as mx, sender() as out:
        results = await out.send(out.to(mx), "jürgen@example.net", "bob@example.net")
        assert outcomes(results) == [FAILED, DELIVERED]
        assert results[0].reply.status == "5.6.7"
        (result,) = await out.send(out.to(mx), reverse_path=Address.parse("jürgen@example.com"))
        assert (result.outcome, result.reply.status) == (FAILED, "5.6.7")


async def test_lmtp_gives_each_recipient_its_own_answer() -> None:
    async with ScriptedMx(lmtp=True) as mx, sender() as out:
        mx.script("rcpt", "550 5.1.1 nobody", to="x@example.net")
        mx.script("dot", "452 4.2.2 full", to=THREE[1])
        results = await out.send(out.to(mx), THREE[0], "x@example.net", THREE[1], THREE[2])
        assert outcomes(results) == [DELIVERED, FAILED, DEFERRED, DELIVERED]
        assert {result.by for result in results} == {"lmtp"}
        assert outcomes(await out.send(out.to(mx))) == [DELIVERED]
    assert mx.connections == 1
    assert not mx.faults


@pytest.mark.parametrize("trouble", [DROP, HANG])
async def test_lmtp_answers_that_came_stand_when_the_rest_never_comes(trouble: Any) -> None:
    async with ScriptedMx(lmtp=True) as mx, sender(dot_timeout="300ms") as out:
        mx.script("dot", "550 5.2.0 no", to=THREE[0])
        mx.script("dot", trouble, to=THREE[2])
        results = await out.send(out.to(mx), *THREE)
    assert outcomes(results) == [FAILED, DELIVERED, DEFERRED]
    assert "in doubt" in results[2].reply.text


async def test_a_unix_socket_is_a_next_hop(tmp_path: Any) -> None:
    async with ScriptedMx(lmtp=True, unix=str(tmp_path / "lmtp.sock")) as mx, sender() as out:
        (result,) = await out.send(out.to(mx))
        assert (result.outcome, result.remote) == (DELIVERED, "localhost")
        (result,) = await out.send(route(next_hop=str(tmp_path / "none.sock"), transport="lmtp"))
        assert (result.outcome, result.reply.status) == (DEFERRED, "4.4.1")


async def test_a_source_is_where_we_come_from_and_who_we_say_we_are(caplog: pytest.LogCaptureFixture) -> None:
    async with ScriptedMx() as mx, sender() as out:
        source = Source("one", "127.0.0.7", "one.example.com")
        assert outcomes(await out.send(out.to(mx, source=source))) == [DELIVERED]
        assert (mx.received[0].client, mx.received[0].ehlo) == ("127.0.0.7", "one.example.com")
        foreign = Source("two", "192.0.2.7", "two.example.com")
        (result,) = await out.send(out.to(mx, source=foreign))
        assert (result.outcome, result.reply.status) == (DEFERRED, "4.3.5")
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_dot_sent_is_set_when_the_terminator_leaves_and_not_before() -> None:
    async with ScriptedMx() as mx, sender() as out:
        mx.script("data", delay=0.2)
        mx.script("dot", delay=0.2)
        task = asyncio.create_task(out.send(out.to(mx)))
        await mx.until(lambda: "DATA" in mx.commands)
        assert not out.attempt.dot_sent
        await mx.until(lambda: bool(mx.arrived))
        assert out.attempt.dot_sent
        assert not task.done()
        assert outcomes(await task) == [DELIVERED]


async def test_cancelled_before_the_dot_nothing_is_sent_and_the_connection_is_gone() -> None:
    async with ScriptedMx() as mx, sender() as out:
        mx.script("data", delay=5)
        task = asyncio.create_task(out.send(out.to(mx)))
        await mx.until(lambda: "DATA" in mx.commands)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not out.attempt.dot_sent
        await asyncio.sleep(0.05)
        assert outcomes(await out.send(out.to(mx))) == [DELIVERED]
    assert mx.connections == 2
    assert len(mx.arrived) == 1


async def test_after_the_dot_the_deadline_no_longer_counts() -> None:
    async with ScriptedMx() as mx, sender() as out:
        mx.script("dot", delay=0.6)
        (result,) = await out.send(out.to(mx), patience=0.3)
    assert result.outcome is DELIVERED
    assert result.took > 0.5


async def test_nothing_private_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with ScriptedMx() as mx, sender() as out:
        for said in ("501 5.1.7 <canary@example.net> is bad", "550 5.1.1 canary", "451 4.0.0 canary"):
            mx.script("rcpt", said)
            await out.send(out.to(mx), "canary@example.net")
    assert caplog.records
    assert "canary" not in caplog.text


async def test_what_was_called_off_before_its_first_command_is_deferred_and_never_begun() -> None:
    async with ScriptedMx() as mx, sender() as out:
        assert outcomes(await out.send(out.to(mx))) == [DELIVERED]
        asked = []

        async def may_begin() -> bool:
            asked.append(mx.messages)
            return False

        attempt = Attempt(asyncio.get_running_loop().time() + 5, may_begin)
        (result,) = await out.client.deliver(deliveries("bob@example.net"), out.to(mx), attempt)
        assert (result.outcome, result.reply.line[:9]) == (DEFERRED, "451 4.3.2")
        assert outcomes(await out.send(out.to(mx))) == [DELIVERED], "the connection is as good as before"
    assert asked == [1]
    assert not attempt.dot_sent
    assert mx.connections == 1
    assert sum(line.startswith("MAIL") for line in mx.commands) == 2
