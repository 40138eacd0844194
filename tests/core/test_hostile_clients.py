"""Clients that mean no good, on real sockets: what they may waste, and that it ends."""

import asyncio
import base64
import socket
import ssl
from typing import Any

import pytest

from mtaframe.reply import Reply
from mtaframe.settings import ClientSettings
from mtaframe.smtp_server import tolerance
from tests.core.test_smtp_server import Client, Door, door, pair, trusting, until  # noqa: F401  fixtures

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tolerance, "_REST", 0.05)


def plain(user: str, password: str) -> str:
    return "AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()


async def greeted(door: Door, server: Any, **options: Any) -> Client:  # noqa: F811
    client = await door.client(server, **options)
    assert (await client.reply())[:3] == "220"
    assert (await client.says("EHLO client"))[:3] == "250"
    return client


# how many, how often


async def test_an_address_has_so_many_connections_and_others_still_come(door: Door) -> None:  # noqa: F811
    door.terms = ClientSettings(max_per_address=2)
    server = await door.open()
    first, second = await greeted(door, server), await greeted(door, server)
    third = await door.client(server)
    assert await third.reply() == "421 4.7.0 too many connections from your address or network"
    assert await third.is_closed()
    await greeted(door, server, local_addr=("127.0.1.1", 0))
    await first.says("QUIT")
    await until(lambda: server.connections == 2)
    await greeted(door, server)
    assert (await second.says("NOOP"))[:3] == "250"


async def test_a_network_has_so_many_connections(door: Door) -> None:  # noqa: F811
    door.terms = ClientSettings(max_per_network=3)
    server = await door.open()
    for host in (1, 2, 3):
        await greeted(door, server, local_addr=(f"127.0.9.{host}", 0))
    client = await door.client(server, local_addr=("127.0.9.4", 0))
    assert (await client.reply())[:9] == "421 4.7.0"
    await greeted(door, server, local_addr=("127.0.8.4", 0))


@pytest.mark.parametrize("who", [{"trusted": ["127.0.0.1"]}, {"forward_from": ["127.0.0.1"]}, "unix"])
async def test_who_is_trusted_or_speaks_for_many_is_not_counted(door: Door, who: Any, tmp_path: Any) -> None:  # noqa: F811
    door.terms = ClientSettings(max_per_address=1, max_empty=1)
    settings = {"addresses": [str(tmp_path / "smtp.sock")]} if who == "unix" else who
    server = await door.open(**settings)
    for _ in range(5):
        await greeted(door, server)


async def test_behind_a_proxy_each_client_is_counted_as_itself(door: Door) -> None:  # noqa: F811
    door.terms = ClientSettings(max_per_address=1)
    server = await door.open(proxy_from=["127.0.0.1"])

    async def came(address: str) -> str:
        client = await door.client(server)
        client.send(f"PROXY TCP4 {address} 192.0.2.9 1 25\r\n")
        return (await client.reply())[:3]

    assert [await came(a) for a in ("192.0.2.1", "192.0.2.1", "192.0.2.2")] == ["220", "421", "220"]


async def test_connections_that_come_to_nothing_become_too_many(door: Door) -> None:  # noqa: F811
    door.terms = ClientSettings(max_empty=3)
    server = await door.open()
    for _ in range(5):
        client = await door.client(server)
        await client.up_to_data()
        assert (await client.says("hi\r\n."))[:3] == "250"
        client.writer.close()
    for _ in range(3):
        client = await door.client(server)
        await client.reply()
        client.writer.close()
        await until(lambda: server.connections == 0)
    client = await door.client(server)
    assert (await client.reply()) == "421 4.7.0 too many connections that came to nothing; come back later"


async def test_handshakes_that_hang_count_and_no_refusal_costs_one(door: Door, pair: dict[str, str]) -> None:  # noqa: F811
    door.terms = ClientSettings(max_per_address=2)
    server = await door.open(tls="implicit", **pair)
    hanging = [await door.client(server) for _ in range(2)]
    await asyncio.sleep(0.05)
    with pytest.raises((ConnectionError, ssl.SSLError)):
        await door.client(server, ssl=trusting())
    for client in hanging:
        client.reset()
    await asyncio.sleep(0.05)
    client = await door.client(server, ssl=trusting())
    assert (await client.reply())[:3] == "220"


# passwords


async def test_a_guesser_waits_longer_with_each_guess_then_is_banned(door: Door, caplog: Any) -> None:  # noqa: F811
    door.terms = ClientSettings(auth_failures=4, auth_ban="1h")
    server = await door.open(auth_without_tls=True)
    begun, times = asyncio.get_running_loop().time, []
    for _ in range(2):
        client = await greeted(door, server)
        for _ in range(2):
            at = begun()
            assert (await client.says(plain("shop", "wrong")))[:3] == "535"
            times.append(begun() - at)
        client.writer.close()
    assert [round(seconds * 2) / 2 for seconds in times] == [0, 0.5, 1, 2]
    client = await door.client(server)
    assert await client.reply() == "421 4.7.0 too many failed logins; come back later"
    assert "logins banned" in caplog.text
    assert "127.0.0.1" not in caplog.text
    other = await greeted(door, server, local_addr=("127.0.7.1", 0))
    assert (await other.says(plain("shop", "secret")))[:3] == "235"


