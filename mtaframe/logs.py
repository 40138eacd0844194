"""How log lines look: one line per event, the same keys in the same order, and never an address."""

import hashlib
import json
import logging
import os
import re
import sys
from asyncio import _get_running_loop
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

from mtaframe.address import Address
from mtaframe.lifecycle import Clock
from mtaframe.settings import LogSettings

_ROOT, _OURS = logging.getLogger(), logging.getLogger("mtaframe")
MOMENT = 0.01
"""Seconds in which lines gather; as many are lost if the process is killed."""
_PAIR = re.compile(r" (\w+)=(.*?)(?= \w+=|$)")
"""A key and its value; a value may be several words, as a fault is."""


class Lines(logging.Formatter):
    """``LEVEL event key=value …``; the journal adds the time, a terminal gets it from us."""

    def __init__(self, with_time: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s" if with_time else "%(levelname)s %(message)s")
        self.is_plain = not with_time

    def format(self, record: logging.LogRecord) -> str:
        if self.is_plain and not record.exc_info:
            return f"{record.levelname} {record.getMessage()}"
        return super().format(record)

    def formatException(self, ei: Any) -> str:
        """Type and place of an exception, without its text: that may hold what a message holds."""
        kind, _, tb = ei
        while tb is not None and tb.tb_next is not None:
            tb = tb.tb_next
        place = f"{tb.tb_frame.f_code.co_filename}:{tb.tb_lineno}" if tb else "?"
        return f"exception={getattr(kind, '__name__', kind)} at={place}"


class Json(Lines):
    """The same as one JSON object a line, the keys of the text as its keys."""

    def __init__(self) -> None:
        super().__init__(with_time=True)

    def format(self, record: logging.LogRecord) -> str:
        line = {"at": iso(record.created), "level": record.levelname.lower(), **pairs(record.getMessage())}
        if record.exc_info:
            line["fault"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def iso(seconds: float) -> str:
    """A time since 1970, UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def pairs(line: str) -> dict[str, str]:
    """A line of ours, taken apart: what it says as ``event``, then its keys."""
    return {"event": _PAIR.split(line)[0], **dict(_PAIR.findall(line))}


def tell(log: logging.Logger, text: str, *arguments: object) -> None:
    """What ``log.info`` does, at a third of its cost, for the line that every message has: no record is made where
    our own lines are all that comes of it. ``log`` is one of ``mtaframe.something``.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    hearing = [*log.handlers, *_OURS.handlers, *_ROOT.handlers]
    if len(hearing) == 1 and isinstance(hearing[0], Stderr) and hearing[0].is_plain:
        hearing[0].add(f"INFO {text % arguments}")
    else:
        log.info(text, *arguments)


class RecipientTag:
    """What a log line shows of a recipient: nothing, the domain, or a tag whose key changes every day."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._day = ""
        self._key = b""

    def __call__(self, address: Address, clock: Clock) -> str:
        if self._mode == "domain":
            return address.domain
        if self._mode == "none":
            return "-"
        if (day := clock.now().date().isoformat()) != self._day:
            self._day, self._key = day, os.urandom(32)
        mailbox = address.mailbox.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(mailbox, key=self._key, digest_size=6).hexdigest()


class Stderr(logging.Handler):
    """Writes the lines of a moment at once: what a busy server says costs little. A warning is written at once."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self.setFormatter(lines)
        self.is_plain = lines.is_plain
        self._lines: list[str] = []

    def handle(self, record: logging.LogRecord) -> bool:
        """Without a lock: a list takes what any thread appends."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:
            return self.handleError(record)
        self.add(line)
        if record.levelno > logging.INFO:
            self.flush()

    def add(self, line: str) -> None:
        """One that can wait for a moment."""
        self._lines.append(line)
        loop = _get_running_loop()
        if loop is None:
            self.flush()
        elif len(self._lines) == 1:
            loop.call_later(MOMENT, self.flush)

    def flush(self) -> None:
        """Called at the end of the process, too."""
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            if lines:
                sys.stderr.write("\n".join(lines) + "\n")
                sys.stderr.flush()


def set_up(settings: LogSettings) -> None:
    """Send the log of ``mtaframe`` and whatever else the process logs to stderr, in our lines."""
    # what no line of ours shows need not be found out for each
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    handler = Stderr(Json() if settings.format == "json" else Lines(with_time=sys.stderr.isatty()))
    handler.setLevel(settings.level.upper())
    _ROOT.handlers[:] = [handler]
    _ROOT.setLevel(logging.WARNING)
    _OURS.setLevel(settings.level.upper())
    events = logging.getLogger("mtaframe.events")  # for whoever looks by `mtaframe tail`
    events.propagate = False
    if not events.handlers:
        events.setLevel(logging.CRITICAL)
    for name in ("mail", "mail.log", "mail.debug", "dkimpy", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
