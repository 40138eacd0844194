"""A whole mtaframe in the test's own process, on a configuration that the test writes."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mtaframe.lifecycle import Clock
from mtaframe.standalone import Standalone


class House:
    """``mta`` is running; ``folder`` is its configuration."""

    def __init__(self, mta: Standalone) -> None:
        self.mta = mta
        self.folder = mta.folder

    def port(self, listener: str) -> int:
        """The port that the system gave a listener on ``127.0.0.1:0``."""
        return int(self.mta.listeners[listener].addresses[0].rpartition(":")[2])

    def write(self, name: str, text: str) -> None:
        """Change one file of the configuration."""
        (self.folder / name).write_text(text)


@asynccontextmanager
async def running(
    folder: Path,
    files: Mapping[str, str],
    *,
    plugins: Mapping[str, type[Any]] | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[House]:
    """Write ``files`` (``{"mtaframe.toml": …}``) into the folder and run on them until the end of the block.

    ``plugins`` are classes by the name under which the configuration lists them. The control socket is in the
    folder, unless the configuration says otherwise. ConfigError if the configuration has a fault.
    """
    for name, text in files.items():
        if name == "mtaframe.toml" and "control =" not in text:
            text = f'control = "{folder / "control.sock"}"\n{text}'
        (folder / name).write_text(text)
    mta = Standalone(folder, clock, plugins or {})
    await mta.start()
    try:
        yield House(mta)
    finally:
        await mta.stop()
