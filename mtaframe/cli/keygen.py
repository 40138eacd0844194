"""``mtaframe keygen DOMAIN`` makes DKIM keys, and says what to publish in the DNS and to write into conf/dkim.toml.

The rule: a private key is written once, readable for its owner alone, and never over another file.
"""

import base64
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click

from mtaframe.cli.options import json_option
from mtaframe.cli.printing import Failed, print_json

Algorithm = Literal["rsa", "ed25519"]
ALGORITHMS: tuple[Algorithm, ...] = ("rsa", "ed25519")
BITS = 2048
"""More does not fit every DNS answer, less is refused by some verifiers (RFC 8301 §3.2)."""

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")
_SELECTOR = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class Record:
    """A TXT record: its full name without the final dot, and its text in one piece."""

    name: str
    text: str

    @property
    def line(self) -> str:
        """As a zone file has it: strings of at most 255 octets (RFC 1035 §3.3.14)."""
        pieces = [f'"{self.text[i : i + 255]}"' for i in range(0, len(self.text), 255)]
        if len(pieces) == 1:
            return f"{self.name}. IN TXT {pieces[0]}"
        return f"{self.name}. IN TXT ( " + "\n    ".join(pieces) + " )"


@dataclass(frozen=True, slots=True, repr=False)
class DkimKey:
    """A new key: the private one in PEM, and the record that publishes the other half."""

    domain: str
    selector: str
    algorithm: Algorithm
    pem: bytes
    record: Record

    def table(self, file: Path) -> str:
        """The [[key]] table for conf/dkim.toml."""
        path = str(file).replace("\\", "\\\\").replace('"', '\\"')
        return (
            f'[[key]]\ndomain = "{self.domain}"\nselector = "{self.selector}"\nfile = "{path}"\n'
            f'algorithm = "{self.algorithm}-sha256"\n'
        )


def dkim_key(domain: str, selector: str, algorithm: Algorithm, bits: int = BITS) -> DkimKey:
    """A fresh key for that domain and selector."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private: rsa.RSAPrivateKey | Ed25519PrivateKey
    if algorithm == "ed25519":
        private = Ed25519PrivateKey.generate()
        public = private.public_key().public_bytes_raw()
    else:
        private = rsa.generate_private_key(65537, bits)
        public = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    text = f"v=DKIM1; k={algorithm}; p={base64.b64encode(public).decode('ascii')}"
    return DkimKey(domain, selector, algorithm, pem, Record(f"{selector}._domainkey.{domain}", text))


def suggestions(domain: str, addresses: Sequence[str]) -> tuple[Record, Record]:
    """SPF and DMARC records to begin with (RFC 7208, RFC 7489), for a domain that has none."""
    named = [f"ip{ipaddress.ip_address(address).version}:{address}" for address in addresses]
    spf = " ".join(["v=spf1", *(named or ["a", "mx"]), "~all"])
    return Record(domain, spf), Record(f"_dmarc.{domain}", "v=DMARC1; p=none")


def selectors(stem: str, algorithms: Sequence[Algorithm]) -> list[tuple[str, Algorithm]]:
    """A selector for each algorithm: the stem itself, or the stem and the algorithm if there are several."""
    distinct = list(dict.fromkeys(algorithms))
    return [(f"{stem}-{algorithm}" if len(distinct) > 1 else stem, algorithm) for algorithm in distinct]


def write(key: DkimKey, file: Path) -> None:
    """Write the private key, mode 0600. FileExistsError if there is a file already."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(key.pem)


@click.command()
@click.argument("domain")
@click.option("--selector", help="The selector, or its beginning if two keys are made. Default: year and month.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where to make DOMAIN/SELECTOR.pem. Default: here.",
)
@click.option(
    "--algorithm",
    "algorithms",
    type=click.Choice(ALGORITHMS),
    multiple=True,
    default=ALGORITHMS,
    help="What to make; may be given twice. Default: both, for not every verifier knows Ed25519.",
)
@click.option(
    "--ip", "addresses", multiple=True, metavar="ADDRESS", help="An address that mail leaves from, for the SPF record."
)
@json_option
def keygen(
    domain: str,
    selector: str | None,
    out: Path,
    algorithms: tuple[Algorithm, ...],
    addresses: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make DKIM keys for DOMAIN, and print what to publish and to configure."""
    domain = _checked_domain(domain)
    stem = selector or f"{datetime.now(UTC):%Y%m}"
    if not _SELECTOR.fullmatch(stem) or len(stem) > 50:
        raise Failed('a selector is written as "2026a" or "mail.2026a": letters, digits, hyphens and dots')
    for address in addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise Failed(f'"{address}" is not an IP address') from None
    wanted = selectors(stem, algorithms)
    files = {name: out.resolve() / domain / f"{name}.pem" for name, _ in wanted}
    for file in files.values():
        if file.exists():
            raise Failed(f"{file} exists already: choose another selector with --selector")
    keys = [dkim_key(domain, name, algorithm) for name, algorithm in wanted]
    for key in keys:
        try:
            write(key, files[key.selector])
        except FileExistsError:
            raise Failed(f"{files[key.selector]} exists already: choose another selector with --selector") from None
        except OSError as error:
            raise Failed(f"{files[key.selector]} can't be written: {error.strerror}") from None
    say = _print_json if as_json else _print_text
    say(keys, files, *suggestions(domain, addresses))


def _checked_domain(text: str) -> str:
    domain = text.rstrip(".").lower()
    if not _DOMAIN.fullmatch(domain) or len(domain) > 200:
        raise Failed('a domain is written as "example.com" (the xn-- form of others than ASCII)')
    return domain


def _print_json(keys: Sequence[DkimKey], files: dict[str, Path], spf: Record, dmarc: Record) -> None:
    print_json(
        {
            "keys": [
                {
                    "domain": key.domain,
                    "selector": key.selector,
                    "algorithm": f"{key.algorithm}-sha256",
                    "file": str(files[key.selector]),
                    "record": asdict(key.record),
                }
                for key in keys
            ],
            "spf": asdict(spf),
            "dmarc": asdict(dmarc),
            "toml": _toml(keys, files),
        }
    )


def _print_text(keys: Sequence[DkimKey], files: dict[str, Path], spf: Record, dmarc: Record) -> None:
    click.echo("; Private keys, for the user that mtaframe runs as and nobody else:")
    for key in keys:
        click.echo(f";   {files[key.selector]}")
    click.echo("\n; Publish, and wait until the whole world can see it:")
    for key in keys:
        click.echo(key.record.line)
    click.echo("\n; Publish too, if the domain has none yet; then tighten them (-all, p=quarantine, p=reject):")
    click.echo(spf.line)
    click.echo(dmarc.line)
    click.echo("\n# Then add to conf/dkim.toml:")
    click.echo(_toml(keys, files), nl=False)


def _toml(keys: Sequence[DkimKey], files: dict[str, Path]) -> str:
    return "\n".join(key.table(files[key.selector]) for key in keys)
