"""Real mail servers for the end-to-end tests, started as often as a test asks and stopped at its end."""

import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from mtaframe.notation import Endpoint
from tests.conftest import Program
from tests.end_to_end.exim import Exim
from tests.end_to_end.postfix import Postfix, free_port

StartPostfix = Callable[..., Awaitable[Postfix]]
StartExim = Callable[..., Awaitable[Exim]]


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint(f"127.0.0.1:{free_port()}")


@pytest.fixture
def unix_socket() -> Iterator[Endpoint]:
    """In a folder that a mail server's user may enter."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Endpoint(f"{directory}/lmtp.sock")


@pytest.fixture
def postconf(program: Program, missing: Callable[[str], None]) -> Path:
    """Postfix's ``postconf``; its other programs lie beside it. Running them needs root."""
    if os.geteuid():
        missing("postfix (as root)")
    return program("postconf")


@pytest.fixture
async def start_postfix(postconf: Path) -> AsyncIterator[StartPostfix]:
    """``await start_postfix(relay="lmtp:inet:127.0.0.1:2424", main={...})``: a running Postfix."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Postfix:
            # not tmp_path: its parents are closed to the user that the daemons run as
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="postfix-"))
            return await stack.enter_async_context(Postfix(Path(directory), postconf, **settings))

        yield start


@pytest.fixture
async def start_exim(program: Program, missing: Callable[[str], None]) -> AsyncIterator[StartExim]:
    """``await start_exim(relay=additions("behind", endpoint))``: a running Exim."""
    if os.geteuid():
        missing("exim4 (as root)")
    path = program("exim4")
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Exim:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="exim-"))
            return await stack.enter_async_context(Exim(Path(directory), path, **settings))

        yield start
