"""Personalised copies per second of one core, before anything is signed: the plugin merge_tags alone."""

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from contrib.bench.source import message
from contrib.bench.table import markdown, number, octets
from mtaframe import Envelope, Message, Verdict
from mtaframe.testing import RecordingMta, deliveries, envelope
from mtaframe_plugins.merge_tags import MergeTags, MergeTagsSettings

DIALECTS = {"tags": "[{}]", "braces": "{{{{{}}}}}", "templates": "{{{{ {} }}}}"}
"""How each dialect that is measured writes a tag."""
_TEXT = "Dear {NAME} from {CITY},\r\nyour code is {CODE}. (c) {YEAR}\r\n"


@dataclass(frozen=True, slots=True)
class Copies:
    """How many were made, in how many CPU seconds."""

    dialect: str
    recipients: int
    size: int
    copies: int
    cpu: float

    @property
    def rate(self) -> float:
        return self.copies / self.cpu

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"rate": self.rate}


def merged(dialect: str, recipients: int, size: int, seconds: float) -> Copies:
    """Fill in the tags for all recipients, again with another message until the time is over."""
    plugin = MergeTags(MergeTagsSettings.model_validate({"dialect": dialect}), RecordingMta())
    copies, cpu, number = 0, 0.0, 0
    while cpu < seconds:
        number += 1
        taken, content = _taken(plugin, recipients, size, number)
        waiting = deliveries(*taken.recipients, envelope=taken, message=content)
        began = time.process_time()
        for delivery in waiting:
            changed = plugin.before_sign(delivery)
            assert changed is not None
            assert not isinstance(changed, Verdict)
        cpu += time.process_time() - began
        copies += len(waiting)
    return Copies(dialect, recipients, size, copies, cpu)


def _taken(plugin: MergeTags, recipients: int, size: int, number: int) -> tuple[Envelope, Message]:
    """A message as it is after ``on_data``, with each recipient's variables."""
    mailboxes = [f"r{index}@example.net" for index in range(recipients)]
    variables = {
        mailbox: {"NAME": f"Recipient {index}", "CITY": "Ghent", "CODE": f"{index:08x}"}
        for index, mailbox in enumerate(mailboxes)
    }
    field = f"X-Merge-Vars: {json.dumps(variables | {'*': {'YEAR': '2026'}})}\r\n"
    tags = {name: DIALECTS[plugin.config.dialect].format(name) for name in ("NAME", "CITY", "CODE", "YEAR")}
    subject = f"Subject: News for {tags['NAME']}".encode()
    raw = message(size, number, fields=field, greeting=_TEXT.format(**tags)).replace(b"Subject: News", subject)
    answer = plugin.on_data(envelope(mailboxes), Message.parse(raw))
    assert isinstance(answer, tuple)
    return answer


def table(found: list[Copies]) -> str:
    """One line for each dialect."""
    head = ["merge_tags", "size", "recipients", "copies/s per core", "CPU µs/copy"]
    rows = [
        [one.dialect, octets(one.size), f"{one.recipients:,}", number(one.rate), number(one.cpu / one.copies * 1e6)]
        for one in found
    ]
    return markdown(head, rows)
