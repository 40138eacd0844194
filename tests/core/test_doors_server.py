"""What the door overrides or uses of aiosmtpd and asyncio without their promise: a break is told by name."""

import asyncio
import inspect
from asyncio.sslproto import SSLProtocol

import pytest
from aiosmtpd.smtp import SMTP, TLSSetupException

from mtaframe.clock import SystemClock
from mtaframe.settings import ListenerSettings
from mtaframe.smtp_server import SmtpServer
from mtaframe.smtp_server.conversation import Conversation
from mtaframe.smtp_server.wire import Wire
from tests.scripted_reception import ScriptedReception

OVERRIDDEN = ("connection_lost", "connection_made", "data_received", "eof_received", "push")
INHERITED = ("smtp_STARTTLS", "__del__")
"""All that still runs of aiosmtpd's protocol."""


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_what_is_overridden_still_exists(name: str) -> None:
    assert name in vars(Wire)
    theirs, ours = getattr(SMTP, name), getattr(Wire, name)
    assert len(inspect.signature(theirs).parameters) == len(inspect.signature(ours).parameters)
    assert inspect.iscoroutinefunction(theirs) == inspect.iscoroutinefunction(ours)


def test_aiosmtpd_never_reads_the_input_itself() -> None:
    """Its command loop and its DATA end lines at a bare LF; ours are in their place."""
    assert "readuntil" not in inspect.getsource(SMTP.smtp_STARTTLS)
    assert "self.push(" in inspect.getsource(SMTP.smtp_STARTTLS)


def test_starttls_tells_of_failure_as_we_expect() -> None:
    source = inspect.getsource(SMTP.smtp_STARTTLS)
    assert issubclass(TLSSetupException, Exception)
    for name in ("self._tls_protocol", "self._original_transport", "self.tls_context", "_app_transport"):
        assert name in source


async def test_every_attribute_that_aiosmtpd_would_set_is_set_by_us() -> None:
    """`Wire` leaves out aiosmtpd's costly ``__init__``; what its remaining methods read must be there all the same."""
    settings = ListenerSettings(name="test", kind="mta", addresses=("127.0.0.1:0",))
    server = SmtpServer(settings, ScriptedReception(), SystemClock(), "mx.example.org")  # type: ignore[arg-type]
    wire = Conversation(server, asyncio.get_running_loop())
    methods = [getattr(SMTP, name) for name in INHERITED]
    read = {name for method in methods for name in method.__code__.co_names if hasattr(SMTP(object()), name)}
    assert not {name for name in read if not hasattr(wire, name)}


async def test_the_tls_protocol_has_its_transport_from_the_beginning() -> None:
    loop = asyncio.get_running_loop()
    assert "_app_transport" in inspect.getsource(SSLProtocol)
    parameters = list(inspect.signature(SSLProtocol).parameters)
    assert parameters[:4] == ["loop", "app_protocol", "sslcontext", "waiter"]
    assert loop.is_running()
