"""Octets cut into pieces, as a network may: the outcome must not depend on it."""

from collections.abc import Iterator

HEAD = 4
"""Octets at the beginning of an input that say where the rest of it is cut."""


def pieces(sizes: bytes, octets: bytes) -> Iterator[bytes]:
    """Pieces of these sizes, and then all the rest. The first size 255: octet by octet, as far as 32 of them."""
    if sizes[:1] == b"\xff":
        sizes = bytes([1]) * 32
    at = 0
    for size in sizes:
        if size and at < len(octets):
            yield octets[at : at + size]
            at += size
    if at < len(octets):
        yield octets[at:]
