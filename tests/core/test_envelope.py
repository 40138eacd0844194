"""What an envelope keeps for the copies of its message."""

import gc
import weakref
from dataclasses import replace

from mtaframe import Envelope
from mtaframe.testing import envelope


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
