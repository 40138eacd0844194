"""Remembers which recipients are final while their answer is unsettled, so that a repeat tries only the rest.

The law: an entry exists only while the client may try again because of us. It is a keyed digest and an outcome,
never text. The same octets sent twice on purpose find nothing here; sent again because the answer was 4xx or
never arrived, they find what is done. It is never approximate: a false hit would be a lost mail.
"""

from mtaframe.ledger.book import CLAIMED, KEPT, Book, Found, LocalBook, Table
from mtaframe.ledger.entry import Entry
from mtaframe.ledger.ledger import Ledger
from mtaframe.ledger.remote import RemoteBook, desk

__all__ = ["CLAIMED", "KEPT", "Book", "Entry", "Found", "Ledger", "LocalBook", "RemoteBook", "Table", "desk"]
