"""A real Exim in a directory of its own: its queue, its log and its port, all on loopback.

It runs from where Debian installed it, or unpacked in ``.deps/``: no file outside the directory is written. It
needs root, and delivers as another user, so the directory must be open to others.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import smtplib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from mtaframe.cli.exim_files import Section
from tests.end_to_end.postfix import free_port

USER = "Debian-exim"
_CONFIGURATION = """\
exim_path = {program}
primary_hostname = exim.example
spool_directory = {directory}/spool
log_file_path = {directory}/%slog
pid_file_path = {directory}/pid
local_interfaces = {host}
daemon_smtp_ports = {port}
keep_environment =
domainlist local_domains =
domainlist relay_to_domains =
acl_smtp_rcpt = accept
tls_advertise_hosts =
{main}
begin routers
{routers}
begin transports
{transports}
begin retry
{retry}
* * F,1h,{back_off}s
"""


class Exim:
    """Exim on ``host``:``port``; ``relay`` is what is added to the sections main, routers, transports and retry.

    It tries again after ``back_off`` seconds and then at each queue run, one every second (none without
    ``queue_runs``). Without ``relay`` all mail stays in the queue.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        directory: Path,
        program: Path,
        *,
        relay: Mapping[Section, str] | None = None,
        back_off: int = 1,
        queue_runs: bool = True,
    ) -> None:
        self.port = free_port()
        self.configuration = directory / "exim.conf"
        self._directory = directory
        self._program = program
        self._daemon: asyncio.subprocess.Process | None = None
        self._queue_runs = ("-q1s",) if queue_runs else ()
        sections = {section: (relay or {}).get(section, "") for section in get_args(Section)}
        self._text = _CONFIGURATION.format(
            program=program, directory=directory, host=self.host, port=self.port, back_off=back_off, **sections
        )

    async def __aenter__(self) -> "Exim":
        self._directory.chmod(0o755)
        for name in ("spool", "spool/input"):
            path = self._directory / name
            path.mkdir(mode=0o750)
            shutil.chown(path, USER, USER)
        shutil.chown(self._directory, USER)  # it makes its log there
        self.configuration.write_text(self._text)
        with (self._directory / "errors").open("wb") as errors:
            # a file: in a pipe that nobody reads its processes would wait for ever, once it is full
            self._daemon = await asyncio.create_subprocess_exec(
                *(str(self._program), "-C", str(self.configuration), "-bdf", *self._queue_runs),
                start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL,
                stderr=errors,
            )
        await self.logged("daemon started")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._daemon is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._daemon.pid, signal.SIGTERM)
        await self._daemon.communicate()

    async def inject(self, reverse_path: str, recipients: Sequence[str], message: str, port: int = 0) -> None:
        """Send a message to it (or to another ``port``) by SMTP, as any program would; lines end in LF."""

        def send() -> None:
            with smtplib.SMTP(self.host, port or self.port, local_hostname="client.example") as client:
                client.sendmail(reverse_path, recipients, message.replace("\n", "\r\n").encode())

        await asyncio.to_thread(send)

    async def queue(self) -> list[str]:
        """The ids of the messages that it holds."""
        lines = (line.split() for line in (await self.command("-bpru")).splitlines())
        # age, size, id and reverse-path; then a line for each recipient
        return [fields[2] for fields in lines if len(fields) >= 4]

    async def flush(self) -> None:
        """Try all that is queued now."""
        await self.command("-qff")

    async def emptied(self, within: float = 20.0) -> None:
        """Wait until it holds no message. TimeoutError if it still does."""
        async with asyncio.timeout(within):
            while await self.queue():
                await asyncio.sleep(0.1)

    async def logged(self, text: str, times: int = 1, within: float = 20.0) -> str:
        """Wait until its log holds ``text`` so often; the log."""
        assert self._daemon is not None
        async with asyncio.timeout(within):
            while (log := self.log()).count(text) < times:
                if self._daemon.returncode is not None:
                    raise RuntimeError(f"Exim has ended: {log}{(self._directory / 'errors').read_text()}")
                await asyncio.sleep(0.05)
            return log

    def log(self) -> str:
        """All that it has logged so far."""
        path = self._directory / "mainlog"
        return path.read_text() if path.exists() else ""

    async def command(self, *arguments: str) -> str:
        """The output of the program run on this instance."""
        process = await asyncio.create_subprocess_exec(
            *(str(self._program), "-C", str(self.configuration), *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, trouble = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"exim {' '.join(arguments)}: {trouble.decode()}")
        return output.decode()
