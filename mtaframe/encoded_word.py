"""Header field values as people read them, and back into octets that every mail system carries (RFC 2047).

The rule: what goes into a header section is printable ASCII, folded at white space only (RFC 5322 §2.2.3), and
no text, whatever it holds, can end a line there or begin another field.
"""

import binascii
import re

from mtaframe.charset import codec, without_surrogates

_ENCODED_WORD = re.compile(r"=\?([^?\s]++)\?([BbQq])\?([^?\r\n]*+)\?=")
_TOKEN = re.compile(r"[ \t]*+[^ \t]++")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_PRINTABLE = re.compile(r"[\t -~]*+")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++)*")
_Q_SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!*+-/")

_Word = tuple[str, bytes, str, str]
"""Charset, octets, the blanks between it and the word before it, and how it stands there."""

LINE_WIDTH = 78
"""What a line should not exceed (RFC 5322 §2.1.1)."""
_TOO_LONG = 900
_PAYLOAD = 75 - len("=?utf-8?q??=")


def decoded_value(value: str) -> str:
    """An unfolded field value as people read it; an encoded-word that can't be decoded stays as it stands."""
    if "=?" not in value:
        return value
    pieces: list[str] = []
    words: list[_Word] = []
    position = 0
    for found in _ENCODED_WORD.finditer(value):
        between = value[position : found.start()]
        octets = _octets(found[2].lower(), found[3])
        name = codec(found[1].partition("*")[0])
        if octets is None or name is None:
            continue
        if between.strip(" \t") or not words:
            pieces += (_text(words), between)
            between, words = "", []
        words.append((name, octets, between, found[0]))
        position = found.end()
    pieces += (_text(words), value[position:])
    return "".join(pieces)


def encoded_value(text: str) -> str:
    """An unstructured field value (RFC 5322 §2.2.1), not yet folded, for text of any kind.

    Words that are not plain ASCII become encoded-words; so do those that look like one.
    """
    text = _CONTROL.sub(" ", text).strip(" \t")
    pieces: list[str] = []
    unsafe: list[str] = []
    for word in _TOKEN.findall(text):
        if _is_plain(word):
            pieces += (_encoded_run(unsafe), word)
            unsafe = []
        else:
            unsafe.append(word)
    pieces.append(_encoded_run(unsafe))
    return "".join(pieces)


def encoded_phrase(text: str) -> str:
    """A display name (``phrase`` of RFC 5322 §3.2.5), not yet folded: atoms, a quoted-string or encoded-words."""
    text = _CONTROL.sub(" ", text).strip(" \t")
    if not text or (_ATOMS.fullmatch(text) and len(text) <= _TOO_LONG and "=?" not in text):
        return text
    if all(_is_plain(word) for word in _TOKEN.findall(text)):
        return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
    return _encoded_run([text])


def folded_value(name: str, value: str, width: int = LINE_WIDTH) -> str:
    """A value with CR LF before white space, so that no line is longer than ``width`` where that can be."""
    column = len(name) + 2
    if column + len(value) <= width:
        return value
    pieces: list[str] = []
    for token in _TOKEN.findall(value):
        if column + len(token) > width and token[0] in " \t" and pieces:
            pieces.append("\r\n")
            column = 0
        pieces.append(token)
        column += len(token)
    return "".join(pieces)


def _is_plain(word: str) -> bool:
    return len(word) <= _TOO_LONG and "=?" not in word and _PRINTABLE.fullmatch(word) is not None


def _octets(encoding: str, payload: str) -> bytes | None:
    try:
        octets = payload.encode("ascii")
        if encoding == "q":
            return binascii.a2b_qp(octets, header=True)
        return binascii.a2b_base64(octets + b"=" * (-len(octets) % 4))
    except ValueError:
        return None


def _text(words: list[_Word]) -> str:
    """Adjacent words as one text. Those of one charset are joined first: many senders cut inside a character."""
    pieces: list[str] = []
    start = 0
    is_broken = False
    for end in range(1, len(words) + 1):
        if end < len(words) and words[end][0] == words[start][0]:
            continue
        run = words[start:end]
        try:
            text = b"".join(octets for _, octets, _, _ in run).decode(run[0][0])
            pieces += (run[0][2] if is_broken else "", text)
            is_broken = False
        except (ValueError, LookupError):
            pieces += (f"{between}{raw}" for _, _, between, raw in run)
            is_broken = True
        start = end
    return "".join(pieces)


def _encoded_run(words: list[str]) -> str:
    """Words with the white space between them as encoded-words of at most 75 characters, one blank between two."""
    if not words:
        return ""
    run = without_surrogates("".join(words))
    text = run.lstrip(" \t")
    octets = [character.encode() for character in text]
    in_q = [_q(character) for character in octets]
    use_q = sum(map(len, in_q)) <= sum(map(len, octets)) * 4 / 3
    sizes = [len(q) for q in in_q] if use_q else [len(character) for character in octets]
    limit = _PAYLOAD if use_q else _PAYLOAD // 4 * 3
    encoded: list[str] = []
    start = size = 0
    for index, more in enumerate((*sizes, limit + 1)):
        if size + more > limit:
            part = "".join(in_q[start:index]) if use_q else _base64(b"".join(octets[start:index]))
            encoded.append(f"=?utf-8?{'q' if use_q else 'b'}?{part}?=")
            start, size = index, 0
        size += more
    return run[: len(run) - len(text)] + " ".join(encoded)


def _q(character: bytes) -> str:
    if character == b" ":
        return "_"
    return "".join(chr(octet) if octet in _Q_SAFE else f"={octet:02X}" for octet in character)


def _base64(octets: bytes) -> str:
    return binascii.b2a_base64(octets, newline=False).decode("ascii")
