"""What all doors have in common: a call is authenticated, read and answered; what is wrong is told in its API's form.

The law: no input gets a 500. A problem names the field, and quotes nothing of what was sent.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from mtaframe import Account, AccountBook, HttpAnswer, HttpRequest, HttpRoute, Redacted, Token
from mtaframe_plugins.http_api.sending import Caller

_KEY = re.compile(r"[!-~]{1,256}")
_INPUT = re.compile(r"'[^']*'|\"[^\"]*\"")
FORM = "application/x-www-form-urlencoded"
UNAUTHORIZED = "Auth token not valid"
NO_JSON = "the body is no JSON"
MISSING = "is required"
MOST_TEXTS = 1000


class Body(BaseModel):
    """The model of a request: what it does not know it passes over, as these APIs do."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, coerce_numbers_to_str=True)


def listed(value: Any) -> Any:
    """Text alone, as a list of one."""
    return [value] if isinstance(value, str) else value


def few(value: Any) -> Any:
    """A table that is not larger than anybody needs: each of its faults would be noted."""
    if isinstance(value, dict) and len(value) > MOST_TEXTS:
        raise ValueError(f"{MOST_TEXTS:,} values are enough")
    return value


T = TypeVar("T")
Each = Annotated[list[T], Field(fail_fast=True)]
"""A list of which the first fault is told, and the rest not looked at: it may hold millions."""
Texts = Annotated[dict[str, str], BeforeValidator(few)]
Several = Annotated[Each[str], BeforeValidator(listed)]
"""One text, or a list of texts."""


class Problem(Exception):
    """What a caller must mend, or try again. ``code`` is MimePost's error_code, or Postmark's."""

    def __init__(
        self,
        status: int,
        text: str,
        field: str | None = None,
        code: int | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.field = field
        self.code = code
        self.headers = headers or {}
        self.more = more or {}

    @property
    def sentence(self) -> str:
        """The text, with the field that it is about in front."""
        return f"{self.field}: {self.text}" if self.field else self.text


@dataclass(frozen=True, slots=True, repr=False)
class Ask(Redacted):
    """One call of an account: the request, whose it is, and its body, if it has one."""

    request: HttpRequest
    account: Account
    token: Token
    data: Any = None

    @property
    def digest(self) -> bytes:
        """Of the path and the octets."""
        return hashlib.blake2b(f"{self.request.path}\0".encode() + self.request.body).digest()

    @property
    def caller(self) -> Caller:
        """Who sends mail by this call. A repeat is known by its Idempotency-Key, or else by its octets."""
        request = self.request
        key = request.headers.get("idempotency-key")
        if key is None:
            return Caller(self.account.name, request, self.digest)
        if not _KEY.fullmatch(key):
            raise Problem(400, "is 1 to 256 printable characters of ASCII, without blanks", "Idempotency-Key")
        return Caller(self.account.name, request, key.encode(), is_kept=True)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an API, and what its document says of it. ``query`` has descriptions by name."""

    method: str
    path: str
    summary: str
    handle: Callable[[Ask], Awaitable[HttpAnswer]]
    body: Any = None
    answer: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    is_streamed: bool = False


@dataclass(frozen=True, slots=True)
class Door:
    """One API: ``secret`` finds the token in a request, ``told`` writes a problem in its form.

    ``guest`` knows tokens that are nobody's, and what their requests may be like before anything of them is read.
    """

    name: str
    calls: Sequence[Call]
    secret: Callable[[HttpRequest], str]
    told: Callable[[Problem], HttpAnswer]
    scheme: Mapping[str, str]
    guest: Callable[[str, HttpRequest], tuple[Account, Token] | None] = lambda secret, request: None

    def routes(self, accounts: Callable[[], AccountBook]) -> list[HttpRoute]:
        """``accounts`` are those of the generation that answers."""

        def refusal(request: HttpRequest) -> HttpAnswer | None:
            try:
                self._holder(request, accounts())
            except Problem as problem:
                return self.told(problem)
            return None

        def trouble(status: int, text: str, headers: Mapping[str, str]) -> HttpAnswer:
            return self.told(Problem(status, text, headers=headers))

        return [
            HttpRoute(call.method, call.path, self._handler(call, accounts), refusal, trouble) for call in self.calls
        ]

    def _handler(
        self, call: Call, accounts: Callable[[], AccountBook]
    ) -> Callable[[HttpRequest], Awaitable[HttpAnswer]]:
        body = TypeAdapter(call.body) if call.body is not None else None

        async def handle(request: HttpRequest) -> HttpAnswer:
            try:
                holder = self._holder(request, accounts())
                data = parsed(body, request) if body is not None else None
                return await call.handle(Ask(request, *holder, data))
            except Problem as problem:
                return self.told(problem)

        return handle

    def _holder(self, request: HttpRequest, accounts: AccountBook) -> tuple[Account, Token]:
        """Whose token it is. Problem if it is nobody's."""
        secret = self.secret(request)
        found = self.guest(secret, request) or accounts.of_token(secret)
        if found is None:
            raise Problem(401, UNAUTHORIZED, code=101)
        return found


def bearer(request: HttpRequest) -> str:
    """The token of ``Authorization: Bearer``."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def parsed(model: TypeAdapter[Any], request: HttpRequest) -> Any:
    """The body as the model has it: JSON, or a form of plain fields. Problem 400 names the field."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        # curl calls JSON a form, unless told otherwise
        if kind == FORM and not request.body.lstrip().startswith((b"{", b"[")):
            pairs = parse_qsl(request.body.decode("utf-8"), keep_blank_values=True, max_num_fields=1000)
            return model.validate_python(dict(pairs))
        return model.validate_json(request.body or b"{}")
    except ValidationError as error:
        raise problem_of(error) from None
    except ValueError:
        raise Problem(400, "the body is no form that can be read") from None


def problem_of(error: ValidationError) -> Problem:
    """What is wrong first, without what was sent."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return Problem(400, NO_JSON)
    place = ".".join(str(part) for part in first["loc"] if not (isinstance(part, str) and "[" in part))
    text = MISSING if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
    more = error.error_count() - 1
    return Problem(400, text[0].lower() + text[1:] + (f" (and {more} more)" if more else ""), place or None)
