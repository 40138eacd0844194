"""Defects that were found by looking for them, each as the story of how it would have shown itself."""

import asyncio
import socket
import struct

import pytest
import uvloop

from mtaframe import Plugin, hookimpl
from mtaframe.testing import ScriptedMx
from tests.core.test_reception import house
from tests.dialogue import MAIL


@pytest.fixture
async def mx():
    async with ScriptedMx() as scripted:
        yield scripted


class Looks(Plugin):
    """Takes its time with every new connection, as one that asks the DNS does."""

    def __init__(self, config, mta):
        super().__init__(config, mta)
        self.trusted = []

    @hookimpl
    async def on_connect(self, session):
        self.trusted.append(session.trusted)
        await asyncio.sleep(0.1)


def test_a_client_whose_address_is_gone_before_it_was_asked_for_is_a_stranger(tmp_path):
    """All said at once, then reset before we accept: uvloop knows no address then, as it does of a Unix socket."""
    said = b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@elsewhere.example>\r\nDATA\r\n"

    async def attacked():
        async with ScriptedMx() as mx, house(tmp_path, mx, plugins={"looks": Looks}) as mta:
            with socket.create_connection(("127.0.0.1", mta.port("open"))) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(said + MAIL + b"x" * 70_000 + b"\r\n.\r\n")
            await asyncio.sleep(0.5)
            return mta.mta.generation.plugins.loaded[0].instance.trusted, mx.received

    trusted, received = uvloop.run(attacked())
    assert not received
    assert not any(trusted)
