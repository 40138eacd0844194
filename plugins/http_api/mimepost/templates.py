"""``/v1/templates``: what an account keeps here, to be sent by its name.

The rule: where templates are moderated, what is new or changed is sent by nobody until the operator has approved it.
"""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from mtaframe import CheckTemplate, HttpAnswer, Mta
from mtaframe_plugins.http_api import reading
from mtaframe_plugins.http_api.door import Ask, Body, Call, Each, Problem
from mtaframe_plugins.http_api.mimepost.form import Told, done
from mtaframe_plugins.http_api.settings import HttpApiSettings
from mtaframe_plugins.http_api.templates import TakenError, Template, Templates

MAX_SIZE = 200_000
"""Octets of HTML and text together: mail programs cut what is longer than half of it."""
MAX_VARIABLES = 200

_UID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_NOT_FOUND = 106


class TemplateText(Body):
    """A template, new or changed; what a change does not name stays."""

    template_uid: str | None = Field(default=None, description="Its name in calls: letters, digits, dots, _ and -.")
    name: str | None = Field(default=None, description="Its name for people.")
    html_body: str | None = Field(default=None, description="The HTML.")
    text_body: str | None = Field(default=None, description="The text.")
    variables: Each[str] | str | None = Field(
        default=None, description="Names of its variables, for people: a list, or one written as JSON."
    )
    subject: str | None = Field(default=None, description="A subject, for doors whose calls have none. (An extension.)")
    dialect: Literal["tags", "braces", "literal", "templates"] | None = Field(
        default=None, description="How merge tags are written. (An extension.)"
    )


class TemplateRow(Body):
    """A template in the list."""

    id: int
    template_uid: str
    name: str
    layout_id: int | None = None
    status: Literal["pending", "approved", "rejected"]
    moderated_by: str | None
    moderated_at: str | None
    created_at: str
    updated_at: str


class WholeTemplate(TemplateRow):
    """A template as a whole."""

    instance_id: str
    instance_name: str
    html_body: str | None
    text_body: str | None
    variables: list[str]
    rejection_reason: str | None
    subject: str | None
    dialect: str | None


class TemplateList(Told):
    data: list[TemplateRow]
    total: int


class OneTemplate(Told):
    data: WholeTemplate


class TemplateMade(Told):
    template_uid: str


class TemplateCalls:
    """The calls about templates."""

    def __init__(self, mta: Mta, config: HttpApiSettings, templates: Templates) -> None:
        self._mta = mta
        self._config = config
        self._templates = templates

    def calls(self) -> Sequence[Call]:
        one = "/v1/templates/{template}"
        query = {"status": "Only those: pending, approved or rejected.", "search": "A part of the name or the uid."}
        return (
            Call("GET", "/v1/templates", "List templates", self.list, answer=TemplateList, query=query),
            Call("POST", "/v1/templates", "Make a template", self.add, TemplateText, TemplateMade, status=201),
            Call("GET", one, "A template, by its uid or id", self.get, answer=OneTemplate),
            Call("PUT", one, "Change a template", self.change, TemplateText, Told),
            Call("POST", f"{one}/copy", "Copy a template", self.copy, answer=Told),
            Call("DELETE", one, "Delete a template", self.drop, answer=Told),
        )

    async def list(self, ask: Ask) -> HttpAnswer:
        status, search = ask.request.query.get("status", ""), ask.request.query.get("search", "").casefold()
        rows = [
            TemplateRow(**_row(each)).model_dump()
            for each in await self._templates.all(ask.account.name)
            if status in ("", each.status) and (search in each.name.casefold() or search in each.uid.casefold())
        ]
        return done("Templates", rows, total=len(rows))

    async def get(self, ask: Ask) -> HttpAnswer:
        template = await self._own(ask)
        whole = WholeTemplate(
            **_row(template),
            instance_id=ask.account.name,
            instance_name=self._mta.hostname,
            html_body=template.html,
            text_body=template.text,
            variables=list(template.variables),
            rejection_reason=template.rejection_reason,
            subject=template.subject,
            dialect=template.dialect,
        )
        return done("Template", whole.model_dump())

    async def add(self, ask: Ask) -> HttpAnswer:
        if not ask.data.template_uid:
            raise Problem(400, "give the template a name", "template_uid")
        if not ask.data.name:
            raise Problem(400, "give the template a name for people", "name")
        template = _with(Template(0, "", ""), ask.data)
        await self._check(ask, template)
        await self._add(ask, template)
        return done("Template created", [], status=201, template_uid=template.uid)

    async def change(self, ask: Ask) -> HttpAnswer:
        before = await self._own(ask)
        await self._check(ask, _with(before, ask.data))
        try:
            changed = await self._templates.change(
                ask.account.name, before.uid, lambda template: self._fresh(_with(template, ask.data))
            )
        except TakenError:
            raise _taken() from None
        if changed is None:
            raise _none()
        return done("Template updated", [])

    async def copy(self, ask: Ask) -> HttpAnswer:
        template = await self._own(ask)
        uid = f"{template.uid[:54]}_copy_{secrets.token_hex(2)}"
        await self._add(ask, replace(template, uid=uid))
        return done("Template copied", {"new_template_uid": uid})

    async def drop(self, ask: Ask) -> HttpAnswer:
        await self._templates.drop(ask.account.name, await self._own(ask))
        return done("Template deleted", [])

    async def _own(self, ask: Ask) -> Template:
        found = await self._templates.find(ask.account.name, ask.request.parameters["template"])
        if found is None:
            raise _none()
        return found

    async def _add(self, ask: Ask, template: Template) -> None:
        most = self._config.max_templates
        try:
            made = await self._templates.add(ask.account.name, self._fresh(template), most)
        except TakenError:
            raise _taken() from None
        if made is None:
            raise Problem(400, f"the account has {most:,} templates, and may have no more")

    async def _check(self, ask: Ask, template: Template) -> None:
        """Better now than at each mail: a Problem if its merge tags can't be filled in."""
        texts = (("html_body", template.html), ("text_body", template.text), ("subject", template.subject))
        for field, text in texts:
            question = CheckTemplate(ask.account.name, text or "", field == "html_body", template.dialect)
            if text and (fault := await self._mta.ask(question)):
                raise Problem(400, fault, field)

    def _fresh(self, template: Template) -> Template:
        """As new: whoever has approved it has not seen this."""
        status = "pending" if self._config.moderate_templates else "approved"
        return replace(template, status=status, rejection_reason=None, moderated_by=None, moderated_at=None)


