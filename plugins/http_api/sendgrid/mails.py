"""The mail of a SendGrid request.

The rule: each personalization is a message of its own, whose recipients see each other. Those that differ in recipients
and variables alone are sent together.
"""

from collections.abc import Sequence
from dataclasses import replace

from mtaframe import Private
from mtaframe_plugins.http_api import reading
from mtaframe_plugins.http_api.door import Problem
from mtaframe_plugins.http_api.outgoing import Attachment, Copies, Mailbox, Outgoing
from mtaframe_plugins.http_api.sendgrid.models import (
    People,
    SendGridContent,
    SendGridFile,
    SendGridMail,
    SendGridPerson,
    SendGridPersonalization,
)
from mtaframe_plugins.http_api.templates import Template

LONGEST_TAG = 64
TAGS = 20_000
"""Characters that the names of all substitutions of a call may have: every text is looked through for them."""
Fields = tuple[tuple[str, str], ...]


def outgoing(mail: SendGridMail, template: Template | None) -> Sequence[Outgoing]:
    """One for all personalizations that differ in recipients and variables alone. Problem."""
    if mail.sections:
        raise Problem(400, "is not offered: write the text into the substitutions", "sections")
    _check_tags(mail)
    base = _base(mail, template)
    groups: dict[Outgoing, list[Copies]] = {}
    for number, each in enumerate(mail.personalizations):
        place = f"personalizations.{number}"
        one = replace(
            base,
            sender=_mailbox(each.sender, f"{place}.from") if each.sender else base.sender,
            subject=_subject(mail, template, each, place),
            fields=_fields(base.fields, each, place),
            custom_data=_custom_data(base.custom_data, each, place),
        )
        variables = reading.variables(
            ((template and each.dynamic_template_data) or {})
            | reading.texts(each.substitutions, f"{place}.substitutions"),
            f"{place}.dynamic_template_data",
        )
        copies = Copies(
            _mailboxes(each.to, f"{place}.to"),
            _mailboxes(each.cc, f"{place}.cc"),
            _mailboxes(each.bcc, f"{place}.bcc"),
            variables,
        )
        groups.setdefault(replace(one, attachments=(), text=None, html=None), []).append(copies)
    return [
        replace(one, copies=tuple(all_copies), attachments=base.attachments, text=base.text, html=base.html)
        for one, all_copies in groups.items()
    ]


def _base(mail: SendGridMail, template: Template | None) -> Outgoing:
    text, html = (template.text, template.html) if template else _content(mail.content or ())
    if mail.reply_to and mail.reply_to_list:
        raise Problem(400, "give reply_to or reply_to_list, not both", "reply_to_list")
    custom = reading.texts(mail.custom_args, "custom_args")
    if mail.categories:
        custom.setdefault("category", ", ".join(mail.categories))
    is_dynamic = any(each.dynamic_template_data for each in mail.personalizations) or (
        mail.template_id or ""
    ).startswith("d-")
    dialect = "templates" if template and is_dynamic else "literal"
    return Outgoing(
        sender=_mailbox(mail.sender, "from"),
        subject="",
        copies=(),
        text=text,
        html=html,
        reply_to=(
            (_mailbox(mail.reply_to, "reply_to"),) if mail.reply_to
            else _mailboxes(mail.reply_to_list, "reply_to_list")
        ),
        fields=reading.fields((mail.headers or {}).items(), "headers"),
        attachments=tuple(_attachment(each, f"attachments.{at}") for at, each in enumerate(mail.attachments or ())),
        custom_data=reading.custom_data(custom, "custom_args"),
        dialect=(template.dialect if template else None) or dialect,
    )  # fmt: skip


def _content(given: Sequence[SendGridContent]) -> tuple[str | None, str | None]:
    found: dict[str, str] = {}
    for number, each in enumerate(given):
        kind = each.type.partition(";")[0].strip().lower()
        if kind not in ("text/plain", "text/html"):
            raise Problem(400, "is text/plain or text/html", f"content.{number}.type")
        if kind in found:
            raise Problem(400, "is there twice", f"content.{number}.type")
        found[kind] = each.value
    return found.get("text/plain"), found.get("text/html")


def _attachment(each: SendGridFile, field: str) -> Attachment:
    name = each.filename or ""
    is_inline = (each.disposition or "").lower() == "inline"
    kind = reading.media_type(each.type, name)
    return reading.attachment(name, kind, each.content, field, (each.content_id or None) if is_inline else None)


def _subject(mail: SendGridMail, template: Template | None, each: SendGridPersonalization, place: str) -> str:
    """The template's own goes before all others."""
    if template and template.subject:
        return template.subject
    if each.subject:
        return reading.subject(each.subject, f"{place}.subject")
    if not mail.subject:
        raise Problem(400, "is required", "subject")
    return reading.subject(mail.subject)


def _fields(common: Fields, each: SendGridPersonalization, place: str) -> Fields:
    if not each.headers:
        return common
    own = reading.fields(each.headers.items(), f"{place}.headers")
    names = {name.lower() for name, _ in own}
    return (*(field for field in common if field[0].lower() not in names), *own)


def _custom_data(common: Private[str], each: SendGridPersonalization, place: str) -> Private[str]:
    if not each.custom_args:
        return common
    field = f"{place}.custom_args"
    return reading.custom_data({**common, **reading.texts(each.custom_args, field)}, field)


def _check_tags(mail: SendGridMail) -> None:
    names: set[str] = set()
    for number, each in enumerate(mail.personalizations):
        field = f"personalizations.{number}.substitutions"
        for name in each.substitutions or ():
            if not name or len(name) > LONGEST_TAG or reading.CONTROL.search(name):
                raise Problem(400, f"what is replaced is 1 to {LONGEST_TAG} characters on one line", field)
            names.add(name)
        if sum(map(len, each.substitutions or ())) > TAGS:
            raise Problem(400, f"{TAGS:,} characters to replace are enough", field)
    if sum(map(len, names)) > TAGS:
        raise Problem(400, f"{TAGS:,} characters to replace are enough", "personalizations")


def _mailbox(person: SendGridPerson, field: str) -> Mailbox:
    return reading.mailbox(person.email, f"{field}.email", person.name)


def _mailboxes(people: People, field: str) -> tuple[Mailbox, ...]:
    return tuple(_mailbox(person, f"{field}.{number}") for number, person in enumerate(people or ()))
