"""What our subclasses use of foreign packages beyond what those promise: an upgrade that moves it fails here."""

import asyncio
import inspect

import aiosmtplib
import pytest
from aiosmtplib.protocol import COMMAND_INJECTION_REGEX, MAX_RESPONSE_LENGTH, FlowControlMixin, SMTPProtocol


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (aiosmtplib.SMTP, "_create_connection", ["self", "timeout"]),
        (aiosmtplib.SMTP, "_on_connection_lost", ["self", "protocol"]),
        (SMTPProtocol, "__init__", ["self", "loop", "connection_lost_callback"]),
        (SMTPProtocol, "data_received", ["self", "data"]),
        (SMTPProtocol, "eof_received", ["self"]),
        (SMTPProtocol, "connection_lost", ["self", "exc"]),
        (SMTPProtocol, "read_response", ["self", "timeout"]),
        (SMTPProtocol, "execute_command", ["self", "args", "timeout"]),
        (SMTPProtocol, "start_tls", ["self", "tls_context", "server_hostname", "timeout"]),
        (FlowControlMixin, "_drain_helper", ["self"]),
    ],
)
def test_aiosmtplib_still_has_what_smtp_client_overrides(owner: type, name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters


async def test_aiosmtplib_still_keeps_its_state_where_smtp_client_looks() -> None:
    protocol = SMTPProtocol(asyncio.get_running_loop())
    for name in ("_paused", "_drain_waiters", "_closed_future", "_over_ssl", "_loop", "transport"):
        assert hasattr(protocol, name), name
    client = aiosmtplib.SMTP(local_hostname="x")
    for name in ("sock", "protocol", "transport", "hostname", "use_tls", "tls_context", "server_auth_methods"):
        assert hasattr(client, name), name
    client.last_ehlo_response = aiosmtplib.SMTPResponse(250, "hi\nSIZE 100\nPIPELINING\nAUTH PLAIN")
    assert client.esmtp_extensions == {"size": "100", "pipelining": "", "auth": "PLAIN"}


def test_aiosmtplib_calls_the_overridden_methods() -> None:
    """Its own commands must reach ``Wire.execute_command`` and ``Wire.start_tls`` by the protocol attribute."""
    for method, call in (
        ("execute_command", "self.protocol.execute_command("),
        ("starttls", "self.protocol.start_tls("),
    ):
        assert call in inspect.getsource(getattr(aiosmtplib.SMTP, method))
    assert "self._create_connection(" in inspect.getsource(aiosmtplib.SMTP.connect)
    assert COMMAND_INJECTION_REGEX.search(b"a\r\nb")
    assert MAX_RESPONSE_LENGTH >= 8192
