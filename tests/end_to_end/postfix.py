"""A real Postfix in a directory of its own: its queue, its log and its ports, all on loopback.

It runs from where Debian installed it, or unpacked in ``.deps/``: no file outside the directory is written. The
master process needs root, and its daemons another user, so the directory must be open to others.
"""

import asyncio
import contextlib
import grp
import json
import os
import pwd
import shutil
import signal
import smtplib
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_MASTER = """\
{smtpd} inet n - n - - smtpd
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_OWNED = ("incoming", "active", "deferred", "bounce", "defer", "flush", "corrupt", "hold", "saved", "trace", "private")


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Postfix:
    """Postfix on ``host``:``port``; ``main`` and ``master`` are added to main.cf and master.cf.

    It tries again after a second or two, where a shipped one waits minutes: ``back_off`` seconds. Without
    ``relay`` (a transport and next hop as ``lmtp:inet:127.0.0.1:2424``) all mail stays in the queue.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        directory: Path,
        postconf: Path,
        *,
        relay: str = "retry:nowhere to go",
        main: Mapping[str, str] | None = None,
        master: str = "",
        back_off: int = 1,
    ) -> None:
        self.port = free_port()
        self.configuration = directory / "etc"
        self._queue = directory / "queue"
        self._log = directory / "maillog"
        self._programs = postconf.parent
        self._tree = postconf.parents[1] / "lib" / "postfix"
        self._master: asyncio.subprocess.Process | None = None
        self.main = {**self._defaults(directory, relay, back_off), **(main or {})}
        self.master = _MASTER.format(smtpd=f"{self.host}:{self.port}") + master

    @property
    def environment(self) -> dict[str, str]:
        """What the programs of an unpacked Postfix need to find their libraries."""
        return {**os.environ, "MAIL_CONFIG": str(self.configuration), "LD_LIBRARY_PATH": str(self._tree)}

    async def __aenter__(self) -> "Postfix":
        self._write()
        self._master = await asyncio.create_subprocess_exec(
            self._tree / "sbin" / "master",
            *("-c", self.configuration, "-d"),
            env=self.environment,
            start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        await self.logged("daemon started")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._master is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._master.pid, signal.SIGTERM)
        await self._master.communicate()

    async def inject(self, reverse_path: str, recipients: Sequence[str], message: str, port: int = 0) -> None:
        """Send a message to it (or to another ``port``) by SMTP, as any program would; lines end in LF."""

        def send() -> None:
            with smtplib.SMTP(self.host, port or self.port, local_hostname="client.example") as client:
                client.sendmail(reverse_path, recipients, message.replace("\n", "\r\n").encode())

        await asyncio.to_thread(send)

    async def queue(self) -> list[dict[str, Any]]:
        """The messages that it holds, as ``postqueue -j`` tells them."""
        output = await self.command("postqueue", "-j")
        return [json.loads(line) for line in output.splitlines()]

    async def flush(self) -> None:
        """Try all that is queued now."""
        await self.command("postqueue", "-f")

    async def emptied(self, within: float = 20.0) -> None:
        """Wait until it holds no message. TimeoutError if it still does.

        It must be so at two looks: one overlooks a message that goes from one queue to another meanwhile.
        """
        async with asyncio.timeout(within):
            while await self.queue() or await self.queue():
                await asyncio.sleep(0.1)

    async def logged(self, text: str, times: int = 1, within: float = 20.0) -> str:
        """Wait until its log holds ``text`` so often; the log."""
        assert self._master is not None
        async with asyncio.timeout(within):
            while (log := self.log()).count(text) < times:
                if self._master.returncode is not None and self._master.stderr is not None:
                    raise RuntimeError(f"Postfix has ended: {log}{(await self._master.stderr.read()).decode()}")
                await asyncio.sleep(0.05)
            return log

    def log(self) -> str:
        """All that it has logged so far."""
        return self._log.read_text() if self._log.exists() else ""

    async def command(self, name: str, *arguments: str) -> str:
        """The output of one of its programs (``postqueue``, ``postconf``, ``postsuper``) run on this instance."""
        process = await asyncio.create_subprocess_exec(
            self._programs / name,
            *("-c", str(self.configuration), *arguments),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, trouble = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"{name}: {trouble.decode()}")
        return output.decode()

    def _defaults(self, directory: Path, relay: str, back_off: int) -> dict[str, str]:
        self.user, self.group = _owner()
        return {
            "compatibility_level": "3.6",
            "queue_directory": str(self._queue),
            "data_directory": str(directory / "data"),
            "command_directory": str(self._programs),
            "daemon_directory": str(self._tree / "sbin"),
            "shlib_directory": str(self._tree),
            "meta_directory": str(self._programs.parent / "share" / "postfix"),
            "import_environment": "MAIL_CONFIG LD_LIBRARY_PATH LANG=C",
            "mail_owner": self.user,
            "setgid_group": self.group,
            "maillog_file": str(self._log),
            "maillog_file_prefixes": str(directory),
            "myhostname": "postfix.example",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "smtp_dns_support_level": "disabled",
            "smtpd_peername_lookup": "no",
            "alias_maps": "",
            "default_transport": relay,
            "minimal_backoff_time": f"{back_off}s",
            "maximal_backoff_time": f"{back_off * 2}s",
            "queue_run_delay": f"{back_off}s",
        }

    def _write(self) -> None:
        directory = self.configuration.parent
        directory.chmod(0o755)
        for path in (self.configuration, self._queue, self._queue / "pid"):
            path.mkdir(parents=True, exist_ok=True)
        for path in (directory / "data", *(self._queue / name for name in _OWNED)):
            path.mkdir(exist_ok=True, mode=0o700)
            shutil.chown(path, self.user)
        for name, mode in (("maildrop", 0o730), ("public", 0o710)):
            path = self._queue / name
            path.mkdir(exist_ok=True)
            shutil.chown(path, self.user, self.group)
            path.chmod(mode)
        lines = (f"{key} = {value}\n" for key, value in self.main.items())
        (self.configuration / "main.cf").write_text("".join(lines))
        (self.configuration / "master.cf").write_text(self.master)
        a_minute_ago = time.time() - 60  # it waits for a file that is younger than two seconds to settle
        os.utime(self.configuration / "main.cf", (a_minute_ago, a_minute_ago))


def _owner() -> tuple[str, str]:
    """A user and a group for its daemons: Debian's for Postfix, else any that are not shared with others."""
    try:
        pwd.getpwnam("postfix"), grp.getgrnam("postdrop")
        return "postfix", "postdrop"
    except KeyError:
        return "daemon", "mail"
