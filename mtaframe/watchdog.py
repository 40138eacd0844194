"""Names the plugin that keeps the event loop from running.

A thread looks at what the caller of the hooks says is running. It logs where a plugin stands, file and line,
and never what it works on. Ending a process that stays stuck is up to who started it (systemd's watchdog).
"""

import logging
import sys
import threading
import time

log = logging.getLogger("mtaframe.watchdog")


class Watchdog:
    """Watches one event loop thread. ``patience`` is how many seconds a plugin may hold it before it is named."""

    __slots__ = ("_patience", "_stopped", "_thread", "_watched", "running", "since")

    def __init__(self, patience: float = 1.0) -> None:
        self.running: str | None = None
        """The plugin whose code has the loop now, or None."""
        self.since = 0.0
        """When it got the loop, by ``time.monotonic``."""
        self._patience = patience
        self._stopped = threading.Event()
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Watch the calling thread's loop from now on."""
        self._watched = threading.get_ident()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        named = (0.0, 0.0)
        while not self._stopped.wait(self._patience / 4):
            plugin, since = self.running, self.since
            held = time.monotonic() - since
            if plugin is None or held < self._patience or (since == named[0] and held < 2 * named[1]):
                continue
            named = (since, held)
            log.error("plugin blocks the event loop plugin=%s seconds=%.1f at=%s", plugin, held, self._place())

    def _place(self) -> str:
        frame = sys._current_frames().get(self._watched)
        return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "?"
