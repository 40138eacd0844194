"""Answers of HTTP servers that may be hostile: the same wherever they are cut, and never more than the limit."""

from collections.abc import Iterable

from mtaframe.http_answer import Answer, BadAnswerError, TooLongError
from tests.fuzz.cut import HEAD, pieces
from tests.fuzz.parser import Parser

_LIMIT = 64
"""Octets that a body may have."""
_METHODS = ("GET", "POST", "HEAD")

Outcome = tuple[int, dict[str, str], bytes] | str


def _outcome(method: str, octets: Iterable[bytes]) -> Outcome:
    answer = Answer(method, _LIMIT)
    try:
        for piece in octets:
            if answer.feed(piece):
                break
        else:
            answer.end()
    except TooLongError:
        return "too long"
    except BadAnswerError:
        return "bad"
    assert answer.is_whole
    assert 200 <= answer.status < 1000
    assert len(answer.body) <= _LIMIT
    assert method != "HEAD" or not answer.body
    for name, value in answer.headers.items():
        assert name.isascii()
        assert name == name.lower()
        assert not set(value) & set("\r\n\0")
    return answer.status, answer.headers, answer.body


def answer(octets: bytes) -> None:
    """The fifth octet says what was asked."""
    method = _METHODS[octets[HEAD] % 3] if len(octets) > HEAD else "GET"
    cut = _outcome(method, pieces(octets[:HEAD], octets[HEAD + 1 :]))
    whole = _outcome(method, (octets[HEAD + 1 :],))
    assert cut == whole or "too long" in (cut, whole)


PARSERS = [
    Parser(
        "http_answer",
        answer,
        (
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.0 204 \r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"Content-Length: ",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: close\r\n",
            b"\r\n\r\n",
            b"\n\n",
            b"5\r\nhello\r\n",
            b"0\r\n\r\n",
            b";a=b",
            b"0\r\nX: y\r\n\r\n",
        ),
        longest=300,
    )
]
