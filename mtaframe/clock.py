"""The clock of the real world; tests put ``mtaframe.testing.VirtualClock`` in its place."""

import time
from datetime import UTC, datetime
from functools import partial


class SystemClock:
    """Asked several times for each message: no frame of ours stands between."""

    now = staticmethod(partial(datetime.now, UTC))
    monotonic = staticmethod(time.monotonic)
