"""Seals documents (AES-SIV, RFC 5297): without its key neither name nor content of one can be read, or be exchanged.

Sealing the same twice gives the same octets, so a document is found by its sealed name.
"""

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from mtaframe.state.keys import Keyring

_MARK = b"\x01"
"""Before the content: what AES-SIV seals must not be empty."""


class Seal:
    """``keyring`` has the keys for the purpose ``documents``; everything sealed names the id of its key."""

    def __init__(self, keyring: Keyring) -> None:
        self._ciphers = {
            key_id: AESSIV(hashlib.blake2b(key=key, digest_size=64, person=b"mtaframe.seal").digest())
            for key_id, key in keyring.keys["documents"]
        }

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Newest first."""
        return tuple(self._ciphers)

    def name(self, key_id: str, account: str, kind: str, name: str) -> bytes:
        return self._ciphers[key_id].encrypt(_MARK + name.encode(), _for(account, kind))

    def content(self, key_id: str, account: str, kind: str, name: str, content: bytes) -> bytes:
        return self._ciphers[key_id].encrypt(_MARK + content, _for(account, kind, name))

    def opened_name(self, key_id: str, account: str, kind: str, sealed: bytes) -> str:
        """ValueError if it was not sealed so."""
        return self._opened(key_id, sealed, _for(account, kind)).decode()

    def opened_content(self, key_id: str, account: str, kind: str, name: str, sealed: bytes) -> bytes:
        """ValueError if it was not sealed so."""
        return self._opened(key_id, sealed, _for(account, kind, name))

    def _opened(self, key_id: str, sealed: bytes, what: list[bytes]) -> bytes:
        try:
            return self._ciphers[key_id].decrypt(sealed, what).removeprefix(_MARK)
        except (InvalidTag, KeyError):
            raise ValueError("it was sealed for something else, or by another key") from None


def _for(*parts: str) -> list[bytes]:
    """Names and contents have different numbers of parts."""
    return [part.encode() for part in parts]
