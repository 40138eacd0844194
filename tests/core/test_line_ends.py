"""What becomes of bare line ends and of lines that are too long, as each listener says."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtaframe.message import has_bare_line_end
from mtaframe.smtp_server.line_ends import normalized
from mtaframe.testing import ScriptedMx
from tests.core.test_reception import house
from tests.core.test_smtp_server import Door, door  # noqa: F401  a fixture
from tests.dialogue import MAIL, Dialogue

MENDING = """
[[listener]]
name = "mending"
kind = "{kind}"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
bare_newline = "normalize"
long_lines = "{long_lines}"
"""


@pytest.mark.parametrize(
    ("before", "stuffed", "chunked"),
    [
        (b"a\nb\rc\r\nd", b"a\r\nb\r\nc\r\nd", b"a\r\nb\r\nc\r\nd"),
        (b"a\n.b\r..c\r\n.d\n.\n", b"a\r\nb\r\n.c\r\n.d\r\n\r\n", b"a\r\n.b\r\n..c\r\n.d\r\n.\r\n"),
        (b"\r\r\n\n\r", b"\r\n" * 4, b"\r\n" * 4),
    ],
)
def test_each_bare_line_end_becomes_cr_lf(before: bytes, stuffed: bytes, chunked: bytes) -> None:
    assert normalized(bytearray(before), is_stuffed=True) == stuffed
    assert normalized(bytearray(before), is_stuffed=False) == chunked


@given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"x"]), max_size=30).map(b"".join), st.booleans())
def test_nothing_bare_is_left_and_nothing_else_is_lost(octets: bytes, is_stuffed: bool) -> None:
    mended = normalized(bytearray(octets), is_stuffed=is_stuffed)
    assert not has_bare_line_end(mended)
    assert mended.count(b"x") == octets.count(b"x")
    assert mended.count(b"\r\n") == octets.count(b"\r") + octets.count(b"\n") - octets.count(b"\r\n")


@pytest.mark.parametrize("kind", ["mta", "lmtp", "application"])
async def test_a_message_of_a_trusted_client_is_mended(kind: str, tmp_path) -> None:
    more = MENDING.format(kind=kind, long_lines="reencode")
    async with ScriptedMx() as mx, house(tmp_path, mx, more=more) as mta:
        hello = "LHLO client" if kind == "lmtp" else "EHLO client"
        async with Dialogue(mta.port("mending"), hello=hello) as client:
            octets = MAIL.replace(b"\r\n", b"\n") + b"one\rtwo\n..three\n.\n" + b"\r\n"
            assert (await client.mail("bob@example.net", octets=octets))[:3] == "250"
            assert (await client.mail("bob@example.net", octets=MAIL + b"\0\n\r\n"))[:10] == "550 5.6.11"
    [received] = mx.received
    assert received.raw.endswith(MAIL[-9:] + b"one\r\ntwo\r\n.three\r\n\r\n\r\n")
    assert mx.faults == []


async def test_strangers_are_never_mended_and_those_who_log_in_are(door: Door) -> None:  # noqa: F811
    server = await door.open(bare_newline="normalize", auth_without_tls=True, max_size="12 B")
    client = await door.client(server)
    await client.up_to_data()
    assert (await client.says("a\nb\r\n."))[:10] == "550 5.6.11"
    credentials = base64.b64encode(b"\0shop\0secret").decode()
    assert (await client.says(f"AUTH PLAIN {credentials}"))[:3] == "235"
    for text, reply in (("a\nb", "250"), ("\n" * 6, "552")):
        assert (await client.says("MAIL FROM:<>", "RCPT TO:<b@example.net>", "DATA"))[:3] == "354"
        assert (await client.says(f"{text}\r\n."))[:3] == reply
    assert door.reception.messages == [b"a\r\nb\r\n"]


@pytest.mark.parametrize("how", ["reencode", "reject"])
@pytest.mark.parametrize("where", ["field", "body", "nowhere"])
async def test_long_lines(how: str, where: str, tmp_path) -> None:
    octets = MAIL
    if where == "field":
        octets = b"X-Long: " + b"a " * 600 + b"\r\n" + MAIL
    elif where == "body":
        octets = MAIL + b"a" * 999 + b"\r\n"
    more = MENDING.format(kind="mta", long_lines=how)
    async with ScriptedMx() as mx, house(tmp_path, mx, more=more) as mta, Dialogue(mta.port("mending")) as client:
        reply = await client.mail("bob@example.net", octets=octets)
    if how == "reject" and where != "nowhere":
        assert reply == "554 5.6.0 a line of the message is longer than 998 octets"
        assert mx.messages == 0
    else:
        assert reply[:3] == "250"
        assert max(map(len, mx.received[0].raw.split(b"\r\n"))) <= 998
