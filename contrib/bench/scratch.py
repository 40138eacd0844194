"""The folder of one run: in RAM where the machine has /dev/shm, open to other users, gone at the end."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

_RAM = Path("/dev/shm")  # noqa: S108 - only the parent of a folder with a random name


@contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """A new folder; on a disk if nothing else is there, and then queues are slower."""
    folder = Path(tempfile.mkdtemp(prefix="mtaframe-bench-", dir=parent or (_RAM if _RAM.is_dir() else None)))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rsa_key(folder: Path) -> Path:
    """A new RSA-2048 key, in the PEM form that all programs here read."""
    path = folder / "s1.pem"
    key = generate_private_key(65537, 2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    return path
