"""TLS from the first octet on; of a handshake that fails, the conversation behind it would learn nothing."""

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol

from mtaframe.smtp_server.conversation import Conversation

_TIMEOUT = 30
"""Seconds that a client has for it."""


class Handshake(SSLProtocol):
    """The connection as asyncio sees it; ``conversation`` begins when it is done."""

    def __init__(self, loop: asyncio.AbstractEventLoop, conversation: Conversation, context: ssl.SSLContext) -> None:
        super().__init__(
            loop,
            conversation,
            context,
            None,  # type: ignore[arg-type]
            server_side=True,
            ssl_handshake_timeout=_TIMEOUT,
        )
        self._conversation = conversation

    def connection_lost(self, error: BaseException | None) -> None:
        super().connection_lost(error)
        if self._conversation.task is None:
            self._conversation.visit.leave()
