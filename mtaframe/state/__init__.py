"""What outlives a message, in RAM or in a file: the backends of ``mta.state``."""

from mtaframe.state.commands import answer
from mtaframe.state.memory import MemoryState
from mtaframe.state.opening import open_state
from mtaframe.state.owned import OwnedState, StateError

__all__ = ["MemoryState", "OwnedState", "StateError", "answer", "open_state"]
