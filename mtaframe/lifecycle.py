"""What the core and a plugin promise each other beside the hooks: construction, start, stop, what is served.

A plugin is a class that an entry point in the group ``mtaframe`` names. Everything on ``Plugin`` is optional;
subclassing it gives the defaults and the types.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol, TypeVar, overload

from pydantic import BaseModel, ConfigDict

from mtaframe.account import Account, Status, Token
from mtaframe.delivery import Delivery, Result, Route
from mtaframe.envelope import Envelope, Session
from mtaframe.event import Event
from mtaframe.message import Message
from mtaframe.question import Question
from mtaframe.redaction import Private, Redacted
from mtaframe.serving import HttpRoute
from mtaframe.storage import State

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Attempt:
    """One outgoing transaction under way: how long it may take, and whether it can still be called off.

    ``deadline`` is in the clock's monotonic seconds; everything before the final dot ends by then. A transport
    asks ``may_begin`` right before the first command, and sets ``dot_sent`` just before it hands over what makes
    the next hop responsible; from there on it is not cancelled, for only the next hop's answer can tell what
    became of the mail.
    """

    __slots__ = ("_may_begin", "_may_end", "deadline", "dot_sent", "is_held_back")

    def __init__(
        self,
        deadline: float,
        may_begin: Callable[[], Awaitable[bool]] | None = None,
        may_end: Callable[[bool], Awaitable[bool]] | None = None,
    ) -> None:
        self.deadline = deadline
        self.dot_sent = False
        self.is_held_back = False
        self._may_begin = may_begin
        self._may_end = may_end

    async def may_begin(self) -> bool:
        """False if the route's source was put to rest since the route was chosen: the mail is deferred then."""
        return self._may_begin is None or await self._may_begin()

    async def may_end(self, is_refused: bool) -> bool:
        """Asked before the final dot, which may have to wait for other next hops of the same message.

        ``is_refused``: the next hop refused some of these recipients for now. If the answer is False, it
        ``is_held_back``: nobody gets the message in this try.
        """
        if self._may_end is not None and not await self._may_end(is_refused):
            self.is_held_back = True
        return not self.is_held_back


class Transport(Protocol):
    """Takes deliveries that share message octets, reverse-path, route and next hop, and says how each ended.

    ``test_only`` transports keep mail on this machine; the configuration refuses them as the default route
    where a listener can be reached from elsewhere. Trouble is a Result, never an exception.
    """

    test_only: bool

    async def deliver(self, deliveries: Sequence[Delivery], route: Route, attempt: Attempt) -> Sequence[Result]: ...


class Clock(Protocol):
    """The one clock: tests turn it by hand."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back; on the scale of the event loop's own time."""


class DnsError(Exception):
    """There is no answer now (a timeout, SERVFAIL): try again later. Its text names no domain."""


class Resolver(Protocol):
    """DNS, cached, one question at a time for equal ones. Raises DnsError when there is no answer now."""

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        """(preference, host) pairs; empty if there is no MX record or no such domain; ``(0, "")`` is a null MX."""

    async def addresses(self, host: str) -> Sequence[str]:
        """IPv6 and IPv4 addresses; empty if there are none."""

    async def txt(self, name: str) -> Sequence[str]:
        """TXT records, each joined; empty if there are none."""


class HttpError(Exception):
    """There was no answer to an HTTP request, or it may not be made. Its text names no URL."""


@dataclass(frozen=True, slots=True, repr=False)
class HttpResponse(Redacted):
    """``headers`` by name in lower case; ``body`` is bounded."""

    _shown = ("status",)

    status: int
    headers: Private[str]
    body: bytes


