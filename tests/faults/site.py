"""A next hop that answers as chance has it: yes, later, no, slowly, or with a connection that breaks.

The law: what it does to a recipient's nth try depends on the seed, the recipient and n, and on nothing else. From the
fourth try on it is good, so that every run ends.
"""

import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mtaframe.testing import DROP, HANG, RESET, ScriptedMx
from mtaframe.testing.script import Answer, Received, Script, Trouble
from mtaframe.testing.wire import Wire
from tests.faults.books import Books, End, reports

PATIENT = 3
"""Tries that may go wrong."""


@dataclass(frozen=True, slots=True)
class Act:
    """One way to answer; ``slow`` is the longest delay. ``takes``: it takes the message, whatever it says."""

    weight: int
    answer: Answer = None
    slow: float = 0.0
    takes: bool = False
    is_final: bool = False


_MAIL = [Act(95), Act(3, "451 4.3.2 not now"), Act(1, DROP), Act(1, "421 4.3.2 closing")]
_RCPT = [
    Act(80),
    Act(8, "450 4.2.0 later"),
    Act(5, "550 5.1.1 no such user", is_final=True),
    Act(3, slow=0.3),
    Act(2, DROP),
    Act(1, RESET),
    Act(1, HANG),
]
_DOT = [
    Act(70, takes=True),
    Act(12, takes=True, slow=0.8),
    Act(7, "451 4.2.0 later"),
    Act(4, "554 5.6.0 not that", is_final=True),
    Act(4, DROP),
    Act(2, RESET),
    Act(1, HANG),
]
_DOUBTFUL = [Act(3, DROP, takes=True), Act(2, RESET, takes=True), Act(1, HANG, takes=True)]


class Site(ScriptedMx):
    """``doubts``: it may also take a message and not say so. ``is_final``: it may refuse for good."""

    def __init__(
        self, books: Books, seed: int, host: str, port: int = 0, *, doubts: bool = True, is_final: bool = True
    ) -> None:
        super().__init__(host=host, port=port, name=f"{host}.test")
        self.books = books
        self.is_calm = False
        """Whether it is good to everybody."""
        self._seed = seed
        self._ports: list[int] = []
        self._tries: Counter[str] = Counter()
        self._acts = {
            "mail": _MAIL,
            "rcpt": [act for act in _RCPT if is_final or not act.is_final],
            "dot": [act for act in _DOT + (_DOUBTFUL if doubts else []) if is_final or not act.is_final],
        }

    def _opened(self, wire: Wire) -> None:
        self._ports.append((wire.transport.get_extra_info("peername") or ("", 0))[1])
        super()._opened(wire)

    def next_script(self, stage: str, recipient: str) -> Script | None:
        if (scripted := super().next_script(stage, recipient)) is not None and stage != "dot":
            return scripted
        if stage not in self._acts:
            return None
        mail = self.arrived[-1] if stage == "dot" else None
        key = mail.recipients[0] if mail else recipient or f"session {len(self.sessions)}"
        act, delay = (Act(1, takes=True), 0.0) if self.is_calm else self._drawn(stage, key)
        if scripted is not None:
            act, delay = Act(1, scripted.answer, takes=scripted.answer is None), scripted.delay
        if mail is not None and act.takes:
            self._take(mail, act, delay)
        return Script(stage, act.answer, None, False, delay)

    def _drawn(self, stage: str, key: str) -> tuple[Act, float]:
        self._tries[f"{stage} {key}"] += 1
        number = self._tries[f"{stage} {key}"]
        if number > PATIENT:
            return Act(1, takes=True), 0.0
        chance = random.Random(f"{self._seed} {stage} {key} {number}")
        acts: Sequence[Act] = self._acts[stage]
        [act] = chance.choices(acts, [act.weight for act in acts])
        return act, chance.uniform(0.0, act.slow)

    def _take(self, mail: Received, act: Act, delay: float) -> None:
        """Into the books, at the dot: whatever happens to the answer, it is ours now."""
        now = time.monotonic()
        in_doubt = isinstance(act.answer, Trouble)
        answered = math.inf if in_doubt else now + delay
        way = (self._ports[mail.session - 1], self.host)
        for to in mail.recipients:
            about = reports(mail.raw) if mail.reverse_path == "" else [to]
            for recipient in about:
                self.books.ends[recipient].append(End(recipient, to, now, answered, way, in_doubt))
            if mail.reverse_path and not mail.raw.endswith(self.books.written.get(to, b"?")):
                self.books.faults.append(f"the message to {to} is not what was written")
