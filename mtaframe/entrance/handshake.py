"""TLS from the first octet on; of a handshake that fails, the protocol behind it would learn nothing."""

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable

_TIMEOUT = 30
"""Seconds that a client has for it."""


class Handshake(SSLProtocol):
    """The connection as asyncio sees it; ``protocol`` begins when it is done.

    ``lost`` is called when the connection is: also where the protocol never began.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        lost: Callable[[], None],
    ) -> None:
        super().__init__(
            loop,
            protocol,
            context,
            None,  # type: ignore[arg-type]
            server_side=True,
            ssl_handshake_timeout=_TIMEOUT,
        )
        self._lost = lost

    def connection_lost(self, error: BaseException | None) -> None:
        super().connection_lost(error)
        self._lost()

    def abort(self) -> None:
        """End the connection now."""
        if self._app_transport is not None:
            self._app_transport.abort()
