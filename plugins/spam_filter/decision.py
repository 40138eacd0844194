"""What becomes of a message or a copy: one of four answers, the strictest of all findings.

The texts are read by strangers: they name no rule, no score and no limit.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mtaframe import Defer, Message, Redacted, Reject
from mtaframe_plugins.spam_filter.rspamd import Opinion
from mtaframe_plugins.spam_filter.settings import Answer, RuleSettings

_STRICTNESS: dict[Answer, int] = {"pass": 0, "tag": 1, "defer": 2, "reject": 3}

SPAM = Reject("the message looks like spam")
NOT_SCANNED = Reject("the message can't be checked here")
TOO_LARGE = Reject("the message is too large to be checked", "5.3.4", 552)
TOO_VARIED = Reject("the message has too many variants to be checked")


@dataclass(frozen=True, slots=True, repr=False)
class Decision(Redacted):
    """``refusal`` is how a "reject" is put; ``score`` is what a tag tells, if there is one."""

    answer: Answer
    refusal: Reject = SPAM
    score: float | None = None

    @property
    def verdict(self) -> Reject | Defer | None:
        """What stops the message, or None."""
        if self.answer == "reject":
            return self.refusal
        return Defer() if self.answer == "defer" else None

    def tagged(self, message: Message, flag_field: str, score_field: str) -> Message:
        """The message with the fields of tagged mail, which no other ones can contradict; itself, if it passes."""
        if self.answer != "tag":
            return message
        message = message.without(*(name for name in (flag_field, score_field) if name))
        if score_field and self.score is not None:
            message = message.prepend(score_field, f"{self.score:.2f}")
        return message.prepend(flag_field, "Yes") if flag_field else message


PASS = Decision("pass")


def strictest(decisions: Iterable[Decision]) -> Decision:
    """The strictest, the first of equals; a score is kept, whoever brought it."""
    chosen, score = PASS, None
    for one in decisions:
        if _STRICTNESS[one.answer] > _STRICTNESS[chosen.answer]:
            chosen = one
        score = one.score if score is None else score
    return chosen if score is chosen.score else Decision(chosen.answer, chosen.refusal, score)


def of_opinion(opinion: Opinion, rule: RuleSettings) -> Decision:
    """What rspamd's opinion means by this rule."""
    if rule.has_scores and not opinion.is_forced:
        return Decision(_by_score(opinion.score, rule), score=opinion.score)
    if opinion.action == "no action":
        return Decision("pass", score=opinion.score)
    meaning: dict[str, Answer] = {
        "greylist": rule.on_greylist,
        "add header": rule.on_add_header,
        "rewrite subject": rule.on_rewrite_subject,
        "soft reject": rule.on_soft_reject,
        "reject": rule.on_reject,
        "quarantine": rule.on_reject,
        "discard": rule.on_reject,
    }
    return Decision(meaning[opinion.action], score=opinion.score)


def _by_score(score: float, rule: RuleSettings) -> Answer:
    limits: tuple[tuple[float | None, Answer], ...] = (
        (rule.reject_score, "reject"),
        (rule.defer_score, "defer"),
        (rule.tag_score, "tag"),
    )
    return next((answer for limit, answer in limits if limit is not None and score >= limit), "pass")
