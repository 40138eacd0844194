"""Which sources rest, and until when; whether an address is on this host at all."""

import ipaddress
import socket
from collections.abc import Mapping


class Rests:
    """Ends by name, in the clock's monotonic seconds. One object for all generations: a reload ends no rest."""

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}

    def extend(self, name: str, end: float) -> bool:
        """Let it rest until then. False, if it does already."""
        if self._ends.get(name, 0.0) >= end:
            return False
        self._ends[name] = end
        return True

    def end(self, name: str) -> None:
        self._ends.pop(name, None)

    def left(self, now: float) -> Mapping[str, float]:
        """The seconds that each has left; what is over is forgotten."""
        if self._ends and min(self._ends.values()) <= now:
            self._ends = {name: end for name, end in self._ends.items() if end > now}
        return {name: end - now for name, end in self._ends.items()}


def is_here(address: str) -> bool:
    """Whether a socket can have this address: what the client will ask for when it sends."""
    family = socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.bind((address, 0))
    except OSError:
        return False
    return True
