"""What one plugin may ask another through ``mta.ask``, without knowing it.

A question is a frozen value of a subclass; whoever answers registers for that class, and where nobody does,
the question's own ``default`` is the answer.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from mtaframe.redaction import Redacted

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Question(Redacted, Generic[T]):
    """Subclass it with the fields that matter, and say what holds when nobody answers."""

    @property
    def default(self) -> T:
        raise TypeError(f"{type(self).__name__} has no default")
