"""Templates that account holders made, kept as their own documents."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from mtaframe import Counter, Mta, Redacted

KIND = "template"


@dataclass(frozen=True, slots=True, repr=False)
class Template(Redacted):
    """``status`` is pending, approved or rejected; ``variables`` are names, for people. Times are RFC 3339, UTC."""

    _shown = ("id", "status")

    id: int
    uid: str
    name: str
    html: str | None = None
    text: str | None = None
    subject: str | None = None
    variables: tuple[str, ...] = ()
    dialect: str | None = None
    status: str = "approved"
    rejection_reason: str | None = None
    moderated_by: str | None = None
    moderated_at: str | None = None
    created_at: str = ""
    updated_at: str = ""

    @property
    def version(self) -> str:
        """Another one after each change of what is sent, which nobody can bring back by another text."""
        said = [self.uid, self.name, self.subject, self.html, self.text, self.dialect]
        return hashlib.blake2b(json.dumps(said).encode(), digest_size=8).hexdigest()


class TakenError(Exception):
    """The account has another template of that uid."""


class Templates:
    """The templates of all accounts, by account and ``uid``; a numeric id is one, too, if no uid is like it."""

    def __init__(self, mta: Mta) -> None:
        self._mta = mta
        self._turn = asyncio.Lock()
        self._changing: set[asyncio.Task[Template | None]] = set()

    async def find(self, account: str, name: str) -> Template | None:
        """By its uid, else by its id."""
        found = await self._octets(account, name)
        return _read(found) if found is not None else None

    async def named(self, account: str, uid: str) -> Template | None:
        found = await self._get(account, uid)
        return _read(found) if found is not None else None

    async def uids(self, account: str) -> Mapping[str, str]:
        """By id. It costs a look at every template."""
        return {str(each.id): each.uid for each in await self.all(account)}

    async def all(self, account: str) -> Sequence[Template]:
        """In the order in which they were made, without HTML and text: together they may be very large."""
        found = []
        for uid in await self._mta.state.documents.names(account, KIND):
            if (template := await self.named(account, uid)) is not None:
                found.append(replace(template, html=None, text=None))
            await asyncio.sleep(0)  # others' mail goes on meanwhile
        return sorted(found, key=lambda each: each.id)

    async def add(self, account: str, template: Template, most: int) -> Template | None:
        """With a new id, and the time. None if the account has as many as it may. TakenError."""
        number = await self._mta.state.sequences.next(Counter("http_api.template", account=account))
        now = moment(self._mta.clock.now())
        made = replace(template, id=number, created_at=now, updated_at=now)
        if await self._mta.state.documents.change(account, KIND, made.uid, None, _written(made), most):
            return made
        if await self._get(account, made.uid) is not None:
            raise TakenError
        return None

    async def change(self, account: str, name: str, change: Callable[[Template], Template]) -> Template | None:
        """What becomes of the one of this uid or id, which may get another uid. None: there is none. TakenError.

        ``change`` is asked again where another process was faster. While one gets another uid there are two, but not
        for good where the client that asked for it has gone meanwhile.
        """
        changing = asyncio.ensure_future(self._in_turn(account, name, change))
        self._changing.add(changing)
        changing.add_done_callback(self._changing.discard)
        return await asyncio.shield(changing)

    async def _in_turn(self, account: str, name: str, change: Callable[[Template], Template]) -> Template | None:
        async with self._turn:
            return await self._changed(account, name, change)

    async def _changed(self, account: str, name: str, change: Callable[[Template], Template]) -> Template | None:
        documents = self._mta.state.documents
        while (octets := await self._octets(account, name)) is not None:
            before = _read(octets)
            after = replace(change(before), updated_at=moment(self._mta.clock.now()))
            if after.uid == before.uid:
                if await documents.change(account, KIND, after.uid, octets, _written(after)):
                    return after
                continue
            if not await documents.change(account, KIND, after.uid, None, _written(after)):
                raise TakenError
            if await documents.change(account, KIND, before.uid, octets, None):
                return after
            await documents.drop(account, KIND, after.uid)
        return None

    async def drop(self, account: str, template: Template) -> None:
        await self._mta.state.documents.drop(account, KIND, template.uid)

    async def _octets(self, account: str, name: str) -> bytes | None:
        """By its uid, else by its id."""
        found = await self._get(account, name)
        if found is not None or not name.isdecimal():
            return found
        return await self._get(account, (await self.uids(account)).get(name, ""))

    async def _get(self, account: str, uid: str) -> bytes | None:
        return await self._mta.state.documents.get(account, KIND, uid) if uid else None


def moment(at: datetime) -> str:
    """``2026-11-27 07:30:00``, UTC, as MimePost writes times."""
    return at.strftime("%Y-%m-%d %H:%M:%S")


def _written(template: Template) -> bytes:
    return json.dumps(asdict(template)).encode()


def _read(octets: bytes) -> Template:
    data: Mapping[str, Any] = json.loads(octets)
    known = {name: value for name, value in data.items() if name in Template.__dataclass_fields__}
    return Template(**{**known, "variables": tuple(known.get("variables", ()))})
