"""What outlives a message, in RAM or in a file: the backends of ``mta.state``."""

from mtaframe.state.commands import answer
from mtaframe.state.desk import StateDesk
from mtaframe.state.keys import Keyring
from mtaframe.state.memory import MemoryState
from mtaframe.state.opening import open_state
from mtaframe.state.owned import OwnedState, StateError
from mtaframe.state.remote import RemoteState

__all__ = ["Keyring", "MemoryState", "OwnedState", "RemoteState", "StateDesk", "StateError", "answer", "open_state"]
