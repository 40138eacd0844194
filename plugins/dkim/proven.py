"""The one key that signs for the domains which account holders have proven: each under a selector of its own.

The rule: it signs for a domain only while somebody answers that this account has proven it.
"""

import asyncio
import logging
from collections.abc import Sequence

from mtaframe import Mta, ProvenKey, ProvenSelector
from mtaframe_plugins.dkim.keys import SigningKey, algorithm, private_key, public_key, worries
from mtaframe_plugins.dkim.settings import ProvenSettings

log = logging.getLogger("mtaframe.dkim")


class Proven:
    """``own`` is the key under its own name, for which nothing is signed; None without the table ``[proven]``."""

    def __init__(self, settings: ProvenSettings | None, mta: Mta) -> None:
        self.settings = settings
        self.own: SigningKey | None = None
        self._mta = mta

    async def start(self) -> None:
        """ValueError if the key can't be used."""
        if self.settings is not None:
            self.own = await asyncio.to_thread(_loaded, self.settings)

    async def keys(self, author: str, account: str) -> Sequence[SigningKey]:
        """What signs mail of this author's domain from this account."""
        if self.own is None:
            return ()
        selector = await self._mta.ask(ProvenSelector(account, author))
        if selector is None:
            return ()
        return (SigningKey(author, selector, self.own.algorithm, False, frozenset(), self.own.key),)

    async def key(self, question: ProvenKey) -> tuple[str, str] | None:
        """Where the key's record is, and what it publishes."""
        if self.settings is None or self.own is None:
            return None
        return self.settings.host, public_key(self.own.key)


def _loaded(settings: ProvenSettings) -> SigningKey:
    try:
        key = private_key(settings.file)
    except ValueError as error:
        raise ValueError(f"[proven]: {error}") from None
    for worry in worries(settings.file, key):
        log.warning("dkim key domain=%s selector=%s: %s", settings.domain, settings.selector, worry)
    return SigningKey(settings.domain, settings.selector, algorithm(key), False, frozenset(), key)