def _none() -> Problem:
    return Problem(404, "there is no template of that name", "template_uid", code=_NOT_FOUND)


def _taken() -> Problem:
    return Problem(400, "there is a template of that name already", "template_uid")


def _row(template: Template) -> dict[str, Any]:
    return {
        "id": template.id,
        "template_uid": template.uid,
        "name": template.name,
        "status": template.status,
        "moderated_by": template.moderated_by,
        "moderated_at": template.moderated_at,
        "created_at": template.created_at,
        "updated_at": template.updated_at,
    }


def _with(template: Template, given: TemplateText) -> Template:
    """The template with what was given. Problem."""
    changes: dict[str, Any] = {}
    if given.template_uid is not None:
        if not _UID.fullmatch(given.template_uid):
            raise Problem(
                400, "is 1 to 64 letters, digits, dots, _ and -, and begins with none of . and -", "template_uid"
            )
        changes["uid"] = given.template_uid
    for name, text in (("name", given.name), ("subject", given.subject)):
        if text is not None:
            changes[name] = reading.subject(text, name)
    for name, text in (("html", given.html_body), ("text", given.text_body)):
        if text is not None:
            changes[name] = text or None
    if given.variables is not None:
        changes["variables"] = _names(given.variables)
    if given.dialect is not None:
        changes["dialect"] = given.dialect
    return _checked(replace(template, **changes), changes)


def _checked(template: Template, changes: Mapping[str, Any]) -> Template:
    if not template.name:
        raise Problem(400, "give the template a name for people", "name")
    if template.html is None and template.text is None:
        raise Problem(400, "give html_body or text_body", "html_body")
    size = sum(len(text.encode("utf-8", "replace")) for text in (template.html, template.text) if text)
    if size > MAX_SIZE:
        field = "text_body" if "html" not in changes else "html_body"
        raise Problem(400, f"HTML and text may hold {MAX_SIZE:,} octets together", field)
    return template


def _names(given: Sequence[str] | str) -> tuple[str, ...]:
    """A list, or a list written as JSON, as forms have it. Problem."""
    names: Any = given
    if isinstance(given, str):
        try:
            names = json.loads(given or "[]")
        except (ValueError, RecursionError):
            names = None
    if not isinstance(names, list) or not all(isinstance(name, str) and 0 < len(name) <= 100 for name in names):
        raise Problem(400, "is a list of names, or one written as JSON", "variables")
    if len(names) > MAX_VARIABLES:
        raise Problem(400, f"{MAX_VARIABLES} names are enough", "variables")
    return tuple(names)
