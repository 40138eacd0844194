"""The clock of the real world; tests put ``mtaframe.testing.VirtualClock`` in its place."""

import time
from datetime import UTC, datetime


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
