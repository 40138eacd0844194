"""How a connection comes about: dialled, greeted, encrypted, authenticated (RFC 5321 §3.1, 3207, 4954)."""

import asyncio
import os
import re
import socket
import ssl
import sys

from aiosmtplib import (
    SMTP,
    SMTPException,
    SMTPResponse,
    SMTPResponseException,
    SMTPServerDisconnected,
    SMTPTimeoutError,
)

from mtaframe.delivery import Tls
from mtaframe.reply import Reply, Stage
from mtaframe.settings import DeliverySettings
from mtaframe.smtp_client.connection import Budget, Connection, Target
from mtaframe.smtp_client.trouble import Kind, Trouble, TroubleError
from mtaframe.smtp_client.wire import Wire

IMPLICIT_TLS_PORT = 465
_LIMIT = re.compile(r"(?<!\S)([A-Za-z0-9_-]+)=([1-9][0-9]{0,5})(?!\S)")
_BIND_ADDRESS_NO_PORT = 24  # Linux: pick the port at connect, so that one source can hold more than 28,000


class Trust:
    """TLS contexts, built once, for reading the authorities takes time; a file that was replaced is read again."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[bool, str | None], tuple[int, ssl.SSLContext]] = {}

    async def context(self, tls: Tls, ca_file: str | None) -> ssl.SSLContext:
        """TroubleError if ``ca_file`` can't be read."""
        verified = tls is Tls.VERIFIED
        key = (verified, ca_file if verified else None)
        try:
            written = os.stat(ca_file).st_mtime_ns if verified and ca_file else 0
            known = self._contexts.get(key)
            if known is None or known[0] != written:
                known = self._contexts[key] = (written, await asyncio.to_thread(_context, *key))
        except (OSError, ssl.SSLError):
            raise TroubleError(Trouble(Kind.BAD_TRUST)) from None
        return known[1]


