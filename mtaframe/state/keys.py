"""The keys of ``state``: per purpose a list of them, each with an id, newest first.

The law: what is new is made under the newest key; what is looked up is looked up under every one. Whoever takes a key
out makes unreadable what it sealed.
"""

import base64
import binascii
import hashlib
import os
import tomllib
from collections.abc import Mapping
from types import MappingProxyType

from mtaframe.redaction import Redacted
from mtaframe.storage import NAME

PURPOSES = ("ledger", "digests", "documents")
KEY_SIZE = 32
DIGEST_SIZE = 16

REMARK = """\
# The keys of mtaframe's state: PURPOSE.ID = "32 octets in base64", the newest of a purpose first.
# An ID is a digest of its key.
# Without a key, what was made under it can't be read any more: keep a copy apart from that of the state.
"""


class KeyFileError(ValueError):
    """The text is no key file; says what is wrong, never what it holds."""


class Keyring(Redacted):
    """Immutable. ``keys`` has (id, key) by purpose, newest first."""

    def __init__(self, keys: Mapping[str, tuple[tuple[str, bytes], ...]]) -> None:
        self.keys = MappingProxyType(dict(keys))

    @classmethod
    def random(cls) -> "Keyring":
        """One new key for each purpose."""
        return cls({purpose: (_new(),) for purpose in PURPOSES})

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """What ``text`` made. KeyFileError says what is wrong."""
        try:
            tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            raise KeyFileError('the keys are not lines of PURPOSE.ID = "…"') from None
        keys = {}
        for purpose, table in tables.items():
            if not NAME.fullmatch(purpose) or not isinstance(table, dict):
                raise KeyFileError('the keys are not lines of PURPOSE.ID = "…"')
            keys[purpose] = tuple((key_id, _key(purpose, key_id, value)) for key_id, value in table.items())
        return cls(keys)

    def text(self) -> str:
        """As the file of keys has it."""
        lines = [
            f'{purpose}.{key_id} = "{base64.b64encode(key).decode()}"\n'
            for purpose, keys in self.keys.items()
            for key_id, key in keys
        ]
        return REMARK + "".join(lines)

    def newest(self, purpose: str) -> tuple[str, bytes]:
        """Its id and the key. KeyError if there is none."""
        return self.keys[purpose][0]

    def has(self, purpose: str, key_id: str) -> bool:
        return any(key_id == one for one, _ in self.keys.get(purpose, ()))

    def rotated(self, purpose: str) -> "Keyring":
        """With one more key in front."""
        return Keyring({**self.keys, purpose: (_new(), *self.keys.get(purpose, ()))})

    def without(self, purpose: str, key_id: str) -> "Keyring":
        return Keyring({**self.keys, purpose: tuple(one for one in self.keys[purpose] if one[0] != key_id)})

    def prints(self, purpose: str, what: bytes) -> list[tuple[str, bytes]]:
        """The digest of ``what`` under each live key, by the key's id: nobody who lacks the key can tell what it is.

        Each purpose has a key of its own, which follows from the master key. ValueError unless it is a name.
        """
        if not NAME.fullmatch(purpose):
            raise ValueError("a purpose is a name")
        return [
            (key_id, hashlib.blake2b(what, key=_derived(key, purpose), digest_size=DIGEST_SIZE).digest())
            for key_id, key in self.keys["digests"]
        ]


def _derived(master: bytes, purpose: str) -> bytes:
    return hashlib.blake2b(purpose.encode(), key=master, digest_size=KEY_SIZE, person=b"mtaframe.digests").digest()


def _new() -> tuple[str, bytes]:
    key = os.urandom(KEY_SIZE)
    return _id(key), key


def _id(key: bytes) -> str:
    """What a key is called: another one can't take its place unseen."""
    return hashlib.blake2b(key, digest_size=4, person=b"mtaframe.key-id").hexdigest()


def _key(purpose: str, key_id: str, value: object) -> bytes:
    """The octets of one line."""
    try:
        key = base64.b64decode(str(value), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_SIZE or _id(key) != key_id:
        raise KeyFileError(f"a key of {purpose} is not {KEY_SIZE} octets in base64, or not the one that its id names")
    return key
