"""Copies of a message that differ by recipient are made as they are sent, however many recipients there are."""

import gc
import weakref
from dataclasses import replace

import pytest

from mtaframe import Plugin, hookimpl
from mtaframe.message import Message
from mtaframe.testing import ScriptedMx, envelope, running, session

CONF = """
hostname = "mta.example.org"
plugins = ["personal"]
[route]
next_hop = "127.0.0.1"
port = {port}
tls = "off"
"""


class Personal(Plugin):
    """Writes the recipient's name into the body, and counts how many such bodies are there at a time."""

    def __init__(self, config, mta):
        super().__init__(config, mta)
        self.alive = self.most = 0

    @hookimpl
    def before_sign(self, delivery):
        body = Body(f"Dear {delivery.recipient.address.local_part}\r\n".encode() + delivery.message.body)
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(body.life, self._gone)
        return replace(delivery, message=delivery.message.with_body(body))

    def _gone(self):
        self.alive -= 1


class Life:
    pass


class Body(bytes):
    def __new__(cls, octets):
        made = super().__new__(cls, octets)
        made.life = Life()
        return made


@pytest.fixture
async def mx():
    async with ScriptedMx() as scripted:
        yield scripted


async def test_a_thousand_personal_copies_are_never_there_at_once(mx, tmp_path):
    files = {"mtaframe.toml": CONF.format(port=mx.port)}
    async with running(tmp_path, files, plugins={"personal": Personal}) as house:
        gc.collect()
        mail = envelope([f"u{number}@example.net" for number in range(1000)])
        message = Message.parse(b"Subject: hi\r\nMessage-ID: <1@example.com>\r\n\r\nHello\r\n")
        reception = house.mta.reception
        results = await reception.submit(reception.lease(), session(), mail, message)
        personal = next(one.instance for one in house.mta.generation.plugins.loaded if one.name == "personal")
    assert {result.reply.code for result in results} == {250}
    bodies = {one.raw.partition(b"\r\n\r\n")[2].split(b"\r\n")[0].decode() for one in mx.received}
    assert bodies == {f"Dear u{number}" for number in range(1000)}
    assert personal.most <= 150, "as many as two windows and a few that are about to go"
