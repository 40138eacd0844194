"""Postfix: with its queue in RAM, with and without OpenDKIM as a milter, and as a proxy without a queue.

It runs from where Debian installed it, or unpacked in ``.deps/``; no file outside its folder is written. Its limits
are raised to the sessions of the benchmark; all else is as Debian has it.
"""

import grp
import os
import pwd
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from contrib.bench import programs
from contrib.bench.contenders.opendkim import opendkim
from contrib.bench.process import HOST, Kept, free_port
from contrib.bench.row import Place, Running

_MASTER = """\
{host}:{port} inet n - n - {sessions} smtpd {options}
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - {sessions} smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_OWNED = ("incoming", "active", "deferred", "bounce", "defer", "flush", "corrupt", "hold", "saved", "trace", "private")


@contextmanager
def queue(place: Place) -> Iterator[Running]:
    """It answers once the message is in its queue, and delivers then."""
    with _postfix(place, {}, "") as program:
        yield Running(program[0], [program[1]])


@contextmanager
def queue_opendkim(place: Place) -> Iterator[Running]:
    """The same; OpenDKIM signs, over a Unix socket."""
    with ExitStack() as stack:
        signer, milter = stack.enter_context(opendkim(place.within("opendkim")))
        main = {"smtpd_milters": milter, "milter_default_action": "tempfail"}
        port, program = stack.enter_context(_postfix(place.within("postfix"), main, ""))
        yield Running(port, [program, signer])


@contextmanager
def proxy(place: Place) -> Iterator[Running]:
    """smtpd passes all on to the sink as it comes, and its answer back: no queue, nothing is signed."""
    options = f"-o smtpd_proxy_filter={HOST}:{place.sink}"
    with _postfix(place, {}, options) as program:
        yield Running(program[0], [program[1]])


@contextmanager
def _postfix(place: Place, main: Mapping[str, str], options: str) -> Iterator[tuple[int, Kept]]:
    postconf, port = programs.needed("postconf"), free_port()
    tree = postconf.parents[1] / "lib" / "postfix"
    log = place.folder / "maillog"
    user, group = _owner()
    _folders(place.folder, user, group)
    settings = {
        "compatibility_level": "3.6",
        "queue_directory": str(place.folder / "queue"),
        "data_directory": str(place.folder / "data"),
        "command_directory": str(postconf.parent),
        "daemon_directory": str(tree / "sbin"),
        "shlib_directory": str(tree),
        "meta_directory": str(postconf.parents[1] / "share" / "postfix"),
        "import_environment": "MAIL_CONFIG LD_LIBRARY_PATH LANG=C",
        "mail_owner": user,
        "setgid_group": group,
        "maillog_file": str(log),
        "maillog_file_prefixes": str(place.folder),
        "myhostname": "postfix.example.org",
        "mydestination": "",
        "mynetworks": "127.0.0.0/8",
        "inet_interfaces": HOST,
        "inet_protocols": "ipv4",
        "smtp_dns_support_level": "disabled",
        "smtpd_peername_lookup": "no",
        "alias_maps": "",
        "default_transport": f"smtp:[{HOST}]:{place.sink}",
        "message_size_limit": "0",
        "initial_destination_concurrency": str(place.sessions),
        "default_destination_concurrency_limit": str(place.sessions),
        **main,
    }
    sessions = place.sessions + 10
    configuration = place.folder / "etc"
    master = _MASTER.format(host=HOST, port=port, sessions=sessions, options=options)
    (configuration / "main.cf").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
    (configuration / "master.cf").write_text(master)
    a_minute_ago = time.time() - 60  # it waits for a file that is younger than two seconds to settle
    os.utime(configuration / "main.cf", (a_minute_ago, a_minute_ago))
    environment = {"MAIL_CONFIG": str(configuration), **programs.environment(postconf)}
    command = [str(tree / "sbin" / "master"), "-c", str(configuration), "-d"]
    with Kept("Postfix", command, place.folder / "log", environment) as program:
        program.until(lambda: log.exists() and "daemon started" in log.read_text())
        program.until_open(port)
        yield port, program


def _folders(folder: Path, user: str, group: str) -> None:
    queue = folder / "queue"
    for path in (folder / "etc", queue, queue / "pid"):
        path.mkdir()
    for path in (folder / "data", *(queue / name for name in _OWNED)):
        path.mkdir(mode=0o700)
        shutil.chown(path, user)
    for name, mode in (("maildrop", 0o730), ("public", 0o710)):
        path = queue / name
        path.mkdir()
        shutil.chown(path, user, group)
        path.chmod(mode)


def _owner() -> tuple[str, str]:
    """A user and a group for its daemons: Debian's for Postfix, else any that are not shared with others."""
    try:
        pwd.getpwnam("postfix"), grp.getgrnam("postdrop")
        return "postfix", "postdrop"
    except KeyError:
        return "daemon", "mail"
