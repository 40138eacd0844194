"""Decides by figures alone where an account stands: good, warned, limited, suspended. Pure.

The law: a step up is taken as soon as a figure has passed its mark; it is left again only below a lower one, and
suspended only by the operator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from zlib import crc32

from mtaframe import Standing
from mtaframe_plugins.thresholds.settings import HOUR, PolicySettings, ThresholdsSettings

COUNTED = ("sent", "delivered", "bounce", "block", "click", "unsubscribe", "spam", "spamtrap")
"""What is counted of an account; a tally holds the numbers in this order."""
STEPS = (Standing.GOOD, Standing.WARNED, Standing.LIMITED, Standing.SUSPENDED)
GOOD, WARNED, LIMITED, SUSPENDED = range(4)

Tallies = Mapping[int, Sequence[int]]
"""What was counted, by the window in hours."""
Mark = tuple[int, int]
"""A share as numerator and denominator: whole numbers, so that equal is equal."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule and what the figures say of it. ``volume`` 0: the rule is about a count."""

    key: int
    name: str
    count: int
    volume: int
    bound: int | Decimal
    hours: int
    ends: float
    """Below this figure a limitation ends."""

    @property
    def figure(self) -> float:
        """In percent, or the count."""
        return 100 * self.count / self.volume if self.volume else self.count

    @property
    def limit(self) -> float:
        return float(self.bound)

    @property
    def unit(self) -> str:
        return "%" if isinstance(self.bound, Decimal) else ""

    @property
    def words(self) -> str:
        """``bounces 6.1 % (at most 5 % in 7d)``."""
        return f"{self.name} {self._figure_beside_limit()} (at most {self._bound})"

    @property
    def words_while_limited(self) -> str:
        """The same; and when it ends, if the figure is within its limit again."""
        ends = f", ends below {shown(self.ends, self.unit)}" if self.figure <= self.limit else ""
        return f"{self.name} {self._figure_beside_limit()} (at most {self._bound}{ends})"

    @property
    def _bound(self) -> str:
        return f"{shown(self.limit, self.unit)} in {span(self.hours)}"

    def _figure_beside_limit(self) -> str:
        """With as many places as it takes to see that it is above its limit or below."""
        for places in range(2 if self.figure >= 1 else 3, 7):
            if (text := shown(self.figure, self.unit, places)) != shown(self.limit, self.unit, 6):
                break
        return text


class Rule:
    """One rule of the policy, its marks worked out."""

    __slots__ = (
        "_ease",
        "_marks",
        "against",
        "bound",
        "hours",
        "key",
        "min_events",
        "min_volume",
        "more_than",
        "name",
        "of",
    )

    def __init__(self, row: PolicySettings, settings: ThresholdsSettings) -> None:
        self.name, self.bound = row.name, row.at_most
        self.key = crc32("\0".join((row.name, row.of, row.against or "")).encode())
        """What the other processes, and the next start, know it by: 32 bits of what it is about."""
        self.of = COUNTED.index(row.of)
        self.against = COUNTED.index(row.against) if row.against else None
        self.more_than = COUNTED.index(row.more_than) if row.more_than else None
        self.hours = int(row.window or settings.window) // HOUR
        self.min_volume = row.min_volume or settings.min_volume
        self.min_events = row.min_events or settings.min_events
        limit = Fraction(row.at_most) / (100 if isinstance(row.at_most, Decimal) else 1)
        marks = [limit * Fraction(share) / 100 for share in (settings.warn_at, Decimal(100), settings.suspend_at)]
        self._marks: list[Mark] = [mark.as_integer_ratio() for mark in marks]
        self._ease: list[Mark] = [(mark * Fraction(settings.ease_below) / 100).as_integer_ratio() for mark in marks]

    def step(self, tallies: Tallies, before: int) -> int:
        """The step that this rule asks for; ``before`` is the one that it asked for until now."""
        tally = tallies[self.hours]
        count = tally[self.of]
        if not count:
            return GOOD
        volume = 1
        if self.against is not None:
            volume = tally[self.against]
            if volume < self.min_volume or count < self.min_events:
                return GOOD
        if self.more_than is not None and count <= tally[self.more_than]:
            return GOOD
        warn, limit, suspend = self._marks
        if count * limit[1] > limit[0] * volume:
            return SUSPENDED if count * suspend[1] > suspend[0] * volume else LIMITED
        if before >= LIMITED and not _below(count, volume, self._ease[1]):
            return LIMITED
        if count * warn[1] >= warn[0] * volume or (before and not _below(count, volume, self._ease[0])):
            return WARNED
        return GOOD

    def finding(self, tallies: Tallies) -> Finding:
        tally = tallies[self.hours]
        return self.found(tally[self.of], tally[self.against] if self.against is not None else 0)

    def found(self, count: int, volume: int) -> Finding:
        """What is to be said of these figures."""
        top, bottom = self._ease[1]
        ends = (100 if self.against is not None else 1) * top / bottom
        return Finding(self.key, self.name, count, volume, self.bound, self.hours, ends)

    def silence(self, tallies: Tallies) -> str | None:
        """Why the rule says nothing yet, or None if it has its say."""
        tally = tallies[self.hours]
        if self.more_than is not None and tally[self.of] <= tally[self.more_than]:
            return f"no more of them than {COUNTED[self.more_than]}s ({tally[self.more_than]})"
        if self.against is not None and tally[self.against] < self.min_volume:
            return f"{tally[self.against]} of {self.min_volume} {COUNTED[self.against]}"
        if self.against is not None and tally[self.of] < self.min_events:
            return f"{tally[self.of]} of {self.min_events} events"
        return None

    def marks(self) -> tuple[str, str, str]:
        """From where on it warns, above what it limits and suspends, as people read it."""
        if isinstance(self.bound, Decimal):
            warn, limit, suspend = (shown(100 * top / bottom, "%") for top, bottom in self._marks)
        else:
            first, *above = (Fraction(*mark) for mark in self._marks)
            warn, limit, suspend = str(max(1, ceil(first))), *(str(floor(mark)) for mark in above)
        return warn, limit, suspend


def reason(rules: Sequence[Rule], steps: Sequence[int], tallies: Tallies) -> Finding | None:
    """The finding that weighs most: of the highest step, and there the furthest beyond its limit."""
    heavy = [(step, rule.finding(tallies)) for rule, step in zip(rules, steps, strict=True) if step]
    return max(heavy, key=lambda one: (one[0], one[1].figure / (one[1].limit or 1)))[1] if heavy else None


def shown(number: float, unit: str, places: int | None = None) -> str:
    """``6.1 %``, ``0.081 %``, ``51``."""
    text = f"{number:.{places or (3 if number < 1 else 2)}f}".rstrip("0").rstrip(".")
    return f"{text} {unit}".rstrip()


def span(hours: int) -> str:
    """``7d``, ``36h``."""
    return f"{hours}h" if hours % 24 else f"{hours // 24}d"


def _below(count: int, volume: int, mark: Mark) -> bool:
    return count * mark[1] < mark[0] * volume
