"""A page of memory that all processes of the server see: what each must know without asking anybody.

The law: the ledger's marks are written by the supervisor alone, a worker's count by that worker alone. A mark that is
missing says that the ledger holds nothing of a fingerprint; one that is there says no more than "ask".
"""

import mmap
import os
import struct
from collections.abc import Sequence

from mtaframe.sketch import COUNTS_SIZE, KEY_SIZE, TIMES_SIZE

WORKERS = 512
"""Worker numbers, from 0: twice as many as there may be workers, for those that begin while others end."""

_COUNT = struct.Struct("<i")
_TOTAL = struct.Struct("<q")
_TOTAL_AT = WORKERS * _COUNT.size
_MARKS_AT = _TOTAL_AT + _TOTAL.size
_MARKS = 1 << 20
_FULL = 255
_CLIENTS_AT = _MARKS_AT + _MARKS
_COUNTS_AT = _CLIENTS_AT + KEY_SIZE + 3 * TIMES_SIZE
_SIZE = _COUNTS_AT + WORKERS * COUNTS_SIZE  # memory is used where something was written


class Page:
    """``fd`` is that of the process which made it; without, this one does."""

    def __init__(self, fd: int | None = None) -> None:
        self.fd = os.memfd_create("mtaframe") if fd is None else fd
        if fd is None:
            os.ftruncate(self.fd, _SIZE)
        self._memory = mmap.mmap(self.fd, _SIZE)
        if fd is None:
            self._memory[_CLIENTS_AT : _CLIENTS_AT + KEY_SIZE] = os.urandom(KEY_SIZE)
            for worker in range(WORKERS):
                self.set_connections(worker, -1)

    @property
    def clients(self) -> memoryview:
        """A key, then what the guard notes by client: see ``guard``."""
        return memoryview(self._memory)[_CLIENTS_AT:]

    # what the ledger may know

    def mark(self, fingerprint: bytes, change: int) -> None:
        """One entry or claim of this fingerprint came (+1) or went (-1)."""
        at = _place(fingerprint)
        count = self._memory[at]
        if count < _FULL:  # what was full once stays so: nobody knows any more how many there are
            self._memory[at] = count + change
        _TOTAL.pack_into(self._memory, _TOTAL_AT, self.entries + change)

    @property
    def entries(self) -> int:
        """How many entries and claims there are."""
        return int(_TOTAL.unpack_from(self._memory, _TOTAL_AT)[0])

    def may_hold(self, fingerprints: Sequence[bytes]) -> bool:
        """False if the ledger certainly knows none of them."""
        return any(self._memory[_place(one)] for one in fingerprints)

    # who has how much to do

    def set_connections(self, worker: int, count: int) -> None:
        """-1 for a worker that takes none."""
        _COUNT.pack_into(self._memory, worker * _COUNT.size, count)

    def left(self, worker: int) -> None:
        """It is gone, and its clients are."""
        self.set_connections(worker, -1)
        at = _COUNTS_AT + worker * COUNTS_SIZE
        self._memory[at : at + COUNTS_SIZE] = bytes(COUNTS_SIZE)

    def connections(self, workers: int) -> tuple[int, ...]:
        """Those of the first so many workers."""
        return struct.unpack_from(f"<{workers}i", self._memory)


def _place(fingerprint: bytes) -> int:
    return _MARKS_AT + int.from_bytes(fingerprint[:4], "big") % _MARKS
