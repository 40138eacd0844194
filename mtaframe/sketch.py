"""Numbers by client, in memory that all workers share: no address stands there, only places that a keyed hash picks.

The law: each number has several places and the least of them counts, so it is too high only for a client who shares
all its places with others. Of two workers that write a time in one moment, one may be lost; a count has one writer.
"""

import struct
from collections.abc import Sequence
from hashlib import blake2b

KEY_SIZE = 16
_ROWS = 4
_PLACES = 1 << 16
_TIME = struct.Struct("<d")
TIMES_SIZE = _ROWS * _PLACES * _TIME.size

_COUNT_ROWS = 2
_COUNT_PLACES = 1 << 13
_COUNT = struct.Struct("<H")
COUNTS_SIZE = _COUNT_ROWS * _COUNT_PLACES * _COUNT.size
"""Of one worker."""

_FOUR = struct.Struct("<4I")

Places = tuple[int, ...]


def places(client: bytes, key: bytes) -> Places:
    """Where the numbers of a client stand."""
    return _FOUR.unpack(blake2b(client, key=key, digest_size=16).digest())


class Counts:
    """How many of a client are here. ``tables`` are those of all workers, ``own`` is that of this one."""

    def __init__(self, memory: memoryview, own: int, tables: int) -> None:
        self._memory = memory
        self._own = own * COUNTS_SIZE
        self._tables = range(0, tables * COUNTS_SIZE, COUNTS_SIZE)

    def add(self, where: Places, change: int) -> None:
        for at in _count_places(where):
            [count] = _COUNT.unpack_from(self._memory, self._own + at)
            _COUNT.pack_into(self._memory, self._own + at, min(0xFFFF, max(0, count + change)))

    def of(self, where: Places) -> int:
        """With all workers together."""
        sums = (
            sum(int(_COUNT.unpack_from(self._memory, table + at)[0]) for table in self._tables)
            for at in _count_places(where)
        )
        return min(sums)


class Times:
    """A time for each client, which only ever grows: 0 for those nobody has written of."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory

    def of(self, where: Places) -> float:
        return min(float(_TIME.unpack_from(self._memory, at)[0]) for at in _time_places(where))

    def put_off(self, where: Places, until: float) -> None:
        for at in _time_places(where):
            if _TIME.unpack_from(self._memory, at)[0] < until:
                _TIME.pack_into(self._memory, at, until)


def _count_places(where: Places) -> Sequence[int]:
    return [(row * _COUNT_PLACES + one % _COUNT_PLACES) * _COUNT.size for row, one in enumerate(where[:_COUNT_ROWS])]


def _time_places(where: Places) -> Sequence[int]:
    return [(row * _PLACES + one % _PLACES) * _TIME.size for row, one in enumerate(where)]
