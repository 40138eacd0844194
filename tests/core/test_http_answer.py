"""Answers as octets: whole, cut at every place, lying about their length, and hostile."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtaframe.http_answer import CHUNK_LINE, HEAD, Answer, BadAnswerError, TooLongError

LIMIT = 100_000

WHOLE = {
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello": (200, b"hello", False),
    b"HTTP/1.1 200 OK\ncontent-length:5\n\nhello": (200, b"hello", False),
    b"HTTP/1.1 200 \r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello": (200, b"hello", False),
    b"HTTP/1.1 204 No Content\r\n\r\n": (204, b"", False),
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n": (304, b"", False),
    b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n": (200, b"", True),
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi": (200, b"hi", True),
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi": (200, b"hi", False),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nhi": (201, b"hi", False),
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x="y"\r\n0123456789\r\n0\r\n\r\n': (
        200,
        b"hello0123456789",
        False,
    ),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nhi\r\n000\r\nX-Sum: 1\r\nY: 2\r\n\r\n": (
        200,
        b"hi",
        False,
    ),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n2\r\nhi\r\n0\r\n\r\n": (
        200,
        b"hi",
        True,
    ),
}


def read(octets: bytes, *cuts: int, method: str = "POST") -> Answer:
    answer = Answer(method, LIMIT)
    places = [0, *sorted(cuts), len(octets)]
    for start, end in itertools.pairwise(places):
        assert not answer.is_whole
        answer.feed(octets[start:end])
    return answer


@pytest.mark.parametrize("octets", WHOLE)
def test_an_answer_is_read_wherever_it_is_cut(octets: bytes) -> None:
    for cut in range(len(octets)):
        answer = read(octets, cut) if cut else read(octets)
        assert answer.is_whole
        assert (answer.status, answer.body, answer.is_last) == WHOLE[octets]


@pytest.mark.parametrize("octets", WHOLE)
def test_an_answer_is_read_octet_by_octet(octets: bytes) -> None:
    answer = read(octets, *range(1, len(octets)))
    assert (answer.status, answer.body, answer.is_last) == WHOLE[octets]


@pytest.mark.parametrize("octets", WHOLE)
def test_an_answer_that_is_cut_is_none(octets: bytes) -> None:
    for end in range(len(octets)):
        answer = Answer("POST", LIMIT)
        if end:
            assert not answer.feed(octets[:end])
        with pytest.raises(BadAnswerError):
            answer.end()


def test_fields_have_lower_case_names_and_the_last_of_several_counts() -> None:
    answer = read(b"HTTP/1.1 200 OK\r\nX-A: 1 \r\nx-a:\t2\r\nEmpty:\r\nContent-Length: 0\r\n\r\n")
    assert answer.headers == {"x-a": "2", "empty": "", "content-length": "0"}


def test_what_has_no_length_ends_with_the_connection() -> None:
    answer = read(b"HTTP/1.1 200 OK\r\n\r\nsome", 19)
    assert not answer.feed(b" more")
    answer.end()
    assert (answer.is_whole, answer.body, answer.is_last) == (True, b"some more", True)


def test_an_answer_to_head_has_no_body() -> None:
    answer = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", method="HEAD")
    assert (answer.is_whole, answer.body, answer.is_last) == (True, b"", False)


def test_after_what_nobody_asked_for_a_connection_is_not_used_again() -> None:
    answer = read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (answer.body, answer.is_last) == (b"hi", True)


@pytest.mark.parametrize(
    "octets",
    [
        b"220 mail.example.com ESMTP\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno field\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_is_not_read(octets: bytes) -> None:
    with pytest.raises(BadAnswerError):
        read(octets)


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD,
        b"x" * (HEAD + 1),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (LIMIT + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"c350\r\n" + b"x" * 50_000 + b"\r\nc351\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1" + b" " * CHUNK_LINE,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 2000,
    ],
)
def test_what_is_too_long_is_not_read_to_its_end(octets: bytes) -> None:
    with pytest.raises(TooLongError):
        read(octets)


@given(st.binary(max_size=200), st.lists(st.integers(1, 300), max_size=5))
def test_nothing_that_comes_breaks_it(octets: bytes, cuts: list[int]) -> None:
    octets = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + octets
    answer = Answer("POST", LIMIT)
    places = sorted({0, *(cut for cut in cuts if cut < len(octets)), len(octets)})
    try:
        for start, end in itertools.pairwise(places):
            answer.feed(octets[start:end])
        answer.end()
    except BadAnswerError:
        pass


@pytest.mark.parametrize("body", [b"1\r\nx\r\n" * 20_000, b"a" * 20_000], ids=["tiny chunks", "a head without end"])
def test_time_is_linear_in_what_comes_however_it_is_cut(body: bytes) -> None:
    answer = Answer("POST", LIMIT)
    answer.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" if body.startswith(b"1") else b"HTTP/1.1 ")
    began = time.process_time()
    for at in range(0, len(body), 7):
        answer.feed(body[at : at + 7])
    assert time.process_time() - began < 1
