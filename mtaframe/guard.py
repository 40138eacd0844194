"""What a client may take of the server that nobody trusts yet: connections, and guesses of passwords.

The law: it holds for all workers and listeners together, no address is written anywhere, and every refusal is for now.
"""

import ipaddress
import os

from mtaframe.lifecycle import Clock
from mtaframe.reply import Reply
from mtaframe.settings import ClientSettings
from mtaframe.sketch import COUNTS_SIZE, KEY_SIZE, TIMES_SIZE, Counts, Places, Times, places
from mtaframe.turn import Turn

TOO_MANY = Reply(421, "4.7.0", "too many connections from your address or network")
TOO_OFTEN = Reply(421, "4.7.0", "too many connections that came to nothing; come back later")
BANNED = Reply(421, "4.7.0", "too many failed logins; come back later")

_KINDS = 3
_MINUTE = 60.0
_LONGEST_DELAY = 8.0
_SHORTEST_DELAY = 0.25


class Visit:
    """One connection of a client. ``refusal`` says why there may be none."""

    def __init__(self, guard: "Guard | None" = None, address: Places = (), network: Places = ()) -> None:
        self.refusal: Reply | None = None
        self._guard = guard
        self._address = address
        self._network = network

    def leave(self, *, is_fruitful: bool = False) -> None:
        """It is over. ``is_fruitful``: the client has logged in or sent a message. Said again, it changes nothing."""
        if self._guard is not None:
            self._guard.left(self._address, self._network, is_empty=not (is_fruitful or self.refusal))
            self._guard = None


class Guard:
    """One for each process; with a page of memory, they know of each other."""

    def __init__(self, clock: Clock, turn: Turn | None = None, settings: ClientSettings | None = None) -> None:
        self.settings = settings or ClientSettings()
        self._clock = clock
        page = turn.page if turn is not None else None
        if turn is None or page is None:
            memory = memoryview(bytearray(os.urandom(KEY_SIZE) + bytes(_KINDS * TIMES_SIZE + COUNTS_SIZE)))
            own, tables = 0, 1
        else:
            memory, own, tables = page.clients, turn.worker, turn.slots
        self._key = bytes(memory[:KEY_SIZE])
        kinds = [memory[KEY_SIZE + kind * TIMES_SIZE :] for kind in range(_KINDS + 1)]
        self._empty, self._failures, self._bans = map(Times, kinds[:_KINDS])
        self._here = Counts(kinds[_KINDS], own, tables)

    # connections

    def enter(self, client: str, *, must_log_in: bool) -> Visit:
        """A client has come. ``must_log_in``: there is nothing else to do for it here."""
        address, network = self._of_address(client), self._of_network(client)
        visit = Visit(self, address, network)
        for where in (address, network):
            self._here.add(where, 1)
        settings, now = self.settings, self._clock.monotonic()
        if self._here.of(address) > settings.max_per_address or self._here.of(network) > settings.max_per_network:
            visit.refusal = TOO_MANY
        elif self._empty.of(address) - now > _MINUTE - _MINUTE / settings.max_empty:
            visit.refusal = TOO_OFTEN
        elif must_log_in and self._bans.of(self._of_guesser(client)) > now:
            visit.refusal = BANNED
        return visit

    def left(self, address: Places, network: Places, *, is_empty: bool) -> None:
        for where in (address, network):
            self._here.add(where, -1)
        if is_empty:
            _charge(self._empty, address, self._clock.monotonic(), _MINUTE / self.settings.max_empty)

    # logins

    def is_banned(self, client: str) -> bool:
        return self._bans.of(self._of_guesser(client)) > self._clock.monotonic()

    def delay(self, client: str) -> float:
        """Seconds that the next login from there has to wait."""
        owed = self._failures.of(self._of_guesser(client)) - self._clock.monotonic()
        count = owed / self._forgiven_each
        return min(_LONGEST_DELAY, _SHORTEST_DELAY * 2.0 ** min(count, 10)) if count > 0 else 0.0

    def failed(self, client: str) -> bool:
        """A login from there has failed. True if that makes a ban."""
        where, now = self._of_guesser(client), self._clock.monotonic()
        _charge(self._failures, where, now, self._forgiven_each)
        owed = self._failures.of(where) - now
        if owed <= self._forgiven_each * (self.settings.auth_failures - 1) or self._bans.of(where) > now:
            return False
        self._bans.put_off(where, now + self.settings.auth_ban)
        return True

    @property
    def _forgiven_each(self) -> float:
        """Seconds after which one failed login is forgotten."""
        return self.settings.auth_ban / self.settings.auth_failures

    # who it is

    def _of_address(self, client: str) -> Places:
        return places(ipaddress.ip_address(client).packed, self._key)

    def _of_network(self, client: str) -> Places:
        address = ipaddress.ip_address(client)
        prefix = self.settings.ipv4_network if address.version == 4 else self.settings.ipv6_network
        return places(b"network" + _masked(address.packed, prefix), self._key)

    def _of_guesser(self, client: str) -> Places:
        """Who has one IPv6 address has a network of them."""
        address = ipaddress.ip_address(client)
        return self._of_address(client) if address.version == 4 else self._of_network(client)


def _charge(times: Times, where: Places, now: float, seconds: float) -> None:
    """One more: each puts off the time by which all are forgotten."""
    times.put_off(where, max(now, times.of(where)) + seconds)


def _masked(packed: bytes, prefix: int) -> bytes:
    bits = 8 * len(packed)
    return (int.from_bytes(packed, "big") >> (bits - prefix)).to_bytes(len(packed), "big")
