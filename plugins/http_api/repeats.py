"""Calls under an Idempotency-Key: the same key with another body is somebody's mistake, and is told so.

Of a key and a body only a digest is kept; the results themselves are in the ledger.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from mtaframe import Mta, Redacted
from mtaframe_plugins.http_api.door import Ask, Problem
from mtaframe_plugins.http_api.sending import Caller

PURPOSE = "http_api.idempotency"
UNSETTLED = "http_api.unsettled"
KEPT = timedelta(days=6)
"""As long as the ledger knows a result."""


@dataclass(frozen=True, slots=True, repr=False)
class Series(Redacted):
    """The messages of one call, each with a caller of its own; without a key, each has a name until it is settled."""

    repeats: "Repeats"
    callers: Sequence[Caller]
    names: Sequence[bytes]

    async def settle(self, final: Sequence[bool]) -> None:
        """Which messages nobody has to send again. Where that is so for all of a name, it is free for other mail."""
        left = {name for name, is_final in zip(self.names, final, strict=False) if not is_final}
        settled = [name for name in dict.fromkeys(self.names) if name not in left]
        account = self.callers[0].account if self.callers else ""
        await asyncio.gather(*(self.repeats.free(account, name) for name in settled))


class Repeats:
    def __init__(self, mta: Mta) -> None:
        self._mta = mta

    async def checked(self, ask: Ask) -> Caller:
        """Who calls. Problem 422 if the key was used for another body."""
        caller = ask.caller
        if not caller.is_kept:
            return caller
        what = f"{caller.account}\0".encode() + caller.repeat
        number = int.from_bytes(ask.digest[:8], "big") >> 2  # the state keeps signed integers
        known = await self._mta.state.digests.agree(PURPOSE, what, number, self._mta.clock.now() + KEPT)
        if known != number:
            raise Problem(422, "was used for another request already", "Idempotency-Key")
        return caller

    async def series(self, ask: Ask, names: Sequence[bytes]) -> Series:
        """One caller for each message: under a key known by its place, else by its name until it is settled.

        Messages of one name are known by their order, and settled together.
        """
        caller = await self.checked(ask)
        if caller.is_kept:
            repeats = (b"%b\0%d" % (caller.repeat, place) for place in range(len(names)))
            return Series(self, [replace(caller, repeat=repeat) for repeat in repeats], ())
        distinct = list(dict.fromkeys(names))
        numbers = await asyncio.gather(*(self._number(caller.account, name) for name in distinct))
        number, seen, callers = dict(zip(distinct, numbers, strict=True)), Counter[bytes](), []
        for name in names:
            repeat = b"%b\0%d\0%d" % (name, number[name], seen[name])
            callers.append(replace(caller, repeat=repeat, is_kept=True))
            seen[name] += 1
        return Series(self, callers, names)

    async def free(self, account: str, name: bytes) -> None:
        """The next mail of this name is other mail."""
        await self._mta.state.digests.drop(UNSETTLED, f"{account}\0".encode() + name)

    async def _number(self, account: str, name: bytes) -> int:
        """What tells this mail from earlier mail of the same name, which is settled."""
        what, until = f"{account}\0".encode() + name, self._mta.clock.now() + KEPT
        return await self._mta.state.digests.agree(UNSETTLED, what, secrets.randbits(62), until)
