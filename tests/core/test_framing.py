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
