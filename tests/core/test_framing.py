import pytest

from mtaframe.smtp_server.framing import Framing


@pytest.mark.parametrize("size", range(1, 24))
def test_a_message_that_is_too_big_ends_where_it_ends_wherever_it_is_cut(size: int) -> None:
    """It was not heard where the octets that did not fit any more ended in the first of those that end it."""
    message = b"x" * size + b"\r\n.\r\n"
    for cut in range(len(message)):
        for second in range(cut, len(message)):
            framing = Framing(512)
            framing.expect_message(4)
            for piece in (message[:cut], message[cut:second]):
                framing.input += piece
                assert not framing.is_there()
            framing.input += message[second:]
            assert framing.is_there(), (cut, second)
            taken = framing.take_message()
            assert taken == (message[:-3] if size <= 2 else None)
            assert not framing.input


@pytest.mark.parametrize("message", [b".\r\n", b"..\r\n.\r\n", b"\r\n.\r\n", b"a\r\n.\r\n", b"abcdefgh\r\n.\r\n"])
def test_a_message_that_is_dropped_ends_where_it_ends_though_octets_come_one_by_one(message: bytes) -> None:
    """It was not heard where fewer octets had come than its end has."""
    for dropped_at in range(len(message)):
        framing = Framing(512)
        framing.expect_message(100)
        for place, octet in enumerate(message):
            assert not framing.is_there()
            if place == dropped_at:
                framing.drop_message()
            framing.input.append(octet)
        framing.input += b"NOOP\r\n"
        assert framing.is_there(), dropped_at
        assert framing.take_message() is None
        assert framing.is_there()
        assert framing.take_line() == b"NOOP"
