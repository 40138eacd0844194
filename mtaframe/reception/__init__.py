"""Where a transaction is decided: who may send, what the ledger knows, and the answer that the client gets.

The law: a 250 after the final dot means that the next hop of every recipient has said 250. What is not known to
be final is "try again"; a crash at any instant loses nothing that we acknowledged.
"""

from mtaframe.reception.reception import Reception
from mtaframe.reception.transaction import NO_MEMORY, Transaction

__all__ = ["NO_MEMORY", "Reception", "Transaction"]
