"""What the kernel knows of processes: who is whose child, and whose a connection is."""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")


def children(pid: int) -> list[int]:
    """The processes that it has started and that are still there."""
    found: list[int] = []
    for task in _PROC.glob(f"{pid}/task/*/children"):
        with suppress(OSError):
            found += map(int, task.read_text().split())
    return sorted(found)


def is_alive(pid: int) -> bool:
    """Whether it is there and not just waiting to be buried."""
    try:
        return _PROC.joinpath(str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Connection(NamedTuple):
    """One TCP connection over IPv4, from its owner's side."""

    port: int
    host: str
    """Of the other end."""
    remote_port: int


def connections(pid: int) -> set[Connection]:
    """Those that the process has open now."""
    sockets = set()
    for descriptor in _PROC.glob(f"{pid}/fd/*"):
        with suppress(OSError):
            sockets.add(os.readlink(descriptor))
    found = set()
    with suppress(OSError):
        for line in _PROC.joinpath(str(pid), "net", "tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in sockets:
                host, _, remote_port = fields[2].partition(":")
                address = socket.inet_ntoa(int(host, 16).to_bytes(4, sys.byteorder))
                found.add(Connection(int(fields[1].partition(":")[2], 16), address, int(remote_port, 16)))
    return found
