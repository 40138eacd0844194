"""Exim: cutthrough, which delivers while it receives, and with its queue in RAM, signing.

It runs from where Debian installed it, or unpacked in ``.deps/``; no file outside its folder is written. Its limits
on connections, and on messages per connection, are off.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from contrib.bench import programs
from contrib.bench.process import HOST, Kept, free_port
from contrib.bench.row import Place, Running

_USER = "Debian-exim"
_CONFIGURATION = """\
exim_path = {program}
primary_hostname = exim.example.org
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
pid_file_path = {folder}/pid
local_interfaces = {host}
daemon_smtp_ports = {port}
keep_environment =
domainlist local_domains =
acl_smtp_rcpt = accept_rcpt
host_lookup =
tls_advertise_hosts =
smtp_accept_max = 0
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 200
begin acl
accept_rcpt:
  accept {control}
begin routers
out:
  driver = manualroute
  transport = out
  route_list = * {host}
  self = send
begin transports
out:
  driver = smtp
  port = {sink}
  allow_localhost
  hosts_avoid_tls = *
  {signing}
begin retry
* * F,1h,5s
"""
_SIGNING = """dkim_domain = example.com
  dkim_selector = s1
  dkim_private_key = {key}
  dkim_canon = relaxed
"""


@contextmanager
def cutthrough(place: Place) -> Iterator[Running]:
    """It answers with what the sink has answered; the message also goes to its spool. It can't sign in this mode."""
    with _exim(place, "control = cutthrough_delivery", "") as running:
        yield running


@contextmanager
def queue_dkim(place: Place) -> Iterator[Running]:
    """It answers once the message is in its queue, and delivers then; it signs itself."""
    key = place.folder / "s1.pem"
    shutil.copyfile(place.key, key)
    shutil.chown(key, _USER)
    with _exim(place, "", _SIGNING.format(key=key)) as running:
        yield running


@contextmanager
def _exim(place: Place, control: str, signing: str) -> Iterator[Running]:
    program, port = programs.needed("exim4"), free_port()
    for name in ("spool", "spool/input"):
        path = place.folder / name
        path.mkdir(mode=0o750)
        shutil.chown(path, _USER, _USER)
    shutil.chown(place.folder, _USER)  # it makes its log there
    file = place.folder / "exim.conf"
    text = _CONFIGURATION.format(
        program=program,
        folder=place.folder,
        host=HOST,
        port=port,
        sink=place.sink,
        control=control,
        signing=signing,
    )
    file.write_text(text)
    command = [str(program), "-C", str(file), "-bdf", "-q10s"]
    with Kept("Exim", command, place.folder / "log") as daemon:
        daemon.until_open(port)
        yield Running(port, [daemon])
