"""Tells systemd how the service is (sd_notify(3)): one datagram, and nothing if nobody listens."""

import os
import socket
from contextlib import suppress


def notify(*assignments: str) -> None:
    """Send ``READY=1``, ``RELOADING=1``, ``STOPPING=1``, ``WATCHDOG=1`` or ``STATUS=…``."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notification, suppress(OSError):
        notification.sendto("\n".join(assignments).encode(), address)


def watchdog_interval() -> float | None:
    """Seconds between signs of life, half of what systemd waits; None if it does not wait for them."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    owner = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdigit() or owner != str(os.getpid()):
        return None
    return int(microseconds) / 2_000_000
