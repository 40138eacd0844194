"""What an envelope keeps for the copies of its message."""

import gc
import weakref
from dataclasses import fields, replace

from mtaframe import Delivery, Envelope, Recipient
from mtaframe.redaction import Private
from mtaframe.testing import address, delivery, envelope, message


class Found(dict[str, int]):
    """A mapping that a weak reference can follow."""


def found(_: Envelope) -> Found:
    return Found()


def test_copies_share_what_was_derived_and_a_changed_envelope_starts_anew() -> None:
    mail, equal = envelope(), envelope()
    mail.derived(found)["a"] = 1
    assert mail.derived(found) == {"a": 1}
    assert replace(mail, stream="news").derived(found) == {}
    assert mail.with_note("a", 1).derived(found) == {}
    assert mail == equal
    assert hash(mail) == hash(equal)
    assert repr(mail) == repr(equal)


def test_what_was_derived_goes_with_the_envelope() -> None:
    mail = envelope()
    seen = weakref.ref(mail.derived(found))
    gc.disable()
    try:
        del mail
        assert seen() is None
    finally:
        gc.enable()


def test_what_is_changed_field_by_field_keeps_every_other_one() -> None:
    """The short ways to what ``replace`` does name every field: one that is added must not be forgotten there."""
    other = {part.name: object() for part in fields(Envelope) if part.init}
    everything = Envelope(**other)  # type: ignore[arg-type]
    others = (Recipient(address("b@example.net")),)
    assert everything.with_recipients(others) == replace(everything, recipients=others)

    copy = Delivery(**{part.name: object() for part in fields(Delivery)})  # type: ignore[arg-type]
    changed = message("other")
    assert copy.with_message(changed) == replace(copy, message=changed)

    notes: Private[object] = Private({"a": 1})
    parts = {part.name: object() for part in fields(Recipient)} | {"notes": notes}
    recipient = Recipient(**parts)  # type: ignore[arg-type]
    assert recipient.with_note("b", 2) == replace(recipient, notes=notes.but("b", 2))
    assert delivery().with_note("b", 2).notes == Private({"b": 2})
