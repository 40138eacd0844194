"""Whose turn it is to take in the next client, where several workers listen on one socket.

The rule: a worker that has more clients than another one waits a moment, so that the other can be first. Nobody
waits for long: a worker that hangs must not keep clients out.
"""

from mtaframe.page import Page

MOMENT = 0.002
"""Seconds."""


class Turn:
    """Counts the clients of this worker. Without a page it is alone."""

    def __init__(self, page: Page | None = None, worker: int = 0, workers: int = 1) -> None:
        self._page = page
        self._worker = worker
        self._workers = workers
        self.connections = 0

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
        if self._page is not None:
            self._page.set_connections(self._worker, self.connections)

    def must_wait(self) -> bool:
        """Whether another worker has less to do."""
        if self._page is None:
            return False
        return any(0 <= count < self.connections for count in self._page.connections(self._workers))
