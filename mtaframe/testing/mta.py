"""What a plugin sees of the core when it is tested alone: it keeps what the plugin told it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from mtaframe.account import Account
from mtaframe.accounts import Accounts
from mtaframe.delivery import Outcome, Result
from mtaframe.envelope import Envelope, Session
from mtaframe.event import Event
from mtaframe.http_client import HttpClient
from mtaframe.lifecycle import AccountBook, Clock, Http, Identity, Resolver
from mtaframe.message import Message
from mtaframe.question import Question
from mtaframe.state import MemoryState
from mtaframe.storage import State
from mtaframe.testing.builders import result
from mtaframe.testing.clock import VirtualClock

T = TypeVar("T")


class NoResolver:
    """Every domain is unknown. A test that needs DNS gives a ``DnsResolver`` on a ``ScriptedDns``."""

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        return ()

    async def addresses(self, host: str) -> Sequence[str]:
        return ()

    async def txt(self, name: str) -> Sequence[str]:
        return ()


class RecordingMta:
    """Implements ``mtaframe.Mta`` for one plugin alone.

    ``answers`` holds functions by the class of the question, as ``Plugin.answers()`` gives them. ``submit``
    delivers nothing: it says ``outcome`` for each recipient.
    """

    def __init__(
        self,
        *,
        hostname: str = "mta.example.com",
        clock: Clock | None = None,
        resolver: Resolver | None = None,
        accounts: Sequence[Account] = (),
        answers: Mapping[type[Question[Any]], Callable[[Any], Awaitable[Any]]] | None = None,
        state: State | None = None,
        http: Http | None = None,
        outcome: Outcome = Outcome.DELIVERED,
    ) -> None:
        self.hostname = hostname
        self.clock: Clock = clock or VirtualClock()
        self.resolver: Resolver = resolver or NoResolver()
        self.accounts: AccountBook = Accounts(accounts, self.clock)
        self.state: State = state or MemoryState(self.clock)
        self.http: Http = http or HttpClient(self.resolver)
        """A real client: close it if the plugin has used it."""
        self.outcome = outcome
        self.events: list[Event] = []
        """What the plugin emitted."""
        self.submitted: list[tuple[Session, Envelope, Message]] = []
        """What the plugin submitted."""
        self.questions: list[Question[Any]] = []
        """What the plugin asked."""
        self._answers = dict(answers or {})

    async def submit(
        self,
        session: Session,
        envelope: Envelope,
        message: Message,
        *,
        deadline: float | None = None,
        identity: Identity | None = None,
        told: Callable[[int, Result], None] | None = None,
    ) -> Sequence[Result]:
        self.submitted.append((session, envelope, message))
        results = [result(self.outcome) for _ in envelope.recipients]
        for place, each in enumerate(results):
            if told is not None:
                told(place, each)
        return results

    async def accept(
        self, session: Session, envelope: Envelope, message: Message, *, identity: Identity | None = None
    ) -> Sequence[Result]:
        return await self.submit(session, envelope, message, identity=identity)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    async def everywhere(self, command: str, **arguments: Any) -> Sequence[Any]:
        """Nobody else is there."""
        return ()

    async def ask(self, question: Question[T]) -> T:
        self.questions.append(question)
        known = self._answers.get(type(question))
        if known is None:
            return question.default
        answer: T = await known(question)
        return answer
