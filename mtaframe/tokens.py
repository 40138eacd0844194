"""API tokens: ``mta_<id>_<secret>``, made here and proven here; only a hash of the secret is ever written down.

The rule: a secret has 256 random bits, so nobody finds it by trying, and its hash may be fast: a token is proven with
every request. (A password is what people can remember; its hash is slow on purpose, see ``accounts``.) A token with an
id that does not exist takes as long as one with a wrong secret.
"""

import hmac
import re
import secrets
import string
from base64 import urlsafe_b64encode
from hashlib import blake2b

PREFIX = "mta"

_ID = re.compile(r"[a-z0-9]{12}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_LETTERS = string.ascii_lowercase + string.digits
_NOBODY = f"blake2b${'0' * 32}${'0' * 64}"


def new_token() -> tuple[str, str, str]:
    """A token's text, which is shown once; its id and its hash, as ``conf/accounts.toml`` wants them."""
    token_id = "".join(secrets.choice(_LETTERS) for _ in range(12))
    secret = urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    return f"{PREFIX}_{token_id}_{secret}", token_id, hash_secret(secret)


def hash_secret(secret: str) -> str:
    """``blake2b$<salt>$<digest>``: a new random key of keyed blake2b, and the secret's digest under it, both in hex."""
    salt = secrets.token_bytes(16)
    return f"blake2b${salt.hex()}${_digest(secret, salt).hex()}"


def taken_apart(text: str) -> tuple[str, str] | None:
    """Id and secret of a token's text; None if it is none. The secret may hold what parts the others."""
    prefix, _, rest = text.partition("_")
    token_id, _, secret = rest.partition("_")
    is_token = prefix == PREFIX and _ID.fullmatch(token_id) and _SECRET.fullmatch(secret)
    return (token_id, secret) if is_token else None


def is_proven(secret: str, expected: str | None) -> bool:
    """Whether the secret belongs to this hash; None, for an id that nobody has, takes as long and is False."""
    _, salt, digest = (expected or _NOBODY).split("$")
    is_equal = hmac.compare_digest(_digest(secret, bytes.fromhex(salt)), bytes.fromhex(digest))
    return is_equal and expected is not None


def _digest(secret: str, salt: bytes) -> bytes:
    return blake2b(secret.encode("utf-8", "surrogatepass"), key=salt, digest_size=32).digest()