async def test_a_ban_holds_in_sessions_that_are_open(door: Door) -> None:  # noqa: F811
    door.terms = ClientSettings(auth_failures=1)
    server = await door.open(auth_without_tls=True)
    guesser, other = await greeted(door, server), await greeted(door, server)
    assert (await guesser.says(plain("shop", "wrong")))[:3] == "535"
    assert await other.says(plain("shop", "secret")) == "421 4.7.0 too many failed logins; come back later"
    assert await other.is_closed()
    assert door.reception.record == ["AUTH shop wrong"], "the password was not even looked at"


async def test_who_may_send_without_login_still_may_when_logins_are_banned(door: Door) -> None:  # noqa: F811
    door.terms = ClientSettings(auth_failures=1)
    server = await door.open(auth_without_tls=True, relay_domains=["example.net"])
    guesser = await greeted(door, server)
    assert (await guesser.says(plain("shop", "wrong")))[:3] == "535"
    client = await greeted(door, server)
    assert (await client.says("MAIL FROM:<>", "RCPT TO:<b@example.net>", "DATA", "hi\r\n."))[:3] == "250"


async def test_trusted_clients_may_mistype(door: Door) -> None:  # noqa: F811
    """A webmail that trusted clients use logs in for everybody from one address."""
    door.terms = ClientSettings(auth_failures=1)
    server = await door.open(auth_without_tls=True, trusted=["127.0.0.1"])
    for _ in range(3):
        client = await greeted(door, server)
        assert (await client.says(plain("shop", "wrong")))[:3] == "535"


async def test_unknown_users_and_wrong_passwords_wait_alike(door: Door) -> None:  # noqa: F811
    server = await door.open(auth_without_tls=True)
    took = []
    for host, user in ((1, "shop"), (2, "nobody")):
        client = await greeted(door, server, local_addr=(f"127.0.6.{host}", 0))
        at = asyncio.get_running_loop().time()
        for _ in range(2):
            assert await client.says(plain(user, "wrong")) == "535 5.7.8 wrong"
        took.append(asyncio.get_running_loop().time() - at)
    assert abs(took[0] - took[1]) < 0.15


async def test_a_client_that_goes_while_its_login_waits_leaves_nothing(door: Door) -> None:  # noqa: F811
    server = await door.open(auth_without_tls=True)
    client = await greeted(door, server)
    for _ in range(2):
        await client.says(plain("shop", "wrong"))
    client.send(plain("shop", "wrong") + "\r\n")
    await asyncio.sleep(0.05)
    client.reset()
    await asyncio.wait_for(until(lambda: not server.connections), 0.5)
    assert len(door.reception.record) == 2


# commands


@pytest.mark.parametrize("command", ["NOOP", "RSET", "VRFY x", "HELP", "EHLO client", "HELO client", "BDAT 0"])
async def test_a_stranger_has_a_hundred_commands_between_two_messages(door: Door, command: str) -> None:  # noqa: F811
    server = await door.open(relay_domains=["example.net"])
    client = await greeted(door, server)
    for _ in range(2):
        client.send(f"{command}\r\n" * 90)
        for _ in range(90):
            assert (await client.reply())[:3] != "421"
        assert (await client.says("EHLO client", "MAIL FROM:<>", "RCPT TO:<b@example.net>", "DATA", "hi\r\n."))[
            :3
        ] == "250"
    client.send(f"{command}\r\n" * 101)
    replies = [await client.reply() for _ in range(101)]
    assert replies[-1] == "421 4.7.0 too many commands without a message"
    assert await client.is_closed()


async def test_mail_that_is_refused_again_and_again_ends(door: Door) -> None:  # noqa: F811
    door.reception.mail_answer = Reply(451, "4.3.2", "later")
    client = await greeted(door, await door.open())
    client.send("MAIL FROM:<>\r\n" * 150)
    replies = [await client.reply() for _ in range(100)]
    assert replies[-1] == "421 4.7.0 too many commands without a message"


async def test_an_upstream_may_say_noop_as_often_as_it_likes(door: Door) -> None:  # noqa: F811
    client = await greeted(door, await door.open(trusted=["127.0.0.1"]))
    client.send("NOOP\r\n" * 1000)
    for _ in range(1000):
        assert (await client.reply())[:3] == "250"


async def test_guesses_of_addresses_become_slow_then_end(door: Door) -> None:  # noqa: F811
    client = await greeted(door, await door.open(relay_domains=["example.net"]))
    names = [f"{number}@example.net" for number in range(30)]
    door.reception.rcpt_answers = dict.fromkeys(names, Reply(550, "5.1.1", "nobody"))
    at = asyncio.get_running_loop().time()
    assert (await client.says("MAIL FROM:<>"))[:3] == "250"
    client.send("".join(f"RCPT TO:<{name}>\r\n" for name in names))
    codes = [(await client.reply())[:3] for _ in range(21)]
    assert codes == ["550"] * 20 + ["421"]
    assert 0.05 * 13 < asyncio.get_running_loop().time() - at < 3
    assert await client.is_closed()


