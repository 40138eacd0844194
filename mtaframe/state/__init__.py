"""What outlives a message, in RAM or in a file: the backends of ``mta.state``."""

from mtaframe.state.memory import MemoryState

__all__ = ["MemoryState"]
