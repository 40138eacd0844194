"""dkim: signs mail, with every key that fits in one pass (RFC 6376, RFC 8463). See docs/plugins/dkim.md."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar

from mtaframe import DnsError, Envelope, Message, Mta, Plugin, ProvenKey, Question, Reject, command, hookimpl
from mtaframe_plugins.dkim.author import author_domain
from mtaframe_plugins.dkim.choice import Choice
from mtaframe_plugins.dkim.keys import SigningKey, algorithm, private_key, public_key, worries
from mtaframe_plugins.dkim.proven import Proven
from mtaframe_plugins.dkim.settings import DkimSettings, KeySettings
from mtaframe_plugins.dkim.signature import Layouts, signatures

log = logging.getLogger("mtaframe.dkim")

Answer = Message | Reject | None


class Dkim(Plugin):
    Config: ClassVar[type[DkimSettings]] = DkimSettings
    config: DkimSettings

    def __init__(self, config: DkimSettings, mta: Mta) -> None:
        super().__init__(config, mta)
        self._keys: tuple[SigningKey, ...] = ()
        self._choice = Choice((), (), {})
        self._proven = Proven(config.proven, mta)
        self._layouts = Layouts(config.oversign, config.present)
        self._lifetime = None if config.lifetime is None else int(config.lifetime)

    async def start(self) -> None:
        """Load the keys and prove that they are sound, in a thread: one RSA key takes some 40 ms."""
        self._check_accounts()
        self._keys = tuple([await asyncio.to_thread(_loaded, key) for key in self.config.key])
        await self._proven.start()
        self._choice = Choice(self._keys, self.config.third_party, self.mta.accounts)

    def _check_accounts(self) -> None:
        for table, entries in (("key", self.config.key), ("third_party", self.config.third_party)):
            for entry in entries:
                for name in entry.accounts:
                    if name not in self.mta.accounts:
                        raise ValueError(f'[[{table}]] of {entry.domain}: there is no account "{name}"')

    @hookimpl
    def sign(self, envelope: Envelope, message: Message) -> Answer | Coroutine[Any, Any, Answer]:
        """One DKIM-Signature on top for each key that fits, the first key's topmost.

        Nobody waits where the configuration alone says which keys those are.
        """
        author, account = author_domain(message), envelope.account
        chosen = self._choice.chosen(author, account)
        if not chosen.is_own and self._proven.own is not None and author and account:
            return self._signed_as_proven(envelope, message, author, account)
        return self._signed(envelope, message, chosen.keys)

    async def _signed_as_proven(self, envelope: Envelope, message: Message, author: str, account: str) -> Answer:
        keys, chosen = await self._proven.keys(author, account), self._choice.chosen(author, account)
        return self._signed(envelope, message, [*keys, *chosen.beside] if keys else chosen.keys)

    def _signed(self, envelope: Envelope, message: Message, keys: Sequence[SigningKey]) -> Answer:
        if not keys:
            if self.config.unsigned == "reject" and envelope.reverse_path is not None:
                return Reject("no signature can be made for the domain in the From field")
            return None
        now = int(self.mta.clock.now().timestamp())
        expires_at = None if self._lifetime is None else now + self._lifetime
        signed = message
        for value in reversed(signatures(message, keys, self._layouts.layout(message.fields), now, expires_at)):
            signed = signed.prepend("DKIM-Signature", value)
        return signed

    def answers(self) -> Mapping[type[Question[Any]], Callable[[Any], Awaitable[Any]]]:
        return {ProvenKey: self._proven.key}

    @command
    async def dns(self) -> list[dict[str, str]]:
        """Compare what the DNS publishes with the keys in use."""
        return [
            {
                "domain": key.domain,
                "selector": key.selector,
                "algorithm": key.algorithm,
                "record": await self._published(key),
            }
            for key in (*self._keys, *([self._proven.own] if self._proven.own else []))
        ]

    async def _published(self, key: SigningKey) -> str:
        try:
            records = await self.mta.resolver.txt(f"{key.selector}._domainkey.{key.domain}")
        except DnsError:
            return "no answer now"
        if not records:
            return "missing"
        if len(records) > 1:
            return "more than one: verifiers may take either"
        tags = {name.strip(): value for name, _, value in (tag.partition("=") for tag in records[0].split(";"))}
        return "as it should be" if "".join(tags.get("p", "").split()) == public_key(key.key) else "of another key"


def _loaded(settings: KeySettings) -> SigningKey:
    try:
        key = private_key(settings.file)
    except ValueError as error:
        raise ValueError(f"[[key]] {settings.selector} of {settings.domain}: {error}") from None
    for worry in worries(settings.file, key):
        log.warning("dkim key domain=%s selector=%s: %s", settings.domain, settings.selector, worry)
    return SigningKey(
        settings.domain, settings.selector, algorithm(key), settings.subdomains, frozenset(settings.accounts), key
    )
