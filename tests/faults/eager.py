"""A build that lies: it says 250 before any remote dot is answered. The harness has to find it out.

``python eager.py run --conf FOLDER`` is its server; its workers are this program, too.
"""

import asyncio
import sys
from collections.abc import Callable

from mtaframe import crew, worker
from mtaframe.cli import main
from mtaframe.reception import Transaction
from mtaframe.reply import Reply

_truly = Transaction.complete
_going_on: set[asyncio.Task[None]] = set()


async def complete(self: Transaction, octets: bytes, say: Callable[[Reply], None]) -> None:
    """Taken, whatever comes of it."""
    task = asyncio.create_task(_truly(self, octets, lambda _: None))
    _going_on.add(task)
    task.add_done_callback(_going_on.discard)
    for _ in range(self.accepted if self._listener.kind == "lmtp" else 1):
        say(Reply(250, "2.0.0", "queued"))


def work() -> None:
    """A worker that forgets at once what it has promised."""
    changes = {"complete": complete, "proven": _forgotten, "unproven": _forgotten}
    for name, function in changes.items():
        setattr(Transaction, name, function)
    worker.main()


def _forgotten(_: Transaction) -> None:
    return


if __name__ == "__main__":
    if sys.argv[1] == "run":
        crew._PROGRAM = ("-P", __file__)  # type: ignore[assignment]
        main()
    else:
        work()
