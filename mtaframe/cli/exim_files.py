"""What Exim's configuration says in a chain with mtaframe, and how that is put in and taken out again.

The rule: taking it out leaves the octets that were there before, whatever else was changed meanwhile. What is
added stands in marked blocks, one at the beginning of each section; an option that a block replaces is commented
out where it stood.
"""

from collections.abc import Mapping
from typing import Literal

from mtaframe.settings import Endpoint

Section = Literal["main", "routers", "transports", "retry"]
Protocol = Literal["lmtp", "smtp"]

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
  user = mail
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


def additions(chain: str, endpoint: Endpoint, protocol: Protocol = "lmtp") -> Mapping[Section, str]:
    """What a chain adds to each section, for Exim 4.94 or later."""
    if chain == "front":
        return {"main": _FRONT_MAIN}
    if endpoint.path:
        return {"main": _BEHIND_MAIN, "routers": _ROUTER, "transports": _UNIX.format(path=endpoint.path)}
    transport = _TCP.format(protocol=protocol, host=endpoint.host, port=endpoint.port)
    return {
        "main": _BEHIND_MAIN,
        "routers": _ROUTER,
        "transports": transport,
        "retry": _RETRY.format(host=endpoint.host),
    }
