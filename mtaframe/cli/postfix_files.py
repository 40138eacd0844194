"""What Postfix's main.cf and master.cf say in a chain with mtaframe, and how that is put in and taken out again.

The rule: taking it out leaves the octets that were there before, whatever else was changed meanwhile. What is
added stands in one marked block at the end; a parameter that the block replaces is commented out where it stood.
"""

import re
from dataclasses import dataclass

from mtaframe.cli.marked import Marks, set_aside
from mtaframe.notation import Endpoint

_MARKS = Marks("postfix")

_BEHIND_MAIN = """\
# All mail for other hosts goes to mtaframe, which answers for each recipient when its next hop has answered.
default_transport = mtaframe:{endpoint}
# One next hop takes everything: its limits are those of the whole server, and refused connections prove nothing.
mtaframe_initial_destination_concurrency = 200
mtaframe_destination_concurrency_limit = 200
mtaframe_destination_concurrency_negative_feedback = 0
mtaframe_destination_concurrency_failed_cohort_limit = 0
mtaframe_destination_recipient_limit = 100
# For domains known to be slow, a line in transport_maps: slow.example mtaframe-slow:{endpoint}
mtaframe-slow_initial_destination_concurrency = 50
mtaframe-slow_destination_concurrency_limit = 50
mtaframe-slow_destination_concurrency_negative_feedback = 0
mtaframe-slow_destination_concurrency_failed_cohort_limit = 0
mtaframe-slow_destination_recipient_limit = 100
"""
_BEHIND_SERVICE = """\
{name} unix - - n - {processes} lmtp
    -o syslog_name=postfix/{name}
    -o lmtp_connect_timeout=30s
    -o lmtp_lhlo_timeout=60s
    -o lmtp_mail_timeout=300s
    -o lmtp_rcpt_timeout=300s
    -o lmtp_data_init_timeout=300s
    -o lmtp_data_xfer_timeout=300s
    -o lmtp_data_done_timeout=660s
    -o lmtp_tls_security_level=none
"""
_BEHIND_MASTER = (
    "# Postfix waits longer than mtaframe's patience (280s), so that mtaframe's answer always arrives.\n"
    + _BEHIND_SERVICE.format(name="mtaframe", processes=200)
    + _BEHIND_SERVICE.format(name="mtaframe-slow", processes=50)
)
_FRONT_MASTER = """\
# mtaframe's smart host: mail from this machine alone, which mtaframe has signed. Nothing may change it any more.
{endpoint} inet n - n - - smtpd
    -o syslog_name=postfix/mtaframe
    -o mynetworks=127.0.0.0/8,[::1]/128
    -o smtpd_client_restrictions=permit_mynetworks,reject
    -o smtpd_helo_restrictions=
    -o smtpd_sender_restrictions=
    -o smtpd_relay_restrictions=permit_mynetworks,reject
    -o smtpd_recipient_restrictions=permit_mynetworks,reject
    -o smtpd_data_restrictions=
    -o smtpd_end_of_data_restrictions=
    -o smtpd_tls_security_level=none
    -o smtpd_client_connection_count_limit=0
    -o smtpd_client_connection_rate_limit=0
    -o smtpd_error_sleep_time=0
    -o smtpd_soft_error_limit=1001
    -o smtpd_hard_error_limit=1000
    -o content_filter=
    -o smtpd_proxy_filter=
    -o local_header_rewrite_clients=
    -o receive_override_options=no_header_body_checks,no_unknown_recipient_checks,no_milters
"""

ENDPOINTS = {"behind": Endpoint("127.0.0.1:2424"), "front": Endpoint("127.0.0.1:10026")}
"""Where the one listens and the other connects, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Files:
    """The text of main.cf and of master.cf."""

    main: str
    master: str


def additions(chain: str, endpoint: Endpoint) -> Files:
    """What a chain adds to each file."""
    if chain == "behind":
        hop = f"unix:{endpoint.path}" if endpoint.path else f"inet:{endpoint}"
        return Files(_BEHIND_MAIN.format(endpoint=hop), _BEHIND_MASTER)
    if endpoint.path:
        raise ValueError("Postfix's smtpd listens on a port here, not on a Unix socket")
    return Files("", _FRONT_MASTER.format(endpoint=endpoint))


def applied(files: Files, chain: str, endpoint: Endpoint) -> Files:
    """The files with the chain in them, in place of any that was. ValueError if something else has its place."""
    before, added = undone(files), additions(chain, endpoint)
    ours, theirs = ({tuple(line.split()[:2]) for line in _logical(text)} for text in (added.master, before.master))
    for name, _ in sorted(ours & theirs):
        raise ValueError(f'master.cf already has a service "{name}" that is not ours')
    replaced = {line.partition("=")[0].strip() for line in _logical(added.main)}
    main = _MARKS.put_in(_set_aside(before.main, replaced), added.main)
    return Files(main, _MARKS.put_in(before.master, added.master))


def undone(files: Files) -> Files:
    """The files without any chain: as they were before, but for changes that others made."""
    return Files(_MARKS.taken_out(files.main), _MARKS.taken_out(files.master))


def _set_aside(text: str, parameters: set[str]) -> str:
    """Comments out the logical lines (postconf(5)) that set one of the parameters."""
    lines, unwanted = [], False
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        if line.strip() and not line.lstrip().startswith("#"):
            if not line[0].isspace():
                unwanted = line.partition("=")[0].strip() in parameters
            line = set_aside(line) if unwanted else line
        lines.append(line)
    return "".join(lines)


def _logical(text: str) -> list[str]:
    """The first physical line of each logical line."""
    return [line for line in text.split("\n") if line and not line[0].isspace() and not line.startswith("#")]
