"""A real rspamd in a directory of its own: one worker on loopback, no network, no Redis, hardly a rule.

The default rules would ask maps, fuzzy storages and block lists in the Internet; here a message's score is what
its field ``X-Test-Score`` says. GTUBE is built in. What a request told of the message goes to the log.
"""

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.end_to_end.postfix import free_port

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
"""Rspamd rejects whatever holds this."""

_CONFIGURATION = """\
options {{
  pidfile = "{0}/rspamd.pid";
  control_socket = "{0}/control.sock mode=0600";
  temp_dir = "{0}";
  hs_cache_dir = "{0}";
  url_tld = "{0}/suffixes";
  filters = "";
  disable_monitoring = true;
  task_timeout = 5s;
  dns {{ nameserver = ["127.0.0.1:1:1"]; timeout = 0.1; retransmits = 1; }}
}}
logging {{ type = "console"; level = "info"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{1}"; count = 1; }}
actions {{ reject = 15; add_header = 6; greylist = 4; }}
lua = "{0}/rules.lua";
"""
_RULES = """\
rspamd_config:register_symbol{
  name = 'TEST_SCORE', type = 'normal', score = 1.0,
  callback = function(task)
    local log = require('rspamd_logger')
    local recipients = {}
    for _, each in ipairs(task:get_recipients('smtp') or {}) do table.insert(recipients, each.addr) end
    log.infox(task, 'told rcpt=%s', table.concat(recipients, ','))
    log.infox(task, 'told from=%s', ((task:get_from('smtp') or {})[1] or {}).addr)
    log.infox(task, 'told user=%s ip=%s helo=%s queue-id=%s mta=%s', task:get_user(), task:get_ip(),
      task:get_helo(), task:get_queue_id(), task:get_request_header('MTA-Name'))
    local score = task:get_header('X-Test-Score')
    if score then return true, tonumber(score) end
  end
}
"""


class Rspamd:
    """``with Rspamd(directory, program) as rspamd:`` answers at ``rspamd.url`` until the end."""

    def __init__(self, directory: Path, program: Path) -> None:
        self._port = free_port()
        self._directory = directory
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def log(self) -> str:
        """All that it has logged."""
        return (self._directory / "log").read_text(errors="replace")

    def __enter__(self) -> "Rspamd":
        folder = self._directory
        (folder / "suffixes").write_text("com\nnet\norg\n")
        (folder / "rules.lua").write_text(_RULES)
        (folder / "rspamd.conf").write_text(_CONFIGURATION.format(folder, self._port))
        variables = [f"--var={name}={folder}" for name in ("DBDIR", "RUNDIR", "LOGDIR", "LOCAL_CONFDIR")]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, "-f", "-i", *variables, "-c", folder / "rspamd.conf"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._answering(20.0)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _answering(self, within: float) -> None:
        end = time.monotonic() + within
        while time.monotonic() < end:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/ping", timeout=1):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise RuntimeError(f"rspamd does not start: {self.log}")
