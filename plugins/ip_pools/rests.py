"""Which sources rest, and until when, in all processes of the server; whether an address is on this host at all."""

import ipaddress
import socket
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from math import ceil

from mtaframe import Clock, Counter, State

LONGEST = 3650 * 86400.0
"""Seconds of a rest at most: what is meant for good stands in the file."""


class Rests:
    """The ends of rests: registers with the second since 1970. A reload ends no rest, nor does a restart."""

    def __init__(self, names: Iterable[str], state: State, clock: Clock) -> None:
        self._registers = {name: Counter("ip_pools.rest", source=name) for name in names}
        self._values = state.registers
        self._clock = clock

    def __contains__(self, name: object) -> bool:
        return self.until(str(name)) is not None

    def until(self, name: str) -> datetime | None:
        """When its rest ends; None if it does not rest."""
        end = self._values.value(self._registers[name])
        return datetime.fromtimestamp(end, UTC) if end and end > self._clock.now().timestamp() else None

    async def extend(self, name: str, seconds: float) -> bool:
        """Let it rest for so long from now on, in all processes. False, if it does already."""
        end = ceil((self._clock.now() + timedelta(seconds=seconds)).timestamp())
        while (before := self._values.value(self._registers[name])) < end:
            if await self._values.change(self._registers[name], before, end):
                return True
        return False

    async def end(self, name: str) -> bool:
        """Let it work again, in all processes. False, if it does already."""
        while name in self:
            before = self._values.value(self._registers[name])
            if await self._values.change(self._registers[name], before, 0):
                return True
        return False


def is_here(address: str) -> bool:
    """Whether a socket can have this address: what the client will ask for when it sends."""
    family = socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.bind((address, 0))
    except OSError:
        return False
    return True
