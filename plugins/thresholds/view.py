"""What the command line shows of an account: its figures, and each rule with what the next step would take. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from mtaframe_plugins.thresholds.books import Book
from mtaframe_plugins.thresholds.ladder import COUNTED, STEPS, SUSPENDED, Rule, shown, span
from mtaframe_plugins.thresholds.limits import SHARED, Limits

Row = Mapping[str, Any]


def overview(book: Book) -> Row:
    """One account in one line: its standing, and the figure of every rule."""
    widest = max(book.tallies)
    figures = {rule.name: _figure(rule, book).partition(":")[0] for rule in book.rules}
    return {"account": book.account, "standing": STEPS[book.standing].value, "sent": book.tallies[widest][0], **figures}


def explanation(book: Book, limits: Limits, used: Mapping[str, tuple[int, int]], step: int) -> Sequence[Row]:
    """Every rule of the policy and every limit that holds for the account.

    ``used`` has the recipients of this hour and of this day by key: "" is the account as a whole; see ``limits``.
    ``step`` is where it stands as to its limits.
    """
    rows = [_rule(rule, step, book) for rule, step in zip(book.rules, book.steps, strict=True)]
    for key, counts in used.items():
        shared = f"recipients of {key.removeprefix(SHARED)} and its sub-accounts"
        name = shared if key.startswith(SHARED) else f"recipients of {key}" if key else "recipients"
        bounds = limits.bounds(book.account, key, step)
        for words, count, at_most in zip(("an hour", "a day"), counts, bounds, strict=True):
            rows.append(_line(f"{name} {words}", str(count), "any number" if at_most is None else str(at_most)))
    if book.standing == SUSPENDED:
        why = book.cause.words if book.cause is not None else "by the operator, or by a rule that is no more"
        rows.insert(0, _line("suspended", why, "", step="suspended", next_step="mtaframe thresholds resume"))
    return rows


def _rule(rule: Rule, step: int, book: Book) -> Row:
    warn, limit, suspend = rule.marks()
    silent = rule.silence(book.tallies)
    marks = f"warned from {warn}, limited above {limit}, suspended above {suspend}"
    return _line(
        rule.name,
        _figure(rule, book),
        f"{limit} in {span(rule.hours)}",
        step=STEPS[step].value,
        next_step=f"says nothing: {silent}" if silent else marks,
    )


def _figure(rule: Rule, book: Book) -> str:
    finding = rule.finding(book.tallies)
    if rule.against is None:
        return str(finding.count)
    share = shown(finding.figure, "%") if finding.volume else "-"
    return f"{share}: {finding.count} of {finding.volume} {COUNTED[rule.against]}"


def _line(what: str, figure: str, at_most: str, step: str = "", next_step: str = "") -> Row:
    return {"what": what, "figure": figure, "at most": at_most, "step": step, "then": next_step}
