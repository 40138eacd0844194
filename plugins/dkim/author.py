"""Whose mail it is: the one domain of the From field.

The rule: where programs could read different domains out of a message there is no author domain, for a signature
would vouch for something that some reader shows and its owner never wrote.
"""

from mtaframe import Message, author_domains


def author_domain(message: Message) -> str | None:
    """The domain that all addresses in all From fields share, as an A-label; None if there is none or another."""
    found = author_domains(message)
    return next(iter(found)) if len(found) == 1 else None
