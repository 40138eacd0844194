"""The control socket: how the command line talks to the running server. Only the owner may connect.

One JSON object a line each way: ``{"call": "sandbox.list", "arguments": {…}}``, then ``{"value": …}``,
``{"octets": "base64"}`` or ``{"error": "…"}``. What goes on (``tail``) comes as one ``{"value": …}`` after the other.
"""

import asyncio
import base64
import hashlib
import json
import os
import socket
import stat
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mtaframe.lifecycle import CommandError

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]

SYSTEM_FOLDER = Path("/run/mtaframe")
REQUEST_LIMIT = 1_000_000


class ControlError(Exception):
    """The server can't be reached, or said no; the text is for the operator."""


class NotRunningError(ControlError):
    """There is no server."""


def socket_path(setting: str, folder: Path) -> Path:
    """Where the socket of the configuration in ``folder`` is: as set, or in a place that only its owner can enter."""
    if setting != "auto":
        return Path(setting)
    if os.access(SYSTEM_FOLDER, os.W_OK):
        return SYSTEM_FOLDER / "control.sock"
    runtime = os.environ.get("XDG_RUNTIME_DIR") or os.path.join(tempfile.gettempdir(), f"mtaframe-{os.getuid()}")
    mark = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=4).hexdigest()
    return Path(runtime) / f"mtaframe-{mark}.sock"


class ControlServer:
    """Answers calls, one after the other per connection."""

    def __init__(self, path: Path, call: Call) -> None:
        self._path = path
        self._call = call
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. ControlError if another server does already, or the folder is not ours alone."""
        folder = self._path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.stat()
        if owner.st_uid not in (os.getuid(), 0) or (folder != SYSTEM_FOLDER and owner.st_mode & stat.S_IWOTH):
            raise ControlError(f"{folder} belongs to somebody else; set `control` to another path")
        if self._path.exists():
            with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
                probe.connect(str(self._path))
                raise ControlError(f"another mtaframe is running on this configuration ({self._path})")
            self._path.unlink()
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=REQUEST_LIMIT)
        finally:
            os.umask(before)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, ValueError):
            while line := await reader.readline():
                answer = await self._answer(line)
                if isinstance(answer, bytes):
                    writer.write(answer + b"\n")
                    await writer.drain()
                else:
                    await _streamed(answer, reader, writer)
        writer.close()

    async def _answer(self, line: bytes) -> bytes | AsyncGenerator[Any, None]:
        try:
            request = json.loads(line)
            value = await self._call(str(request["call"]), dict(request.get("arguments", {})))
            if isinstance(value, AsyncGenerator):
                return value
            is_octets = isinstance(value, bytes)
            return json.dumps({"octets": base64.b64encode(value).decode()} if is_octets else {"value": value}).encode()
        except (ControlError, CommandError) as error:
            return json.dumps({"error": str(error)}).encode()
        except Exception as error:
            return json.dumps({"error": f"the call failed: {type(error).__name__}"}).encode()


async def _streamed(
    values: AsyncGenerator[Any, None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Each value as it comes, until whoever asked goes."""

    async def write() -> None:
        async for value in values:
            writer.write(json.dumps({"value": value}).encode() + b"\n")
            await writer.drain()

    writing = asyncio.create_task(write())
    gone = asyncio.create_task(reader.read())
    await asyncio.wait((writing, gone), return_when=asyncio.FIRST_COMPLETED)
    for task in (writing, gone):
        task.cancel()
    await asyncio.wait((writing, gone))
    await values.aclose()


def call(path: Path, name: str, arguments: dict[str, Any] | None = None) -> Any:
    """Ask the running server, from another process. ControlError if that can't be done."""
    for value in stream(path, name, arguments):
        return value
    raise ControlError("the server closed the connection without an answer")


def stream(path: Path, name: str, arguments: dict[str, Any] | None = None) -> Iterator[Any]:
    """The same for what goes on: each value as it comes, until the server ends."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            raise NotRunningError(f"no running mtaframe answers at {path}; start it with `mtaframe run`") from None
        connection.sendall(json.dumps({"call": name, "arguments": arguments or {}}).encode() + b"\n")
        with connection.makefile("rb") as answers:
            for line in answers:
                answer = json.loads(line)
                if "error" in answer:
                    raise ControlError(answer["error"])
                yield base64.b64decode(answer["octets"]) if "octets" in answer else answer["value"]
