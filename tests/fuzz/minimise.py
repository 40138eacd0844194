"""A smaller input that breaks the same promise."""

import traceback
from collections.abc import Callable

_TRIES = 3000


def broken_promise(check: Callable[[bytes], None], octets: bytes) -> str | None:
    """Which promise is broken, as one word for the same fault wherever it comes from; None if all are kept."""
    try:
        check(octets)
    except Exception as error:
        return promise(error)
    return None


def promise(error: Exception) -> str:
    """Exception and place: ``AssertionError:framing.py:message``."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    line = (frame.line or "")[:40]
    return f"{type(error).__name__} {frame.filename.rpartition('/')[2]} {frame.name} {line}"


def minimised(check: Callable[[bytes], None], octets: bytes) -> bytes:
    """Pieces taken out, the largest first, as long as the same promise is broken."""
    wanted = broken_promise(check, octets)
    tries, size = 0, max(1, len(octets) // 2)
    while tries < _TRIES:
        at, was = 0, octets
        while at < len(octets) and tries < _TRIES:
            shorter = octets[:at] + octets[at + size :]
            tries += 1
            if broken_promise(check, shorter) == wanted:
                octets = shorter
            else:
                at += size
        if size == 1 and octets == was:
            break
        size = max(1, size // 2)
    return octets
