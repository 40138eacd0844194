"""The deliveries of one call, and what is known so far of each: nothing yet, a reason to try elsewhere, a result."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mtaframe.address import Address
from mtaframe.delivery import Delivery, Outcome, Result, Route
from mtaframe.envelope import Envelope, Recipient
from mtaframe.lifecycle import Clock
from mtaframe.message import Message
from mtaframe.reply import Reply, Stage, for_client, for_log
from mtaframe.smtp_client.trouble import Kind, Trouble, is_alarming, told

log = logging.getLogger("mtaframe.smtp_client")


@dataclass(frozen=True, slots=True)
class _Reason:
    trouble: Trouble
    remote: str | None


class Errand:
    """Keeps the rule that what is settled stays settled. A delivery is known by its place in the call."""

    __slots__ = (
        "_began", "_clock", "_deliveries", "_reasons", "_results", "_route", "_start", "envelope", "message",
        "reverse_path",
    )  # fmt: skip

    def __init__(self, deliveries: Sequence[Delivery], route: Route, clock: Clock) -> None:
        self._deliveries = deliveries
        first = deliveries[0]  # what they share, they have as it has it
        self.message: Message = first.message
        self.reverse_path: Address | None = first.reverse_path
        self.envelope: Envelope = first.envelope
        self._route = route
        self._clock = clock
        self._began = clock.now()
        self._start = clock.monotonic()
        self._results: list[Result | None] = [None] * len(deliveries)
        self._reasons: dict[int, _Reason] = {}

    def recipient(self, place: int) -> Recipient:
        return self._deliveries[place].recipient

    def unsettled(self, places: Iterable[int] | None = None) -> list[int]:
        """Those that have no result, of all or of these."""
        results = self._results
        return [place for place in (range(len(results)) if places is None else places) if results[place] is None]

    def answered(self, places: Iterable[int], reply: Reply, remote: str, *, passed_on: bool) -> None:
        """The server's answer to the final dot: nothing comes after it."""
        told_reply = for_client(reply, Stage.DOT)
        if told_reply.is_positive:
            for place in places:
                self._settle(place, Outcome.DELIVERED, told_reply, remote, passed_on=passed_on)
        else:
            self.end(places, Trouble(Kind.REFUSED, reply, Stage.DOT), remote)

    def end(self, places: Iterable[int], trouble: Trouble, remote: str | None = None) -> None:
        """It ends so: not tried elsewhere."""
        self._alarm(trouble)
        outcome, reply = told(trouble)
        for place in places:
            self._settle(place, outcome, reply, remote, trouble.kind is Kind.IN_DOUBT)

    def stop(self, places: Iterable[int], trouble: Trouble, remote: str | None = None) -> None:
        """Trouble before the final dot: the end if it is final, else a reason to try elsewhere.

        What a server said is worth more to a reader than a connection that failed afterwards.
        """
        outcome, _ = told(trouble)
        if outcome is Outcome.FAILED:
            return self.end(places, trouble, remote)
        self._alarm(trouble)
        for place in places:
            earlier = self._reasons.get(place)
            if earlier is None or earlier.trouble.reply is None or trouble.reply is not None:
                self._reasons[place] = _Reason(trouble, remote)
        return None

    def results(self) -> list[Result]:
        """One for each delivery; what is still open is deferred for its last reason."""
        for place in self.unsettled():
            reason = self._reasons.get(place) or _Reason(Trouble(Kind.LATE), None)
            outcome, reply = told(reason.trouble)
            self._settle(place, outcome, reply, reason.remote, reason.trouble.kind is Kind.IN_DOUBT)
        return [result for result in self._results if result is not None]

    def _settle(
        self,
        place: int,
        outcome: Outcome,
        reply: Reply,
        remote: str | None,
        in_doubt: bool = False,
        passed_on: bool = False,
    ) -> None:
        if self._results[place] is None:
            took = self._clock.monotonic() - self._start
            route = self._route
            self._results[place] = Result(
                outcome, reply, route.transport, remote, route, self._began, took, in_doubt, passed_on
            )

    def _alarm(self, trouble: Trouble) -> None:
        if not is_alarming(trouble):
            return
        said = f": reply {for_log(trouble.reply)} to {trouble.stage.value}" if trouble.reply else ""
        next_hop = self._route.next_hop or "the recipient's MX"  # our own words: no domain of a recipient
        log.error("%s to %s: %s%s", self._route.transport, next_hop, trouble.kind.value, said)
