"""Whose turn it is to take in the next client, where several workers listen on one socket.

The rule: a worker that has more clients than another one waits a moment, so that the other can be first. Nobody
waits for long: a worker that hangs must not keep clients out.
"""

from mtaframe.page import Page

MOMENT = 0.002
"""Seconds."""


class Turn:
    """Counts the clients of this worker. Without a page it is alone.

    ``worker`` is its place on the page, below ``slots``; ``workers`` is how many share what the server may do.
    """

    def __init__(self, page: Page | None = None, worker: int = 0, workers: int = 1, slots: int = 1) -> None:
        self.page = page
        self.worker = worker
        self._workers = workers
        self.slots = slots
        self._is_open = page is None
        self.connections = 0

    def open(self) -> None:
        """From now on it takes clients."""
        self._is_open = True
        self._count(0)

    def close(self) -> None:
        """It takes none any more, so nobody waits for it."""
        self._is_open = False
        self._count(0)

    @property
    def share(self) -> float:
        """The part of what the whole server may do that is this worker's."""
        return 1 / self._workers

    def came(self) -> None:
        self._count(1)

    def went(self) -> None:
        self._count(-1)

    def _count(self, change: int) -> None:
        self.connections += change
        if self.page is not None:
            self.page.set_connections(self.worker, self.connections if self._is_open else -1)

    def must_wait(self) -> bool:
        """Whether another worker has less to do."""
        if self.page is None:
            return False
        return any(0 <= count < self.connections for count in self.page.connections(self.slots))
