"""Listening sockets: opened here or handed over by systemd, and kept for as long as an address is configured."""

import os
import socket
import stat
from collections.abc import Mapping

from mtaframe.notation import Endpoint

FIRST_HANDED_OVER = 3
"""The first file descriptor of socket activation (sd_listen_fds(3))."""
BACKLOG = 1024


class SocketError(Exception):
    """An address that can't be opened; the text says which and why."""


class HandedOver(socket.socket):
    """A socket that systemd opened and keeps: the path of a Unix socket is not ours to remove."""


def handed_over() -> dict[str, socket.socket]:
    """The sockets that systemd opened for this process, by address. Empty if it was not started so."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(os.environ.get("LISTEN_FDS", "0"))
    found = (HandedOver(fileno=fd) for fd in range(FIRST_HANDED_OVER, FIRST_HANDED_OVER + count))
    return {address_of(one): one for one in found}


def opened(wanted: Mapping[str, tuple[str, int]], have: Mapping[str, socket.socket]) -> dict[str, socket.socket]:
    """A listening socket for each (address, mode of a Unix socket), by the same keys: one we have, or a new one.

    SocketError if one can't be opened; then those opened by this call are closed again.
    """
    sockets: dict[str, socket.socket] = {}
    for key, (address, mode) in wanted.items():
        try:
            sockets[key] = have.get(key) or _listening(Endpoint(address), mode)
        except OSError as error:
            closed_new(sockets, have)
            raise SocketError(f"{address} can't be listened on: {error.strerror}") from None
    return sockets


def closed_new(sockets: Mapping[str, socket.socket], have: Mapping[str, socket.socket]) -> None:
    """Close those that are not among the ones we have."""
    for key, one in sockets.items():
        if have.get(key) is not one:
            closed(one)


def key_of(listener: str, address: str) -> str:
    """What a socket is kept by: its address, or for a port of the system's choice its listener too."""
    return f"{address} {listener}" if address.endswith(":0") else str(address)


def address_of(listening: socket.socket) -> str:
    """The address of a socket, as the configuration writes it."""
    name = listening.getsockname()
    if isinstance(name, (str, bytes)):
        return os.fsdecode(name)
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def closed(listening: socket.socket) -> None:
    """Close a socket, if it is open; the path of a Unix socket of our own goes too."""
    if listening.fileno() < 0:
        return
    path = listening.getsockname()
    listening.close()
    ours = not isinstance(listening, HandedOver)
    if ours and isinstance(path, str) and path.startswith("/") and os.path.exists(path):
        os.unlink(path)


def _listening(endpoint: Endpoint, mode: int) -> socket.socket:
    if endpoint.path is not None:
        return _unix(endpoint.path, mode)
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((endpoint.host, endpoint.port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _unix(path: str, mode: int) -> socket.socket:
    """A Unix socket with its mode from the first moment on; a stale one that nobody answers on is replaced."""
    if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except OSError:
                os.unlink(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        listening.bind(path)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    return listening
