"""Private keys from PEM files, and what they sign with: RSA-SHA256 (RFC 6376) and Ed25519-SHA256 (RFC 8463).

The rule: a key that is configured and can't be used is an error that says what to do, never unsigned mail.
"""

import base64
import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from mtaframe import Redacted

LEAST_BITS = 1024
"""Verifiers refuse shorter RSA keys (RFC 8301 §3.2)."""
GOOD_BITS = 2048
MOST_BITS = 4096
"""Verifiers need not know longer ones (RFC 8301 §3.2)."""

_PADDING = padding.PKCS1v15()
_SHA256 = hashes.SHA256()

PrivateKey = RSAPrivateKey | Ed25519PrivateKey


def private_key(file: str, *, checked: bool = True) -> PrivateKey:
    """The key in a PEM file. ValueError says what is wrong and what to do, without the file's name.

    ``checked`` proves that the numbers of an RSA key are sound, which takes some 40 ms: not for the event loop.
    """
    try:
        pem = Path(file).read_bytes()
    except FileNotFoundError:
        raise ValueError("there is no such file: `mtaframe keygen DOMAIN` makes a key") from None
    except OSError as error:
        raise ValueError(f"the file can't be read: {error.strerror}") from None
    try:
        key = serialization.load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=not checked)
    except TypeError:
        raise ValueError("the key has a passphrase: `openssl pkey -in OLD -out NEW` writes it without") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("not a sound PEM private key: `mtaframe keygen DOMAIN` makes one") from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the key is neither RSA nor Ed25519: `mtaframe keygen DOMAIN` makes both")
    if key.key_size < LEAST_BITS:
        raise ValueError(f"the RSA key has {key.key_size} bits, and verifiers refuse less than {LEAST_BITS}: make one "
                         f"of {GOOD_BITS} with `mtaframe keygen DOMAIN`")  # fmt: skip
    return key


def algorithm(key: PrivateKey) -> str:
    """The name for the ``a=`` tag."""
    return "ed25519-sha256" if isinstance(key, Ed25519PrivateKey) else "rsa-sha256"


def public_key(key: PrivateKey) -> str:
    """What the DNS record publishes as ``p=`` (RFC 6376 §3.6.1, RFC 8463 §4)."""
    if isinstance(key, Ed25519PrivateKey):
        octets = key.public_key().public_bytes_raw()
    else:
        octets = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    return base64.b64encode(octets).decode("ascii")


def worries(file: str, key: PrivateKey) -> list[str]:
    """What works, but should not stay so."""
    found = []
    if isinstance(key, RSAPrivateKey) and not GOOD_BITS <= key.key_size <= MOST_BITS:
        found.append(f"an RSA key of {key.key_size} bits; {GOOD_BITS} to {MOST_BITS} suit every verifier")
    if Path(file).stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        found.append("everybody on this machine can read the file")
    return found


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SigningKey(Redacted):
    """A key at work. ``accounts``: who may use it for mail from its domain; empty: see ``choice``."""

    _shown = ("domain", "selector", "algorithm")

    domain: str
    selector: str
    algorithm: str
    subdomains: bool
    accounts: frozenset[str]
    key: PrivateKey

    def sign(self, octets: bytes) -> str:
        """The signature of these octets, in base64."""
        if isinstance(self.key, Ed25519PrivateKey):
            signature = self.key.sign(hashlib.sha256(octets).digest())
        else:
            signature = self.key.sign(octets, _PADDING, _SHA256)
        return base64.b64encode(signature).decode("ascii")
