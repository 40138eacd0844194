"""What systemd and mtaframe tell each other: sockets handed over, readiness, reloads, signs of life."""

import asyncio
import os
import signal
import smtplib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Program
from tests.end_to_end.chain import PROGRAM
from tests.end_to_end.postfix import free_port

SETTINGS = """
control = "{folder}/control.sock"
drain = "1s"
[[listener]]
name = "tcp"
kind = "application"
addresses = ["127.0.0.1:{port}"]
trusted = ["127.0.0.0/8"]
[[listener]]
name = "unix"
kind = "lmtp"
addresses = ["{folder}/lmtp.sock"]
"""


class Systemd:
    """The socket that a service tells its state to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    async def hears(self, state: str) -> None:
        """Wait until the service tells this state; what it told before is in ``told``."""
        async with asyncio.timeout(20):
            while True:
                message = await asyncio.get_running_loop().sock_recv(self._socket, 4096)
                self.told.extend(message.decode().splitlines())
                if state in self.told[-len(message.decode().splitlines()) :]:
                    return


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    listening = Systemd(tmp_path / "notify.sock")
    yield listening
    listening.close()


@pytest.fixture
def port(tmp_path: Path) -> int:
    """The port that the configuration in ``tmp_path`` names."""
    port = free_port()
    (tmp_path / "mtaframe.toml").write_text(SETTINGS.format(folder=tmp_path, port=port))
    return port


async def ended(process: asyncio.subprocess.Process) -> str:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    return errors.decode()


async def test_it_tells_when_it_is_ready_reloads_lives_and_stops(tmp_path: Path, port: int, systemd: Systemd) -> None:
    process = await asyncio.create_subprocess_exec(
        *(*PROGRAM, "run", "--conf", str(tmp_path)),
        env=os.environ | {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "400000"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await systemd.hears("READY=1")
        await systemd.hears("WATCHDOG=1")
        process.send_signal(signal.SIGHUP)
        await systemd.hears("RELOADING=1")
        await systemd.hears("READY=1")
        await systemd.hears("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        await systemd.hears("STOPPING=1")
    finally:
        errors = await ended(process)
    assert process.returncode == 0, errors


async def test_sockets_handed_over_outlive_a_restart(program: Program, tmp_path: Path, port: int) -> None:
    """A client that connects while mtaframe is away waits; nothing of the sockets is taken away at the end."""
    lmtp = tmp_path / "lmtp.sock"
    process = await asyncio.create_subprocess_exec(
        program("systemd-socket-activate"),
        *("-l", f"127.0.0.1:{port}", "-l", str(lmtp), *(f"-E{name}" for name in os.environ)),
        *(sys.executable, *PROGRAM[1:], "run", "--conf", str(tmp_path)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(20):
            while not lmtp.exists():
                await asyncio.sleep(0.02)
        assert await asyncio.to_thread(greeting_of, port) == 250
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            await asyncio.to_thread(client.connect, str(lmtp))
            assert (await asyncio.to_thread(client.recv, 4)) == b"220 "
    finally:
        errors = await ended(process)
    assert process.returncode == 0, errors
    assert lmtp.exists(), "systemd holds this socket; only systemd may remove its path"


def greeting_of(port: int) -> int:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        return client.ehlo()[0]