class Http(Protocol):
    """The house's HTTP client, with its guard."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        timeout: float = 10.0,
        trusted: bool = False,
    ) -> HttpResponse:
        """One request and its whole answer; redirects are not followed. HttpError if there is none.

        ``timeout`` is in seconds. ``trusted``: the operator chose the URL, so this machine and its network may
        be reached; a URL that an account holder chose may only lead to public addresses.
        """


@dataclass(frozen=True, slots=True, repr=False)
class Identity(Redacted):
    """What makes a submission the same one when it comes again, in place of its octets.

    ``key`` is told apart by account and reverse-path. ``is_kept``: each result is safe before it is told, and known
    for days after: a repeat gets what is final without another attempt, over a crash, too. Otherwise it is known only
    while it is under way, and until the submitter has been told that nobody is left to try again.
    """

    _shown = ("is_kept",)

    key: bytes
    is_kept: bool = False


class AccountBook(Mapping[str, Account], ABC):
    """All accounts by name, of one generation of the configuration, and the proof of who somebody is."""

    @abstractmethod
    def chain(self, name: str) -> Sequence[Account]:
        """The account, its parent, and so on up; empty if there is no such account."""

    @abstractmethod
    def below(self, name: str) -> Sequence[str]:
        """The names of all its sub-accounts, and of theirs."""

    @abstractmethod
    def status_of(self, name: str) -> Status:
        """The worst along the chain; closed if there is no such account."""

    @abstractmethod
    async def authenticate(self, user: str, password: str) -> Account | None:
        """The account of these credentials, or None."""

    @abstractmethod
    def of_token(self, text: str) -> tuple[Account, Token] | None:
        """The account of this token, and which of its tokens it is; or None."""


class Mta(Protocol):
    """What a plugin may ask of the core."""

    @property
    def hostname(self) -> str:
        """Our own name, as EHLO and the Received field say it."""

    @property
    def clock(self) -> Clock: ...

    @property
    def resolver(self) -> Resolver: ...

    @property
    def accounts(self) -> AccountBook:
        """All accounts by name, of this plugin's generation of the configuration."""

    @property
    def state(self) -> State:
        """Counters, digests and documents: what outlives a message. It survives a reload."""

    @property
    def http(self) -> Http: ...

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
        """Send a message as if it had come by SMTP: on_rcpt, on_data and all that follows. One result a recipient.

        What has not ended by the ``deadline`` (monotonic) is deferred. ``told`` is called with the place of a
        recipient as soon as its result is known.
        """

    async def accept(
        self, session: Session, envelope: Envelope, message: Message, *, identity: Identity | None = None
    ) -> Sequence[Result]:
        """The same, without waiting: what on_rcpt and on_data do not refuse is held in RAM until it has ended.

        The submitter asked for that, and has to be told what a 250 is worth here.
        """

    def emit(self, event: Event) -> None:
        """Tell every plugin's on_event, soon."""

    async def everywhere(self, command: str, **arguments: Any) -> Sequence[Any]:
        """What a plugin's command (``sandbox.list``) answers in each process of the server that has an answer.

        Arguments and answers are plain data; what is in RAM of one process is found so from another.
        """

    async def ask(self, question: Question[T]) -> T:
        """The answer of whichever plugin registered for this question, else the question's default."""


class NoConfig(BaseModel):
    """The configuration of a plugin that has none."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Plugin:
    """A base with all defaults. Nothing about one message may be kept on ``self``."""

    Config: ClassVar[type[BaseModel]] = NoConfig
    """A pydantic model; its described fields are the keys of ``conf/<name>.toml``."""

    command_group: ClassVar[str] = ""
    """The word for its commands on the command line, where an operator would not say the plugin's name."""

    behind: ClassVar[tuple[str, ...]] = ()
    """Plugins that it must stand behind in the list, where they are listed; ``mtaframe check`` says so."""

    def __init__(self, config: Any, mta: Mta) -> None:
        self.config = config
        self.mta = mta

    async def start(self) -> None:
        """Called before the first hook. An exception is a configuration fault, and the old generation stays."""

    async def stop(self) -> None:
        """Called once the last transaction of this generation has ended."""

    def adopt(self, old: Any) -> None:
        """Take over RAM (queues, connections) from the instance of the generation before."""

    def transports(self) -> Mapping[str, Transport]:
        """Transports by the name that a route uses."""
        return {}

    def http_routes(self) -> Sequence[HttpRoute]:
        """What it serves on every listener of the kind ``http``."""
        return ()

    def answers(self) -> Mapping[type[Question[Any]], Callable[[Any], Awaitable[Any]]]:
        """Which questions this plugin answers, and how."""
        return {}


class CommandError(Exception):
    """A plugin's command can't be carried out; the text is for the operator and stands on the command line."""


@overload
def command(function: F, /) -> F: ...


@overload
def command(*, gather: Callable[[Sequence[Any]], Any]) -> Callable[[F], F]: ...


def command(function: F | None = None, /, *, gather: Callable[[Sequence[Any]], Any] | None = None) -> Any:
    """Marks an async method of a plugin as ``mtaframe PLUGIN METHOD`` on the command line.

    Or ``mtaframe GROUP METHOD``, if the class has a ``command_group``.

    The docstring is the help; parameters without a default are arguments, keyword-only ones are options, whose
    help is the line of the docstring that begins with the name; an underscore behind a word that Python keeps for
    itself (``from_``) is not part of it. It runs inside the server and returns text,
    octets, or plain data, which prints as a table, or as JSON with ``--json``. What goes wrong is a
    ``CommandError``; of any other exception only the type is told.

    One of the server's processes is asked. With ``gather`` all are, for each has something of its own, and that
    function makes one answer of theirs.
    """

    def mark(method: F) -> F:
        method._mtaframe_command = True  # type: ignore[attr-defined]
        method._mtaframe_gather = gather  # type: ignore[attr-defined]
        return method

    return mark if function is None else mark(function)
