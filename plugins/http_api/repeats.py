"""Calls under an Idempotency-Key: the same key with another body is somebody's mistake, and is told so.

Of a key and a body only a digest is kept; the results themselves are in the ledger.
"""

import hashlib
from datetime import timedelta

from mtaframe import Mta
from mtaframe_plugins.http_api.door import Ask, Problem
from mtaframe_plugins.http_api.sending import Caller

PURPOSE = "http_api.idempotency"
KEPT = timedelta(days=6)
"""As long as the ledger knows a result."""


class Repeats:
    def __init__(self, mta: Mta) -> None:
        self._mta = mta

    async def checked(self, ask: Ask) -> Caller:
        """Who calls. Problem 422 if the key was used for another body."""
        caller = ask.caller
        if not caller.is_kept:
            return caller
        request = ask.request
        what = f"{caller.account}\0".encode() + caller.repeat
        body = hashlib.blake2b(f"{request.path}\0".encode() + request.body, digest_size=8).digest()
        number = int.from_bytes(body, "big") >> 2  # the state keeps signed integers
        known = await self._mta.state.digests.get(PURPOSE, what)
        if known is None:
            await self._mta.state.digests.put(PURPOSE, what, number, self._mta.clock.now() + KEPT)
        elif known != number:
            raise Problem(422, "was used for another request already", "Idempotency-Key")
        return caller
