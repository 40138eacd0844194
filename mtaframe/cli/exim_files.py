"""What Exim's configuration says in a chain with mtaframe, and how that is put in and taken out again.

The rule: taking it out leaves the octets that were there before, whatever else was changed meanwhile. What is added
stands in marked blocks: at the beginning of each section of the one file, or in files of their own in Debian's conf.d.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from mtaframe.cli.marked import Marks, set_aside
from mtaframe.notation import Endpoint

Section = Literal["main", "routers", "transports", "retry"]
Protocol = Literal["lmtp", "smtp"]

_MARKS = Marks("exim")

_ROUTER = """\
# All mail for other hosts goes to mtaframe, which answers when the next hop has answered.
mtaframe:
  driver = accept
  domains = ! +local_domains : ! +relay_to_domains
  transport = mtaframe
"""
_TCP = """\
# Exim waits longer than mtaframe's patience (280s), so that mtaframe's answer always arrives.
mtaframe:
  driver = smtp
  protocol = {protocol}
  hosts = <; {host}
  port = {port}
  allow_localhost
  max_rcpt = 100
  connection_max_messages = 1
  hosts_avoid_tls = *
  hosts_try_prdr = *
  hosts_try_chunking =
  connect_timeout = 30s
  command_timeout = 5m
  data_timeout = 5m
  final_timeout = 11m
"""
_UNIX = """\
# Exim waits longer than mtaframe's patience (280s), so that mtaframe's answer always arrives.
mtaframe:
  driver = lmtp
  socket = {path}
  group = mtaframe
  batch_max = 100
  timeout = 11m
"""
_RETRY = """\
# Few refused connections, as when mtaframe restarts, prove nothing about the whole next hop.
{host}  *  F,4d,1s
"""
_BEHIND_MAIN = """\
# One slow message holds up one queue runner.
queue_run_max = 20
"""
_FRONT_MAIN = """\
# What mtaframe hands over is delivered at once, however many messages come by one connection.
smtp_accept_queue_per_connection = 0
smtp_accept_max = 200
"""


_IN_CONF_D: Mapping[Section, str] = {
    "main": "main/050_mtaframe",
    "routers": "router/050_mtaframe",
    "transports": "transport/050_mtaframe",
    "retry": "retry/050_mtaframe",
}

LISTENER = Endpoint("127.0.0.1:2424")
"""Where mtaframe listens, unless told otherwise."""


def additions(chain: str, endpoint: Endpoint = LISTENER, protocol: Protocol = "lmtp") -> Mapping[Section, str]:
    """What a chain adds to the sections of Exim's configuration. ValueError if the protocol needs a port."""
    if chain == "front":
        return {"main": _FRONT_MAIN}
    if not endpoint.path:
        transport = _TCP.format(protocol=protocol, host=endpoint.host, port=endpoint.port)
        retry = _RETRY.format(host=endpoint.host)
        return {"main": _BEHIND_MAIN, "routers": _ROUTER, "transports": transport, "retry": retry}
    if protocol == "smtp":
        raise ValueError("Exim speaks SMTP to a port, and only LMTP to a Unix socket")
    return {"main": _BEHIND_MAIN, "routers": _ROUTER, "transports": _UNIX.format(path=endpoint.path)}


def places(configuration: Path) -> Mapping[Path, Section | None]:
    """The files to change: one with all sections (None), or for Debian's folder ``conf.d`` one for each section."""
    if configuration.is_dir():
        return {configuration / name: section for section, name in _IN_CONF_D.items()}
    return {configuration: None}


def applied(text: str, section: Section | None, added: Mapping[Section, str]) -> str:
    """The text of one of the places with its part of what is added, in place of any that was."""
    text = undone(text)
    if section is not None:
        return _MARKS.put_in(text, added.get(section, ""), at=0)
    text = _set_aside(text, set(re.findall(r"(?m)^(\w+) =", added["main"])))
    missing = ""
    for other, part in added.items():
        if begin := re.search(rf"(?m)^[ \t]*begin[ \t]+{other}\b.*\n?", text):
            # at its beginning, for the first router that takes an address counts, and the first rule that fits
            text = _MARKS.put_in(text, part, at=begin.end())
        elif other != "main":
            missing += f"begin {other}\n{part}"
    return _MARKS.put_in(_MARKS.put_in(text, missing), added["main"], at=0)


def undone(text: str) -> str:
    """The text without any chain: as it was before, but for changes that others made."""
    return _MARKS.taken_out(text)


def _set_aside(text: str, options: set[str]) -> str:
    """Comments out the lines of the main section that set one of the options, for Exim takes each only once."""
    begin = re.search(r"(?m)^[ \t]*begin[ \t]", text)
    end = begin.start() if begin else len(text)
    ours = rf"(?m)^[ \t]*(?:{'|'.join(sorted(options))})[ \t]*=.*$"
    return re.sub(ours, lambda line: set_aside(line[0]), text[:end]) + text[end:]
