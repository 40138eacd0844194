"""Where an account stands, and what it was suspended for, as the one integer that all processes share. Pure.

The law: a step and its cause are one number, so they change together; whoever reads the step can say why.
"""

from collections.abc import Sequence

from mtaframe_plugins.thresholds.ladder import Finding, Rule

_STEP_BITS, _FIGURE_BITS = 2, 29
_MOST = (1 << _FIGURE_BITS) - 1
_WHOLE = 10**8
"""A share is kept in parts of this."""


def packed(step: int, cause: Finding | None = None) -> int:
    """63 bits: the rule's key, its figure, the step."""
    if cause is None:
        return step
    figure = -(-_WHOLE * cause.count // cause.volume) if cause.volume else cause.count
    return (cause.key << _FIGURE_BITS | min(figure, _MOST)) << _STEP_BITS | step


def step_of(value: int) -> int:
    return value & (1 << _STEP_BITS) - 1


def cause_of(value: int, rules: Sequence[Rule]) -> Finding | None:
    """The finding; None if nothing was found, or its rule is no more."""
    figure = value >> _STEP_BITS & _MOST
    key = value >> _STEP_BITS + _FIGURE_BITS
    rule = next((rule for rule in rules if rule.key == key), None)
    if rule is None:
        return None
    return rule.found(figure, _WHOLE if rule.against is not None else 0)