def _context(verified: bool, ca_file: str | None) -> ssl.SSLContext:
    if verified:
        return ssl.create_default_context(cafile=ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _limits(text: str) -> dict[str, int]:
    """The numbers of LIMITS by name (RFC 9422 §4); what is not one is ignored."""
    return {name.upper(): int(value) for name, value in _LIMIT.findall(text)}


class HandshakeError(Exception):
    """TLS could not be agreed on; the connection is of no more use."""


class Greeting(SMTP):
    """aiosmtplib's client on our own wire, for as long as it takes until ``connection`` is ready for MAIL."""

    def __init__(self, target: Target) -> None:
        super().__init__(start_tls=False, local_hostname=target.ehlo)
        self._target = target
        self.connection = Connection(target, Wire(asyncio.get_running_loop(), self._on_connection_lost))

    async def _create_connection(self, timeout: float | None) -> SMTPResponse:
        loop = asyncio.get_running_loop()
        self.protocol = wire = self.connection.wire
        self.transport, _ = await loop.create_connection(
            lambda: wire,
            sock=self.sock,
            ssl=self.tls_context if self.use_tls else None,
            server_hostname=self.hostname if self.use_tls else None,
            ssl_handshake_timeout=timeout if self.use_tls else None,
        )
        self.sock = None
        wire.hold_early()
        response = await wire.read_response(timeout)
        if response.code != 220:
            raise SMTPResponseException(response.code, response.message)
        return response

    async def hello(self, timeout: float) -> None:
        """EHLO, or HELO for a server of another age; LHLO for LMTP. SMTPResponseException if refused."""
        name = self._target.ehlo.encode("ascii", "replace")
        response = await self.execute_command(b"LHLO" if self._target.lmtp else b"EHLO", name, timeout=timeout)
        if response.code in (500, 501, 502, 504) and not self._target.lmtp:
            response = await self.execute_command(b"HELO", name, timeout=timeout)
            response = SMTPResponse(response.code, "")
        if response.code != 250:
            raise SMTPResponseException(response.code, response.message)
        self.last_ehlo_response = response
        offers, connection = self.esmtp_extensions, self.connection
        connection.pipelining = "pipelining" in offers
        connection.eight_bit = "8bitmime" in offers
        connection.utf8 = "smtputf8" in offers
        connection.dsn = "dsn" in offers
        connection.limits = _limits(offers.get("limits", ""))
        connection.declares_size = "size" in offers
        limit = offers.get("size", "").strip()
        connection.size_limit = int(limit) if limit.isdecimal() and int(limit) else None

    async def encrypt(self, context: ssl.SSLContext, timeout: float) -> None:
        """STARTTLS. HandshakeError if no TLS comes of it."""
        try:
            await self.starttls(server_hostname=self._target.tls_name, tls_context=context, timeout=timeout)
        except SMTPException:
            raise
        except (OSError, ValueError):  # TLS, a timeout, a reset; a name that no certificate can have
            raise HandshakeError from None
        self.connection.wire.hold_early()
        self.connection.is_encrypted = True

    async def authenticate(self, timeout: float) -> None:
        """AUTH with one mechanism, for a second failure may lock the account. TroubleError if none fits."""
        credentials = self._target.credentials
        assert credentials is not None
        offered = self.server_auth_methods
        ours = ("plain", "login", "cram-md5") if self.connection.is_encrypted else ("cram-md5", "plain", "login")
        method = next((name for name in ours if name in offered), None)
        if method is None:
            raise TroubleError(Trouble(Kind.AUTH_NOT_OFFERED))
        verb = {"plain": self.auth_plain, "login": self.auth_login, "cram-md5": self.auth_crammd5}[method]
        await verb(credentials.user, credentials.password, timeout=timeout)

    def end(self) -> None:
        """The connection is ready: this one is not needed any more, and nothing keeps it."""
        self.connection.wire.detach()
        self.protocol = self.transport = None

    def drop(self) -> None:
        """Close without a word."""
        self.connection.drop()
        if self.sock is not None:
            self.sock.close()
        self.close()


async def opened(target: Target, trust: Trust, budget: Budget, settings: DeliverySettings) -> Connection:
    """A connection ready for MAIL. TroubleError says why there is none.

    ``opportunistic`` TLS that fails is tried once more in clear, on a fresh connection.
    """
    try:
        return await _opened(target, target.tls, trust, budget, settings)
    except HandshakeError:
        if target.tls is not Tls.OPPORTUNISTIC:
            raise TroubleError(Trouble(Kind.TLS_FAILED, stage=Stage.STARTTLS)) from None
    return await _opened(target, Tls.OFF, trust, budget, settings)


async def _opened(target: Target, tls: Tls, trust: Trust, budget: Budget, settings: DeliverySettings) -> Connection:
    implicit = target.port == IMPLICIT_TLS_PORT and tls in (Tls.REQUIRED, Tls.VERIFIED)
    context = None if tls is Tls.OFF else await trust.context(tls, target.ca_file)
    stage = Stage.CONNECT
    sock = await _dialled(target, budget.seconds(settings.connect_timeout))
    greeting = Greeting(target)
    connection = greeting.connection
    try:
        await greeting.connect(
            sock=sock,
            hostname=target.tls_name,
            use_tls=implicit,
            tls_context=context,
            timeout=budget.seconds(settings.command_timeout),
        )
        connection.is_encrypted = implicit
        stage = Stage.EHLO
        await greeting.hello(budget.seconds(settings.command_timeout))
        if context is not None and not implicit:
            stage = Stage.STARTTLS
            await _encrypted(greeting, tls, context, budget, settings)
        if target.credentials is not None:
            stage = Stage.AUTH
            if not (connection.is_encrypted or target.is_local or target.tls is Tls.OFF):
                raise TroubleError(Trouble(Kind.AUTH_IN_CLEAR, stage=stage))
            await greeting.authenticate(budget.seconds(settings.command_timeout))
        greeting.end()
    except (SMTPException, OSError, ValueError) as error:
        greeting.drop()
        if stage is Stage.CONNECT and implicit and isinstance(error, (ssl.SSLError, ValueError)):
            raise HandshakeError from None
        if stage is Stage.STARTTLS and tls is Tls.OPPORTUNISTIC and isinstance(error, SMTPServerDisconnected):
            raise HandshakeError from None  # it offers TLS, and hangs up instead
        raise TroubleError(_trouble(error, stage)) from None
    except BaseException:
        greeting.drop()
        raise
    return connection


async def _encrypted(
    greeting: Greeting, tls: Tls, context: ssl.SSLContext, budget: Budget, settings: DeliverySettings
) -> None:
    must = tls is not Tls.OPPORTUNISTIC
    if not greeting.supports_extension("starttls"):
        if must:
            raise TroubleError(Trouble(Kind.TLS_NOT_OFFERED, stage=Stage.STARTTLS))
        return
    try:
        await greeting.encrypt(context, budget.seconds(settings.command_timeout))
    except SMTPResponseException as error:
        if must or error.code < 400 or error.code == 421:
            raise
        return  # it said no, so it goes on in clear
    # RFC 3207 §4.2: what the server said in clear is forgotten.
    await greeting.hello(budget.seconds(settings.command_timeout))


async def _dialled(target: Target, timeout: float) -> socket.socket:
    path = target.address if target.address.startswith("/") else None
    family = socket.AF_UNIX if path else socket.AF_INET6 if ":" in target.address else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError:  # a kernel without IPv6, no more file descriptors
        raise TroubleError(Trouble(Kind.UNREACHABLE)) from None
    kind = Kind.UNREACHABLE
    try:
        sock.setblocking(False)
        if target.source and not path:
            kind = Kind.BAD_SOURCE
            if sys.platform == "linux":
                sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            sock.bind((target.source, 0))
            kind = Kind.UNREACHABLE
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().sock_connect(sock, path or (target.address, target.port))
    except OSError:  # TimeoutError is one
        sock.close()
        raise TroubleError(Trouble(kind)) from None
    except BaseException:
        sock.close()
        raise
    return sock


def _trouble(error: Exception, stage: Stage) -> Trouble:
    """What an exception of aiosmtplib or of the socket means; its text, which may be the server's, goes no further."""
    if isinstance(error, SMTPResponseException):
        if error.code < 0:
            return Trouble(Kind.GARBLED, stage=stage)
        return Trouble(Kind.REFUSED, Reply.parse(error.code, error.message), stage)
    if isinstance(error, (SMTPTimeoutError, TimeoutError)):
        return Trouble(Kind.LATE, stage=stage)
    if isinstance(error, OSError):
        return Trouble(Kind.LOST, stage=stage)
    return Trouble(Kind.GARBLED, stage=stage)
