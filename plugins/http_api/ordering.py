"""What holds for mail of every door before it goes, and how the messages of one call go side by side.

The law: a call is checked as a whole before anything of it is sent. What it costs in memory at once is bounded,
however many messages it is.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from mtaframe import Mta
from mtaframe_plugins.http_api.composing import Shared
from mtaframe_plugins.http_api.door import Ask, Problem
from mtaframe_plugins.http_api.outgoing import Outgoing
from mtaframe_plugins.http_api.repeats import Repeats
from mtaframe_plugins.http_api.sending import Caller, Sent, send
from mtaframe_plugins.http_api.settings import HttpApiSettings
from mtaframe_plugins.http_api.templates import Template, Templates

AT_ONCE = 20
"""Messages of one call that are under way together."""
MOST_VALUES = 1_000_000
"""What the copies of a call may have together where everybody's variables stand beside each one's own."""
GRACE = timedelta(minutes=1)
"""How far the clock of a caller may be ahead where it says that mail is due now."""


class Orders:
    def __init__(self, mta: Mta, config: HttpApiSettings, templates: Templates, repeats: Repeats) -> None:
        self._mta = mta
        self._config = config
        self._templates = templates
        self._repeats = repeats

    @property
    def now(self) -> datetime:
        return self._mta.clock.now()

    def check(self, ask: Ask, mails: Sequence[Outgoing], field: str, *, stream: str = "stream") -> None:
        """Problem if the call sends more copies than it may, or in a stream that the account does not have."""
        self.check_count(sum(mail.count for mail in mails), field)
        if sum(len(mail.variables) for mail in mails for copies in mail.copies if copies.variables) > MOST_VALUES:
            raise Problem(400, "everybody's variables are too many beside so many copies with some of their own", field)
        for mail in mails:
            if mail.stream is not None and mail.stream not in ask.account.streams:
                raise Problem(400, "the account has no stream of that name", stream)

    def check_count(self, count: int, field: str) -> None:
        """Problem if these are more copies than a call may send. Where they can be counted first, nothing is read."""
        if count > self._config.max_copies:
            raise Problem(400, f"{count:,} copies in one call; {self._config.max_copies:,} are allowed", field)

    def check_raw(self, field: str, instead: str) -> None:
        """Problem if mail may not bring its own HTML and text; ``instead`` is the field that names a template."""
        if not self._config.raw_html:
            raise Problem(400, f"this server sends by approved templates alone: give a {instead}", field)

    def check_dialect(self, dialect: str | None, template: Template | None, field: str) -> None:
        """Problem if variables could take the place of any words of a template that the operator has approved."""
        if self._config.moderate_templates and template is not None and dialect == "literal" != template.dialect:
            raise Problem(400, 'the template is not approved for the dialect "literal"', field)

    def check_due(self, at: datetime, field: str) -> None:
        """Problem if mail is to go later: nothing is stored here, so nothing can wait."""
        if at > self.now + GRACE:
            text = "is in the future; nothing is stored here that could wait: send it when it is due"
            raise Problem(400, text, field)

    def check_wait(self, wait: str) -> None:
        """Problem if the caller does not want to wait for results, and may not do without."""
        if wait == "accepted" and not self._config.accept:
            raise Problem(400, "this server does not take mail without waiting for its result", "wait")

    def shelf(self, ask: Ask) -> "Shelf":
        return Shelf(self._templates, ask.account.name)

    async def template(self, ask: Ask, field: str, *names: str) -> Template:
        """The first of these that there is. Problem 404 if there is none, or nobody has approved it."""
        return await self.shelf(ask).template(field, *names)

    async def sent(
        self, ask: Ask, mails: Sequence[Outgoing], names: Sequence[bytes] | None = None
    ) -> Sequence[Sequence[Sent]]:
        """The results of each message, in order.

        A repeat of the call sends to those alone who are not final. ``names``, where they are given, tell the messages
        apart instead: each is known again by its own, in whatever call it comes.
        """
        if names is None and len(mails) == 1:
            return [await send(self._mta, await self._repeats.checked(ask), mails[0])]
        series = await self._repeats.series(ask, [ask.digest] * len(mails) if names is None else names)
        room, shared = asyncio.Semaphore(AT_ONCE), Shared()

        async def one(caller: Caller, mail: Outgoing) -> Sequence[Sent]:
            async with room:
                return await send(self._mta, caller, mail, shared=shared)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(*each)) for each in zip(series.callers, mails, strict=True)]
        results = [task.result() for task in tasks]
        await series.settle([all(sent.result.outcome.is_final for sent in each) for each in results])
        return results


class Shelf:
    """The templates that a call asks for, each looked up once, and once for all by their ids."""

    def __init__(self, templates: Templates, account: str) -> None:
        self._templates = templates
        self._account = account
        self._found: dict[str, Template | None] = {}
        self._uids: Mapping[str, str] | None = None

    async def template(self, field: str, *names: str) -> Template:
        """The first of these that there is. Problem 404 if there is none, or nobody has approved it."""
        for name in names if self._account else ():
            if name not in self._found:
                self._found[name] = await self._find(name)
            template = self._found[name]
            if template is not None and template.status == "approved":
                return template
        raise Problem(404, "there is no approved template of that name", field, code=106)

    async def _find(self, name: str) -> Template | None:
        found = await self._templates.named(self._account, name)
        if found is not None or not name.isdecimal():
            return found
        if self._uids is None:
            self._uids = await self._templates.uids(self._account)
        return await self._templates.named(self._account, self._uids.get(name, ""))
