"""The accounts of one generation, and the proof of a password or a token.

The rule: checking a password never stalls the mail, and a wrong name costs as much as a wrong password. A password
just proven is remembered for a minute, as a keyed digest whose key nobody else has.
"""

import asyncio
import hmac
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from mtaframe.account import Account, Status, Token
from mtaframe.address import dns_name
from mtaframe.clock import SystemClock
from mtaframe.lifecycle import AccountBook, Clock
from mtaframe.message import Message
from mtaframe.tokens import is_proven, taken_apart

REMEMBERED = 60.0
"""Seconds for which a proven password needs no second proof."""
LONGEST_DOMAIN = 255
"""Octets (RFC 1035 §2.3.4): what is longer is none, and each of its dots would cost time."""

_WORST = {status: place for place, status in enumerate(Status)}
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)  # 19 MiB: OWASP's choice, about 30 ms
_NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$cLcQvmldDf6Na+ohgYvA1g$vDLQR7wz47HFPFIKmOdknR7807FknngqMzvpK5K/eBs"


class Accounts(AccountBook):
    """All accounts by name."""

    def __init__(self, accounts: Iterable[Account] = (), clock: Clock | None = None) -> None:
        self._accounts = {account.name: account for account in accounts}
        self._clock: Clock = clock or SystemClock()
        everyone = self._accounts.values()
        self._owners = {domain: account for account in everyone for domain in account.domains}
        self._chains = {account.name: self._upwards(account) for account in everyone}
        self._below: dict[str, list[str]] = {}
        for name, (_, *above) in self._chains.items():
            for each in above:
                self._below.setdefault(each.name, []).append(name)
        self._status = {
            name: max((each.status for each in chain), key=_WORST.__getitem__) for name, chain in self._chains.items()
        }
        open_ones = [account for account in everyone if self._status[account.name] is not Status.CLOSED]
        self._tokens = {token.id: (account, token) for account in open_ones for token in account.tokens}
        self._hashes = {c.user: (account, c.hash) for account in open_ones for c in account.credentials}
        # The stand-in for unknown users is as dear as a real one; its answer is never used.
        self._stand_in = next((hash_ for _, hash_ in self._hashes.values()), _NOBODY)
        self._key = secrets.token_bytes(32)
        self._proven: dict[str, tuple[bytes, float]] = {}
        self._under_way: dict[bytes, asyncio.Task[bool]] = {}
        self._at_once = asyncio.Semaphore(max(1, (os.cpu_count() or 1) // 2))

    def __getitem__(self, name: str) -> Account:
        return self._accounts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._accounts)

    def __len__(self) -> int:
        return len(self._accounts)

    def __repr__(self) -> str:
        return f"Accounts({len(self)})"

    def chain(self, name: str) -> Sequence[Account]:
        """The account, its parent, and so on up; empty if there is no such account."""
        return self._chains.get(name, ())

    def below(self, name: str) -> Sequence[str]:
        """The names of all its sub-accounts, and of theirs."""
        return self._below.get(name, ())

    def status_of(self, name: str) -> Status:
        """The worst along the chain; closed if there is no such account."""
        return self._status.get(name, Status.CLOSED)

    def _upwards(self, account: Account) -> Sequence[Account]:
        chain = [account]
        while (parent := self._accounts.get(chain[-1].parent or "")) is not None and parent not in chain:
            chain.append(parent)
        return tuple(chain)

    def owner_of(self, domain: str) -> Account | None:
        """The account that the domain belongs to: by its own name, else by the nearest entry ``.parent``."""
        if not self._owners:
            return None
        if not domain.isascii():
            with suppress(UnicodeError):  # no name at all: nobody's
                domain = dns_name(domain)
        name = domain.rstrip(".").lower()
        if owner := self._owners.get(name):
            return owner
        while name and len(name) <= LONGEST_DOMAIN:
            _, _, name = name.partition(".")
            if owner := self._owners.get(f".{name}"):
                return owner
        return None

    def author_of(self, message: Message) -> Account | None:
        """The owner of the From field's domain, as far as it can be read without guessing."""
        if not self._owners:  # then nobody needs to read the field
            return None
        domain = (message.first("From") or "").rpartition("@")[2].strip("<> \t").lower()
        return self.owner_of(domain) if domain else None

    def of_user(self, user: str) -> Account | None:
        """The account that this user logs in to, or None."""
        return self._hashes[user][0] if user in self._hashes else None

    def of_token(self, text: str) -> tuple[Account, Token] | None:
        """The account of this token, and which of its tokens it is; or None."""
        found = taken_apart(text)
        if found is None:
            return None
        token_id, secret = found
        known = self._tokens.get(token_id)
        return known if is_proven(secret, known[1].hash if known else None) else None

    async def authenticate(self, user: str, password: str) -> Account | None:
        """The account of these credentials, or None. Half of the cores at most prove passwords at once."""
        account, expected = self._hashes.get(user, (None, self._stand_in))
        digest = self._digest(user, password)
        if account is not None and self._is_remembered(user, digest):
            return account
        task = self._under_way.get(digest)
        if task is None:
            task = self._under_way[digest] = asyncio.create_task(self._prove(expected, password))
            task.add_done_callback(lambda _: self._under_way.pop(digest, None))
        if not await asyncio.shield(task) or account is None:
            return None
        self._proven[user] = (digest, self._clock.monotonic() + REMEMBERED)
        return account

    async def _prove(self, expected: str, password: str) -> bool:
        async with self._at_once:
            return await asyncio.to_thread(_matches, expected, password)

    def _is_remembered(self, user: str, digest: bytes) -> bool:
        known, until = self._proven.get(user, (b"", 0.0))
        if not known:
            return False
        if self._clock.monotonic() >= until:
            del self._proven[user]
            return False
        return hmac.compare_digest(known, digest)

    def _digest(self, user: str, password: str) -> bytes:
        name = _octets(user)
        return blake2b(len(name).to_bytes(8, "big") + name + _octets(password), key=self._key, digest_size=32).digest()


def hash_password(password: str) -> str:
    """The argon2id hash of a password, as ``conf/accounts.toml`` wants it. Takes some 30 ms."""
    return _HASHER.hash(_octets(password))


def _matches(expected: str, password: str) -> bool:
    try:
        return _HASHER.verify(expected, _octets(password))
    except (VerificationError, InvalidHashError):
        return False


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
