"""ip_pools: chooses the address that mail leaves by, from pools of sources. See docs/plugins/ip_pools.md."""

import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from mtaframe import (
    AccountStanding,
    CommandError,
    Counter,
    Defer,
    Delivery,
    Duration,
    Event,
    EventType,
    Mta,
    Outcome,
    Plugin,
    Private,
    Question,
    RestingSources,
    RestSource,
    Result,
    Route,
    Source,
    Standing,
    command,
    hookimpl,
)
from mtaframe_plugins.ip_pools.pools import Pools
from mtaframe_plugins.ip_pools.rehearsal import rehearsed
from mtaframe_plugins.ip_pools.rendezvous import pair
from mtaframe_plugins.ip_pools.rests import LONGEST, Rests, is_here
from mtaframe_plugins.ip_pools.rules import sender_domains
from mtaframe_plugins.ip_pools.settings import IpPoolsSettings

log = logging.getLogger("mtaframe.ip_pools")

NONE_LEFT = Defer("no outgoing address is available now", "4.3.2")

_duration: TypeAdapter[float] = TypeAdapter(Duration)


class IpPools(Plugin):
    """Which address mail leaves by: pools, sources, rests."""

    Config: ClassVar[type[IpPoolsSettings]] = IpPoolsSettings
    command_group: ClassVar[str] = "egress"
    config: IpPoolsSettings

    def __init__(self, config: IpPoolsSettings, mta: Mta) -> None:
        super().__init__(config, mta)
        self._pools = Pools(config)
        self._sources = {one.name: Source(one.name, one.address, one.ehlo) for one in config.source}
        self._made: dict[tuple[str, str], tuple[Route, Route]] = {}
        self._off = frozenset(one.name for one in config.source if one.rest)
        self._missing: frozenset[str] = frozenset()
        self._rests = Rests(self._sources, mta.state, mta.clock)
        self._delivered = {name: Counter("ip_pools.delivered", source=name) for name in self._sources}

    async def start(self) -> None:
        """Look for every address on this host, for a source without one could send nothing."""
        self._check_accounts()
        self._missing = frozenset(name for name, one in self._sources.items() if not is_here(one.address))
        missing = [name for name in self._sources if name in self._missing]
        if missing and self.config.missing == "error":
            names = ", ".join(f'"{name}"' for name in missing)
            raise ValueError(f"conf/ip_pools.toml: the addresses of these sources are not on this host: {names}")
        for name in missing:
            log.warning("source not used source=%s: its address is not on this host", name)

    def _check_accounts(self) -> None:
        named = [(f'pool "{pool.name}"', pool.accounts) for pool in self.config.pool]
        named += [(f'rule for the pool "{rule.pool}"', rule.accounts) for rule in self.config.rule]
        for place, accounts in named:
            for name in accounts:
                if name not in self.mta.accounts:
                    raise ValueError(f'conf/ip_pools.toml: {place}: there is no account "{name}"')
        for account in self.mta.accounts.values():
            if account.pool is not None and (trouble := self._pools.trouble(account.name, account.pool)):
                raise ValueError(f'conf/accounts.toml: the account "{account.name}": {trouble}')

    def answers(self) -> Mapping[type[Question[Any]], Callable[[Any], Awaitable[Any]]]:
        return {RestingSources: self._resting, RestSource: self._rest_asked}

    @hookimpl
    async def route(self, delivery: Delivery, route: Route) -> Route | Defer | None:
        """A pool and a source of it; None, no opinion, where another one chose a source, or no pool is meant."""
        if not self._wants_source(route):
            return None
        pool, _ = await self._pool(delivery, route)
        if pool is None:
            return None
        found = self._pools.source(_pair(delivery), pool, self._is_off)
        if found is None:
            return NONE_LEFT
        return self._by(route, *found)

    def _by(self, route: Route, pool: str, source: str) -> Route:
        """The route by this source. Most copies come with the very same one: theirs is made once.

        So the client knows it again at a glance, too, without a comparison of all its fields.
        """
        before, after = self._made.get((pool, source), (None, route))
        if before is not route:
            after = replace(route, pool=pool, source=self._sources[source])
            self._made[pool, source] = route, after
        return after

    @hookimpl
    async def on_result(self, result: Result) -> None:
        source = result.route.source if result.route else None
        if source is not None and result.outcome is Outcome.DELIVERED and source.name in self._delivered:
            await self.mta.state.counters.add({self._delivered[source.name]: 1})

    def _wants_source(self, route: Route) -> bool:
        if route.source is not None or route.transport not in ("smtp", "lmtp"):
            return False
        return route.next_hop is None or (self.config.smart_hosts and not route.next_hop.startswith("/"))

    async def _pool(self, delivery: Delivery, route: Route) -> tuple[str | None, str]:
        """The pool, or None, and why it is this one: limits come before what a plugin or a rule says."""
        account = delivery.envelope.account
        if self.config.limited_pool is not None and account is not None:
            standing = await self.mta.ask(AccountStanding(account))
            if standing in (Standing.LIMITED, Standing.SUSPENDED):
                return self.config.limited_pool, f"the account is {standing.value}"
        if route.pool in self._pools:
            return route.pool, "chosen by another plugin"
        known = self.mta.accounts.get(account) if account is not None else None
        return self._pools.chosen(delivery, known.pool if known is not None else None)

    def _is_off(self, name: str) -> bool:
        return name in self._off or name in self._missing or name in self._rests

    async def _resting(self, question: RestingSources) -> frozenset[str]:
        return frozenset(name for name in self._sources if self._is_off(name))

    async def _rest_asked(self, question: RestSource) -> bool:
        if question.source not in self._sources or not 0 < question.seconds <= LONGEST:
            return False
        await self._begin_rest(question.source, question.seconds)
        return True

    async def _begin_rest(self, name: str, seconds: float) -> None:
        """When this is done no process gives it a copy. What rests for longer already is left alone."""
        if not await self._rests.extend(name, seconds):
            return
        log.warning("source rests source=%s seconds=%g", name, seconds)
        self.mta.emit(
            Event(
                os.urandom(8).hex(),
                EventType.SOURCE_RESTED,
                self.mta.clock.now(),
                data=Private({"source": name, "seconds": seconds}),
            )
        )

    def _known(self, name: str) -> str:
        if name not in self._sources:
            raise CommandError(f'there is no source "{name}"; `mtaframe egress show` names them')
        return name

    def _state(self, name: str) -> str:
        if name in self._missing:
            return "not on this host"
        if name in self._off:
            return "rests by configuration"
        until = self._rests.until(name)
        return "at work" if until is None else f"rests until {until.isoformat()}"

    @command
    async def show(self) -> Sequence[Mapping[str, Any]]:
        """Every source of every pool: its weight, its share of the pool's mail now, and what it delivers.

        A source in several pools stands there several times; what it delivered in the last 24 hours is counted for all
        of them together.
        """
        rows: list[dict[str, Any]] = []
        for pool in self.config.pool:
            at_work = sum(weight for name, weight in pool.sources.items() if not self._is_off(name))
            for name, weight in pool.sources.items():
                share = 0 if self._is_off(name) else weight / at_work
                rows.append(self._row(pool.name, name, weight=weight, share=f"{share:.1%}"))
        pooled = {row["source"] for row in rows}
        rows += [self._row("", name, weight="", share="") for name in self._sources if name not in pooled]
        yesterday = self.mta.clock.now() - timedelta(days=1)
        counters = [self._delivered[row["source"]] for row in rows]
        counts = await self.mta.state.counters.sums(counters, yesterday)
        return [row | {"delivered": count} for row, count in zip(rows, counts, strict=True)]

    def _row(self, pool: str, name: str, **more: Any) -> dict[str, Any]:
        source = self._sources[name]
        row = {"pool": pool, "source": name, "address": source.address, "ehlo": source.ehlo}
        return row | more | {"state": self._state(name)}

    @command
    async def explain(
        self,
        address: str,
        *,
        account: str | None = None,
        stream: str | None = None,
        from_: str | None = None,
        header: str | None = None,
    ) -> Mapping[str, Any]:
        """Which pool and source mail to ADDRESS leaves by, why, and which source takes over from which.

        ``account`` Whose mail it is.
        ``stream`` Its stream.
        ``from`` The sender's domain, or whole address.
        ``header`` A header field of the message, as "Name: value".
        """
        delivery = rehearsed(address, account, stream, from_, header, self.mta.clock.now())
        if account is not None and account not in self.mta.accounts:
            raise CommandError(f'there is no account "{account}"')
        pool, reason = await self._pool(delivery, Route())
        if pool is None:
            return {"pool": None, "source": None, "because": "no rule fits, and there is no default_pool"}
        found = self._pools.source(_pair(delivery), pool, self._is_off)
        order = self._pools.order(_pair(delivery), pool)
        return {
            "pool": found[0] if found else None,
            "source": found[1] if found else None,
            "because": reason if found is None or found[0] == pool else f"{reason}; {pool} has no source at work",
            "reply": None if found else NONE_LEFT.reply.line,
            "order": [{"pool": each, "source": name, "state": self._state(name)} for each, name in order],
        }

    @command
    async def rest(self, source: str, *, for_: str = "1h") -> str:
        """Let a source rest: from now on nothing is given to it. Its mail moves to the others of its pools.

        ``for`` How long, as in "30m", "2h" or "4d".
        """
        try:
            seconds = _duration.validate_python(for_)
        except ValidationError:
            raise CommandError('a duration is written as "30m", "2h" or "4d"') from None
        if seconds <= 0:
            raise CommandError("a rest lasts longer than nothing; `mtaframe egress resume` ends one")
        if seconds > LONGEST:
            raise CommandError('a rest for good stands in conf/ip_pools.toml: "rest = true"')
        await self._begin_rest(self._known(source), seconds)
        lines = [f"{source} {self._state(source)}"]
        for pool in self._pools:
            names = [one.name for one in pool.contenders]
            if source in names and all(map(self._is_off, names)):
                then = f"its mail goes by {pool.fallback}" if pool.fallback else "its mail is deferred"
                lines.append(f"the pool {pool.name} has no source at work now: {then}")
        return "\n".join(lines)

    @command
    async def resume(self, source: str) -> str:
        """End a source's rest."""
        if self._known(source) in self._off:
            raise CommandError(f'"{source}" rests by configuration: take "rest" out of conf/ip_pools.toml')
        if await self._rests.end(source):
            log.warning("source resumes source=%s", source)
        return f"{source}: {self._state(source)}"


def _pair(delivery: Delivery) -> bytes:
    reverse_path = delivery.reverse_path
    sender = reverse_path.domain if reverse_path else next(iter(sender_domains(delivery)), "")
    return pair(sender, delivery.recipient.address)
