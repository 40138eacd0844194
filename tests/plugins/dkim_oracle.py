"""Two other programs' opinions of a signature: dkimpy, and OpenDKIM where it is installed. And keys to sign with."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from mtaframe import Message
from mtaframe_plugins.dkim.keys import PrivateKey, public_key

Dns = Mapping[str, str]
"""TXT records by name, without the final dot."""


@dataclass(frozen=True)
class KeyFile:
    """A private key on disk, and what the DNS would say of it."""

    path: Path
    record: str

    def table(self, domain: str = "example.com", selector: str = "", **more: object) -> dict[str, object]:
        """A [[key]] table with this key; the selector is the file's name unless given."""
        return {"domain": domain, "selector": selector or self.path.stem, "file": str(self.path), **more}


def write_key(path: Path, key: PrivateKey) -> KeyFile:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    path.chmod(0o600)
    kind = "ed25519" if isinstance(key, Ed25519PrivateKey) else "rsa"
    return KeyFile(path, f"v=DKIM1; k={kind}; p={public_key(key)}")


def rsa_key(path: Path, bits: int = 2048) -> KeyFile:
    key: RSAPrivateKey = generate_private_key(65537, bits)
    return write_key(path, key)


def ed25519_key(path: Path) -> KeyFile:
    return write_key(path, Ed25519PrivateKey.generate())


def signed_names(message: Message) -> list[tuple[str, str]]:
    """(domain, selector) of each signature, top to bottom."""
    values = [field.value for field in message.all("DKIM-Signature")]
    tags = [{k.strip(): v.strip() for k, _, v in (tag.partition("=") for tag in value.split(";"))} for value in values]
    return [(tag["d"], tag["s"]) for tag in tags]


def dkimpy_accepts(message: Message, index: int, dns: Dns) -> bool:
    """Whether dkimpy verifies the signature with this index. dkimpy's own exceptions come through."""

    def txt(name: bytes, timeout: int = 5) -> bytes | None:
        record = dns.get(name.decode().rstrip("."))
        return record.encode() if record else None

    return bool(dkim.DKIM(message.raw).verify(index, dnsfunc=txt))


def opendkim_says(program: Path, folder: Path, messages: Sequence[Message], dns: Dns) -> list[str]:
    """What ``opendkim -t`` prints for each message, which should carry one signature: it tells of one only."""
    (folder / "dns").write_text("".join(f"{name} {record}\n" for name, record in dns.items()))
    config = folder / "opendkim.conf"
    config.write_text(f"Mode v\nSyslog no\nTestDNSData file:{folder}/dns\n")
    said = []
    for number, message in enumerate(messages):
        file = folder / f"{number}.eml"
        file.write_bytes(message.raw)
        run = subprocess.run(
            [program, "-x", config, "-t", file], capture_output=True, text=True, check=False, timeout=20
        )
        said.append(f"{run.stdout.strip()} {run.stderr.strip()}".strip())
    return said


def alone(message: Message, index: int) -> Message:
    """The message with only that one of its signatures."""
    field = message.all("DKIM-Signature")[index]
    rest = message.without("DKIM-Signature")
    return Message(field.raw + rest.header, rest.body)
