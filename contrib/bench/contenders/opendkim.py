"""OpenDKIM, which signs for Postfix as a milter on a Unix socket."""

from collections.abc import Iterator
from contextlib import contextmanager

from contrib.bench import programs
from contrib.bench.process import Kept
from contrib.bench.row import Place

_CONFIGURATION = """\
Socket local:{socket}
PidFile {folder}/pid
Background no
Mode s
Syslog no
Canonicalization relaxed/relaxed
Domain example.com
Selector s1
KeyFile {key}
RequireSafeKeys no
InternalHosts 127.0.0.0/8
UMask 000
"""


@contextmanager
def opendkim(place: Place) -> Iterator[tuple[Kept, str]]:
    """It runs; the milter's address for Postfix."""
    socket = place.folder / "milter"
    file = place.folder / "opendkim.conf"
    file.write_text(_CONFIGURATION.format(socket=socket, folder=place.folder, key=place.key))
    command = [str(programs.needed("opendkim")), "-f", "-x", str(file)]
    with Kept("OpenDKIM", command, place.folder / "log") as program:
        program.until(socket.exists)
        yield program, f"unix:{socket}"
