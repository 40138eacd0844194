"""Sends outgoing mail, and tells what became of each recipient.

The rule: one message for everybody, and of each copy only what is its own (To, Cc, Message-ID); it is added as
the copy is made, behind whatever fills in merge tags. A repeat under the same key sends nothing twice.
"""

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mtaframe import (
    Address,
    Delivery,
    Envelope,
    HttpRequest,
    Identity,
    Mta,
    Outcome,
    Private,
    Recipient,
    Redacted,
    Reply,
    Result,
    Session,
    Variable,
    folded_value,
)
from mtaframe_plugins.http_api.composing import Shared, composed, mailbox_list
from mtaframe_plugins.http_api.outgoing import Copies, Outgoing

FIELDS = "http_api.fields"
"""The note of a recipient that holds the fields of its copy: (name, value) pairs."""


@dataclass(frozen=True, slots=True, repr=False)
class Sent(Redacted):
    """How it went for one recipient. ``kind`` is to, cc or bcc; ``place`` says which of the copies it belongs to."""

    _shown = ("id", "place", "result")

    id: str
    address: Address
    kind: str
    place: int
    result: Result

    @property
    def status(self) -> str:
        if self.result.outcome is Outcome.DELIVERED and self.result.by == "hold":
            return "accepted"
        return self.result.outcome.value


@dataclass(frozen=True, slots=True, repr=False)
class Caller(Redacted):
    """Whose call it is: the account's name, the request, and what tells a repeat. ``repeat`` is kept if ``is_kept``."""

    _shown = ("account",)

    account: str
    request: HttpRequest
    repeat: bytes
    is_kept: bool = False


Told = Callable[[Sent], None]

_BEFORE = Result(Outcome.DELIVERED, Reply(250, "2.0.0", "held in memory or delivered before"), "hold")


async def send(
    mta: Mta,
    caller: Caller,
    mail: Outgoing,
    told: Told | None = None,
    *,
    must_wait: bool = True,
    shared: Shared | None = None,
) -> Sequence[Sent]:
    """The result for each recipient, in order; ``told`` as soon as it is known. Without waiting, most are accepted."""
    named = list(_named(caller, mail, mta.hostname))
    envelope = Envelope(
        id=os.urandom(8).hex(),
        session=_session(caller),
        reverse_path=mail.sender.address,
        received_at=mta.clock.now(),
        recipients=tuple(recipient for recipient, _ in named),
        account=caller.account,
        stream=mail.stream,
        smtputf8=not _is_ascii(mail),
    )
    for key, note in (("merge_tags.dialect", mail.dialect), ("merge_tags.on_missing", mail.on_missing)):
        if note is not None:
            envelope = envelope.with_note(key, note)
    message, identity = composed(mail, envelope.received_at, shared), Identity(caller.repeat, caller.is_kept)

    def sent(place: int, result: Result) -> Sent:
        recipient, (number, kind) = named[place]
        return Sent(_plain_id(recipient), recipient.address, kind, number, result)

    results: Sequence[Result]
    if not must_wait:
        accepted = await mta.accept(envelope.session, envelope, message, identity=identity)
        results = [_BEFORE if _is_of_earlier_call(result) else result for result in accepted]
    else:
        results = await mta.submit(
            envelope.session,
            envelope,
            message,
            deadline=caller.request.deadline,
            identity=identity,
            told=None if told is None else lambda place, result: told(sent(place, result)),
        )
    return [sent(place, result) for place, result in enumerate(results)]


def _is_of_earlier_call(result: Result) -> bool:
    """Whether the ledger says that it had a 250: where nobody waits, that may have been one for mail that is held."""
    return result.by == "ledger" and result.outcome is Outcome.DELIVERED


def own_fields(delivery: Delivery) -> Delivery | None:
    """The copy with the fields that are its own; None if it has none."""
    fields = delivery.recipient.notes.get(FIELDS)
    if not isinstance(fields, tuple):
        return None
    message = delivery.message
    for name, value in fields:
        message = message.append(name, value)
    return delivery.with_message(message)


def _named(caller: Caller, mail: Outgoing, hostname: str) -> Iterator[tuple[Recipient, tuple[int, str]]]:
    """Each recipient with its notes, the place of its copies, and whether it is to, cc or bcc."""
    count = 0
    for number, copies in enumerate(mail.copies):
        variables = _together(mail.variables, copies.variables)
        names = (_id(caller, place) for place in range(count, count + copies.count))
        first = next(names)
        fields = _fields(copies, f"<{first}@{hostname}>")
        for kind, mailboxes in (("to", copies.to), ("cc", copies.cc), ("bcc", copies.bcc)):
            for mailbox in mailboxes:
                name = first if kind == "to" and mailbox is copies.to[0] else next(names)
                yield (
                    Recipient(
                        mailbox.address,
                        merge_vars=variables,
                        notes=Private({FIELDS: fields}),
                        message_id=f"{name}@{hostname}",
                    ),
                    (number, kind),
                )
        count += copies.count


def _together(everybodys: Private[Variable], own: Private[Variable]) -> Private[Variable]:
    """Where one of them is all, it is there once for all copies: ``Orders`` bounds the others."""
    return Private({**everybodys, **own}) if everybodys and own else own or everybodys


def _fields(copies: Copies, message_id: str) -> tuple[tuple[str, str], ...]:
    fields = [("To", folded_value("To", mailbox_list(copies.to)))]
    if copies.cc:
        fields.append(("Cc", folded_value("Cc", mailbox_list(copies.cc))))
    return (*fields, ("Message-ID", message_id))


def _id(caller: Caller, place: int) -> str:
    """A UUID that the repeat of a kept call gets again."""
    if not caller.is_kept:
        return str(uuid.uuid4())
    octets = f"{caller.account}\0{place}\0".encode() + caller.repeat
    return str(uuid.UUID(bytes=hashlib.blake2b(octets, digest_size=16).digest(), version=4))


def _plain_id(recipient: Recipient) -> str:
    return (recipient.message_id or "").partition("@")[0]


def _session(caller: Caller) -> Session:
    request = caller.request
    return Session(
        id=request.id,
        client=request.client,
        listener=request.listener,
        ehlo=_literal(request.client),
        protocol="HTTPS" if request.tls else "HTTP",
        tls=request.tls,
        account=caller.account,
    )


def _literal(client: str) -> str:
    """What the Received field says in place of an EHLO name (RFC 5321 §4.1.3)."""
    if not client:
        return "localhost"
    return f"[IPv6:{client}]" if ":" in client else f"[{client}]"


def _is_ascii(mail: Outgoing) -> bool:
    everybody = [mail.sender, *mail.reply_to]
    for copies in mail.copies:
        everybody += (*copies.to, *copies.cc, *copies.bcc)
    return all(mailbox.address.is_ascii for mailbox in everybody)
