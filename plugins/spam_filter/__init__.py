"""spam_filter: asks rspamd, and looks itself, before anything is sent. See docs/plugins/spam_filter.md.

The rule: no message goes out unseen by accident. Whatever keeps it from being checked has its answer in the
configuration, and as shipped that answer lets nothing pass.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import ClassVar

from mtaframe import Defer, Delivery, Envelope, Message, Mta, Plugin, Recipient, Reject, hookimpl
from mtaframe_plugins.spam_filter.checks import failures
from mtaframe_plugins.spam_filter.decision import NOT_SCANNED, TOO_LARGE, TOO_VARIED, Decision, of_opinion, strictest
from mtaframe_plugins.spam_filter.merge import decisions, is_worth_a_scan
from mtaframe_plugins.spam_filter.rspamd import Rspamd, UnusableError
from mtaframe_plugins.spam_filter.settings import SpamFilterSettings

log = logging.getLogger("mtaframe.spam_filter")

SMALL = 500_000
"""Octets that are looked through at once; for more, a thread does it."""


class SpamFilter(Plugin):
    Config: ClassVar[type[SpamFilterSettings]] = SpamFilterSettings
    behind = ("merge_tags",)
    config: SpamFilterSettings

    def __init__(self, config: SpamFilterSettings, mta: Mta) -> None:
        super().__init__(config, mta)
        self._rspamd = Rspamd(config, mta)

    async def start(self) -> None:
        for rule in self.config.rule:
            for name in rule.accounts:
                if name not in self.mta.accounts:
                    raise ValueError(f'conf/spam_filter.toml: [[rule]]: there is no account "{name}"')
        if not self.config.url:
            log.info("rspamd is not asked: conf/spam_filter.toml has no url")

    @hookimpl
    async def on_data(self, envelope: Envelope, message: Message) -> Message | Reject | Defer | None:
        """The built-in checks, and one scan for all recipients."""
        if self._is_exempt(envelope):
            return None
        checked = await self._checked(envelope, message)
        if checked.answer == "reject":
            return checked.verdict
        decision = strictest([checked, await self._scanned(envelope, envelope.recipients, message)])
        return decision.verdict or self._changed(message, decision)

    @hookimpl
    async def before_sign(self, delivery: Delivery) -> Delivery | Reject | Defer | None:
        """One more scan of a copy for each set of merge values that could have brought something in."""
        values, envelope = delivery.recipient.merge_vars, delivery.envelope
        if not values or self._is_exempt(envelope) or not self._asks(envelope) or not is_worth_a_scan(values):
            return None
        known = envelope.derived(decisions)
        if values in known:
            decision = known[values]
        elif len(known) < self.config.merge_scans:
            decision = known[values] = await self._scanned(envelope, [delivery.recipient], delivery.message)
        else:
            decision = Decision(self.config.when_over_merge_scans, TOO_VARIED)
        if decision.verdict is not None:
            return decision.verdict
        tagged = self._changed(delivery.message, decision)
        return None if tagged is None else delivery.with_message(tagged)

    def _asks(self, envelope: Envelope) -> bool:
        return bool(self.config.url) and self.config.rule_for(envelope).scan

    def _is_exempt(self, envelope: Envelope) -> bool:
        if envelope.session.protocol == "DSN":
            return True  # our own report quotes the message that failed: what was refused there is not news
        return envelope.reverse_path is None and self.config.null_reverse_path == "pass"

    def _changed(self, message: Message, decision: Decision) -> Message | None:
        tagged = decision.tagged(message, self.config.flag_field, self.config.score_field)
        return None if tagged is message else tagged

    async def _checked(self, envelope: Envelope, message: Message) -> Decision:
        if message.size <= SMALL:
            found = failures(message, self.config.checks)
        else:
            found = await asyncio.to_thread(failures, message, self.config.checks)
        decision = strictest(found.values())
        if found:
            log.info("check id=%s failed=%s answer=%s", envelope.id, ",".join(found), decision.answer)
        return decision

    async def _scanned(self, envelope: Envelope, recipients: Sequence[Recipient], message: Message) -> Decision:
        """What rspamd says of it, by the rule for this account and stream; or why it was not asked."""
        if not self._asks(envelope):
            return Decision("pass")
        if message.size > self.config.max_size:
            log.info("scan id=%s fault=too-large answer=%s", envelope.id, self.config.when_too_large)
            return Decision(self.config.when_too_large, TOO_LARGE)
        try:
            opinion = await self._rspamd.opinion(envelope, recipients, message)
        except UnusableError as error:
            answer = self.config.when_unreachable
            log.warning('scan id=%s fault="%s" answer=%s', envelope.id, error, answer)
            return Decision(answer, NOT_SCANNED)
        decision = of_opinion(opinion, self.config.rule_for(envelope))
        log.log(
            logging.DEBUG if decision.answer == "pass" else logging.INFO,
            "scan id=%s account=%s stream=%s action=%s score=%.2f answer=%s",
            envelope.id,
            envelope.account or "-",
            envelope.stream or "-",
            opinion.action.replace(" ", "-"),
            opinion.score,
            decision.answer,
        )
        return decision
