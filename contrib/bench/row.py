"""The words of the benchmark: who takes part, where it runs, what is running."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from contrib.bench.process import HOST, Kept
from contrib.bench.usage import Usage


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contender runs: an empty folder of its own in RAM, the sink that it relays to, a key to sign with."""

    folder: Path
    sink: int
    sessions: int
    key: Path
    """An RSA-2048 key in PEM, for example.com and the selector s1."""
    transactions: int = 1000
    """How many may be open at once."""
    hops: int = 1
    """How many addresses the sink has, from 127.0.0.1 on: recipients at hop0.example go to the first, and so on."""

    def within(self, name: str) -> "Place":
        """The same, in a folder below this one."""
        folder = self.folder / name
        folder.mkdir(mode=0o755)
        return Place(folder, self.sink, self.sessions, self.key, self.transactions, self.hops)


@dataclass(frozen=True, slots=True)
class Running:
    """Something that takes mail on ``host``:``port``, and the programs that it is made of."""

    port: int
    programs: Sequence[Kept] = ()
    remark: Callable[[], str] = field(default=str)
    """What else is to be told of it, asked at its end."""
    host: str = HOST

    def usage(self) -> Usage:
        """What its programs have used so far."""
        return sum((program.usage() for program in self.programs), Usage())


Start = Callable[[Place], AbstractContextManager[Running]]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tables. ``against`` is the row of mtaframe that does the same work."""

    key: str
    title: str
    start: Start
    against: str = ""
    stores: str = "no"
    """Whether the mail is written to a file on its way: "no", "spool", or "queue" (the client's 250 comes before)."""
    needs: tuple[str, ...] = ()
    personalised: bool = False
    """Its messages carry merge variables."""
