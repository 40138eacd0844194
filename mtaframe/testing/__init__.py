"""What plugin and core tests build on: a next hop, DNS and a clock that obey the test, and ready-made words."""

from mtaframe.testing.mx import ScriptedMx
from mtaframe.testing.script import DROP, HANG, RESET, MxSession, Received

__all__ = ["DROP", "HANG", "RESET", "MxSession", "Received", "ScriptedMx"]
