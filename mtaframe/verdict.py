"""A plugin's "stop here": one of three answers. The text is read by strangers: no rule names, no paths."""

from dataclasses import dataclass

from mtaframe.redaction import Redacted
from mtaframe.reply import Reply


@dataclass(frozen=True, slots=True, repr=False)
class Reject(Redacted):
    """Failed for good: the client must not try again."""

    _shown = ("code", "status")

    text: str = "message refused"
    status: str = "5.7.1"
    code: int = 550

    @property
    def reply(self) -> Reply:
        return Reply(self.code, self.status, self.text)


@dataclass(frozen=True, slots=True, repr=False)
class Defer(Redacted):
    """Not now: the client keeps the message and tries again."""

    _shown = ("code", "status")

    text: str = "try again later"
    status: str = "4.7.1"
    code: int = 451

    @property
    def reply(self) -> Reply:
        return Reply(self.code, self.status, self.text)


@dataclass(frozen=True, slots=True, repr=False)
class Discard(Redacted):
    """Say 250 and deliver nothing. The plugin needs ``allow_discard`` in ``[plugin.NAME]``."""

    text: str = "message discarded"

    @property
    def reply(self) -> Reply:
        return Reply(250, "2.0.0", self.text)


Verdict = Reject | Defer | Discard


def faulty(verdict: Verdict) -> str | None:
    """What is wrong with a verdict that a plugin built, or None. A reply that contradicts itself is none."""
    if isinstance(verdict, Discard):
        return None
    first = 5 if isinstance(verdict, Reject) else 4
    if verdict.code // 100 != first:
        return f"{type(verdict).__name__} with code {verdict.code}"
    if verdict.status[:1] != str(first):
        return f"{type(verdict).__name__} with status {verdict.status}"
    return None