async def test_refusals_for_now_are_borne_a_thousand_times(door: Door) -> None:  # noqa: F811
    client = await greeted(door, await door.open(max_recipients=1))
    assert (await client.says("MAIL FROM:<>"))[:3] == "250"
    client.send("RCPT TO:<b@example.net>\r\n" * 1100)
    codes = [(await client.reply())[:9] for _ in range(1002)]
    assert codes == ["250 2.1.5"] + ["452 4.5.3"] * 1000 + ["421 4.7.0"]


async def test_recipients_that_a_plugin_refuses_slow_no_sender_down_who_is_known(door: Door) -> None:  # noqa: F811
    client = await greeted(door, await door.open(trusted=["127.0.0.1"]))
    door.reception.rcpt_answers = {"b@example.net": Reply(550, "5.1.1", "suppressed")}
    assert (await client.says("MAIL FROM:<>"))[:3] == "250"
    client.send("RCPT TO:<b@example.net>\r\n" * 200)
    for _ in range(200):
        assert (await client.reply())[:3] == "550"


async def test_a_flood_of_commands_lets_others_in_between(door: Door) -> None:  # noqa: F811
    server = await door.open(trusted=["127.0.0.1"])
    flood, honest = await greeted(door, server), await greeted(door, server)

    async def drained() -> None:
        while await flood.reader.read(65_536):
            pass

    reading = asyncio.create_task(drained())
    flood.send(b"RCPT TO:<x>\r\n" * 10 + b"NOOP\r\n" * 300_000)
    slowest = 0.0
    for _ in range(20):
        at = asyncio.get_running_loop().time()
        assert (await honest.says("NOOP"))[:3] == "250"
        slowest = max(slowest, asyncio.get_running_loop().time() - at)
    reading.cancel()
    assert slowest < 0.5


# time


async def test_a_stranger_that_only_keeps_the_line_warm_is_dismissed(door: Door) -> None:  # noqa: F811
    server = await door.open(idle_timeout="200ms")
    client = await greeted(door, server)
    begun, replies = asyncio.get_running_loop().time(), []
    while not replies or replies[-1][:3] == "250":
        await asyncio.sleep(0.05)
        client.send("NOOP\r\n")
        replies.append(await client.reply())
    assert replies[-1] == "421 4.4.2 silent for too long"
    assert 0.75 < asyncio.get_running_loop().time() - begun < 2


async def test_who_is_trusted_may_keep_the_line_warm(door: Door) -> None:  # noqa: F811
    client = await greeted(door, await door.open(idle_timeout="100ms", trusted=["127.0.0.1"]))
    for _ in range(20):
        await asyncio.sleep(0.04)
        assert (await client.says("NOOP"))[:3] == "250"


@pytest.mark.parametrize("trusted", [[], ["127.0.0.1"]])
async def test_a_message_that_trickles_in_chunks_ends(door: Door, trusted: list[str]) -> None:  # noqa: F811
    """Each chunk in time, and all together for ever."""
    client = await greeted(door, await door.open(idle_timeout="300ms", trusted=trusted))
    await client.says("MAIL FROM:<>", "RCPT TO:<b@example.net>")
    begun, reply = asyncio.get_running_loop().time(), "250"
    while reply[:3] == "250":
        await asyncio.sleep(0.03)
        reply = await chunk(client, b"x")
    assert reply == "421 4.4.2 the message comes too slowly"
    assert 0.25 < asyncio.get_running_loop().time() - begun < 1


async def chunk(client: Client, octets: bytes) -> str:
    client.send(b"BDAT %d\r\n" % len(octets) + octets)
    return await client.reply()


async def test_a_message_in_many_small_chunks_is_no_message_of_a_stranger(door: Door) -> None:  # noqa: F811
    client = await greeted(door, await door.open())
    await client.says("MAIL FROM:<>", "RCPT TO:<b@example.net>")
    client.send(b"BDAT 1\r\nx" * 120)
    codes = [(await client.reply())[:3] for _ in range(100)]
    assert codes == ["250"] * 99 + ["421"]


async def test_a_client_that_reads_next_to_nothing_is_cut(door: Door) -> None:  # noqa: F811
    """An octet now and then is no reading, whatever it keeps open."""
    server = await door.open(idle_timeout="300ms", trusted=["127.0.0.1"])
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        host, _, port = server.addresses[0].rpartition(":")
        await loop.sock_connect(slow, (host, int(port)))
        flooding = asyncio.create_task(loop.sock_sendall(slow, b"HELP\r\n" * 500_000))
        await until(lambda: server.connections == 1)
        begun = loop.time()
        while server.connections and loop.time() - begun < 4:
            await asyncio.sleep(0.02)
            try:
                slow.recv(1)
            except OSError:
                break
        await until(lambda: not server.connections)
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
