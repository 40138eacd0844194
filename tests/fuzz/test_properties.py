"""What hypothesis makes of the words that each parser knows; and framing, cut at every octet."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtaframe.smtp_server.framing import Framing
from tests.fuzz.parser import parsers
from tests.fuzz.parsers.framing import Reference

PARSERS = parsers()
ENDS = st.sampled_from((b"\r\n", b"\r", b"\n", b".", b"\r\n.", b"\r\n.\r\n", b"\r\n..\r\n", b"a", b"..", b"xyz"))


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_promises_are_kept(name: str, data: st.DataObject) -> None:
    parser = PARSERS[name]
    words = st.sampled_from(parser.tokens) if parser.tokens else st.nothing()
    octets = data.draw(st.lists(words | st.binary(max_size=4) | st.sampled_from((b" ", b"a"))).map(b"".join))
    parser.replay(octets)


@given(octets=st.lists(ENDS, max_size=12).map(b"".join), longest=st.integers(2, 12))
def test_lines_cut_at_every_octet(octets: bytes, longest: int) -> None:
    reference, meant = Reference(longest, octets), []
    while (line := reference.line())[0]:
        meant.append(line[1])
    for cut in range(len(octets) + 1):
        framing, found = Framing(longest), []
        for piece in (octets[:cut], octets[cut:]):
            framing.input += piece
            while framing.is_there():
                found.append(framing.take_line())
        assert found == meant, cut


@given(octets=st.lists(ENDS, max_size=12).map(b"".join), max_size=st.integers(0, 12))
def test_messages_cut_at_every_octet(octets: bytes, max_size: int) -> None:
    octets += b"\r\n.\r\nRSET\r\n"
    reference = Reference(512, octets)
    meant = [reference.message(max_size)[1], reference.line()[1]]
    for cut in range(len(octets) + 1):
        for second in (cut, cut + 1, cut + 3):
            framing = Framing(512)
            framing.expect_message(max_size)
            found: list[bytes | bytearray | None] = []
            for piece in (octets[:cut], octets[cut:second], octets[second:]):
                framing.input += piece
                if not found and framing.is_there():
                    found.append(framing.take_message())
            assert framing.is_there(), (cut, second)
            found.append(framing.take_line())
            assert found == meant, (cut, second)


@given(st.binary(max_size=40), st.binary(max_size=10))
def test_chunks_cut_at_every_octet(chunk: bytes, behind: bytes) -> None:
    for cut in range(len(chunk) + 1):
        for is_wanted in (True, False):
            framing = Framing(512)
            (framing.expect_chunk if is_wanted else framing.expect_nothing)(len(chunk))
            framing.input += chunk[:cut]
            assert framing.is_there() == (cut == len(chunk))
            framing.input += chunk[cut:] + behind
            assert framing.is_there()
            if is_wanted:
                assert framing.take_chunk() == chunk
            else:
                framing.take_nothing()
            assert framing.input == behind
