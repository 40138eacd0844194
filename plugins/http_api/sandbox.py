"""Sandbox addresses: an account holder's own, shown to be so by a code; they may be mailed before anything is approved.

The law: a code is six digits, so guesses are few: five for a code, and a number an hour and a day for an account, which
all workers count together. Of a code only a hash is kept, in a sealed document.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mtaframe import Address, Counter, Mta, Redacted, SandboxAddress
from mtaframe_plugins.http_api.belongings import Belongings
from mtaframe_plugins.http_api.templates import moment

MOST = 10
"""Addresses of an account, as at MimePost."""
TRIES = 5
"""Wrong codes; then the address is dropped."""
PAUSE = 60
"""Seconds between two codes for an address."""
LIFETIME = 86_400
"""Seconds that a code holds."""
MAILED = (20, 50)
TRIED = (20, 50)
"""Codes an hour and a day: mailed for an account, and tried."""

Checked = Literal["verified", "wrong", "dropped", "late", "often"]


@dataclass(frozen=True, slots=True, repr=False)
class SandboxEmail(Redacted):
    """``mailed_at`` is in seconds; ``error`` is a reply's code, if the code could not be mailed."""

    address: str
    created_at: str
    is_verified: bool = False
    salt: str = ""
    code: str = ""
    wrong: int = 0
    mailed_at: int = 0
    error: str = ""


class Sandbox:
    """The sandbox addresses of all accounts."""

    def __init__(self, mta: Mta) -> None:
        self._mta = mta
        self._made = Belongings(mta, "sandbox_email", _read)

    async def all(self, account: str) -> Sequence[SandboxEmail]:
        return sorted((await self._made.all(account)).values(), key=lambda each: (each.created_at, each.address))

    async def find(self, account: str, address: Address) -> SandboxEmail | None:
        return (await self._made.all(account)).get(_name(address))

    async def add(self, account: str, address: Address) -> SandboxEmail | None:
        """None if the account has as many as it may. One that is here already stays as it is."""
        made = SandboxEmail(address.mailbox, moment(self._mta.clock.now()))
        return await self._made.add(account, _name(address), made, MOST)

    async def new_code(self, account: str, address: Address) -> str | None:
        """A code to be mailed, in place of any before. None if it is too soon for another."""
        found = await self.find(account, address)
        if found is None or self._age(found) < PAUSE or not await self._may("codes_mailed", account, *MAILED):
            return None
        code, salt = f"{secrets.randbelow(1_000_000):06d}", secrets.token_hex(16)

        def renewed(each: SandboxEmail) -> SandboxEmail:
            if self._age(each) < PAUSE:
                return each
            return replace(each, salt=salt, code=_hash(salt, code), wrong=0, mailed_at=self._now(), error="")

        found = await self._made.change(account, _name(address), renewed)
        return code if found is not None and found.salt == salt else None

    async def failed(self, account: str, address: Address, error: str) -> None:
        """The code did not arrive."""
        await self._made.change(
            account, _name(address), lambda each: each if each.is_verified else replace(each, error=error)
        )

    async def check(self, account: str, address: Address, code: str) -> Checked:
        """Whether this is the code: then the address is verified."""
        found = await self.find(account, address)
        if found is None:
            return "dropped"
        if found.is_verified:
            return "verified"
        if not await self._may("codes_tried", account, *TRIED):
            return "often"
        checked: Checked = "dropped"

        def judged(each: SandboxEmail) -> SandboxEmail | None:
            nonlocal checked
            checked, after = self._judged(each, code)
            return after

        return "dropped" if await self._made.change(account, _name(address), judged) is None else checked

    def _judged(self, found: SandboxEmail, code: str) -> tuple[Checked, SandboxEmail | None]:
        """What a code comes to, and what becomes of the address: None, if there were too many wrong ones."""
        if found.is_verified:
            return "verified", found
        if not found.code or self._age(found) > LIFETIME:
            return "late", found
        if hmac.compare_digest(_hash(found.salt, code), found.code):
            return "verified", replace(found, is_verified=True, salt="", code="", error="")
        if found.wrong + 1 >= TRIES:
            return "dropped", None
        return "wrong", replace(found, wrong=found.wrong + 1)

    async def drop(self, account: str, address: Address) -> None:
        await self._made.drop(account, _name(address))

    async def is_verified(self, question: SandboxAddress) -> bool:
        found = await self.find(question.account, question.address)
        return found is not None and found.is_verified

    async def _may(self, name: str, account: str, per_hour: int, per_day: int) -> bool:
        counter = Counter(f"http_api.{name}", account=account)
        return await self._mta.state.counters.take(counter, 1, per_hour=per_hour, per_day=per_day) is None

    def _age(self, found: SandboxEmail) -> int:
        return self._now() - found.mailed_at

    def _now(self) -> int:
        return int(self._mta.clock.now().timestamp())


def _name(address: Address) -> str:
    """Who writes a name in capitals means the same mailbox."""
    return address.mailbox.lower()


def _hash(salt: str, code: str) -> str:
    return hashlib.blake2b(code.encode("utf-8", "replace"), key=bytes.fromhex(salt), digest_size=16).hexdigest()


def _read(data: Mapping[str, Any]) -> SandboxEmail:
    return SandboxEmail(**{name: value for name, value in data.items() if name in SandboxEmail.__dataclass_fields__})
