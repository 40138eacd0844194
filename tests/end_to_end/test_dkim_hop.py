"""Odd mails, signed by mtaframe, pass through Postfix as ``setup postfix`` fits it; both signatures still hold."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from mtaframe import Message
from mtaframe.cli.postfix_files import additions
from mtaframe.notation import Endpoint
from mtaframe.testing import ScriptedMx, running
from tests.conftest import Program
from tests.corpus import corpus
from tests.dialogue import Dialogue
from tests.end_to_end.conftest import StartPostfix
from tests.end_to_end.postfix import free_port
from tests.plugins.dkim_oracle import alone, dkimpy_accepts, ed25519_key, opendkim_says, rsa_key
from tests.plugins.test_dkim_corpus import NOT_FOR_DKIMPY, NOT_FOR_OPENDKIM

SETTINGS = """
hostname = "mta.example.org"
plugins = ["dkim"]
[route]
next_hop = "127.0.0.1"
port = {port}
tls = "off"
[[listener]]
name = "in"
kind = "mta"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
max_size = "50 MB"
"""

DKIM = """
[[key]]
domain = "example.com"
selector = "rsa"
file = "rsa.pem"
[[key]]
domain = "example.com"
selector = "ed"
file = "ed.pem"
[[third_party]]
domain = "example.com"
"""


async def test_every_signature_verifies_behind_postfix(
    start_postfix: StartPostfix, program: Program, tmp_path: Path
) -> None:
    mails = corpus()
    conf = tmp_path / "conf"
    conf.mkdir()
    keys = [rsa_key(conf / "rsa.pem"), ed25519_key(conf / "ed.pem")]
    dns = {f"{key.path.stem}._domainkey.example.com": key.record for key in keys}
    async with ScriptedMx() as mx:
        hop = Endpoint(f"127.0.0.1:{free_port()}")
        master = additions("front", hop).master
        postfix = await start_postfix(relay=f"smtp:[{mx.host}]:{mx.port}", master=master)
        files = {"mtaframe.toml": SETTINGS.format(port=hop.port), "dkim.toml": DKIM}
        async with running(conf, files) as house, Dialogue(house.port("in")) as client:
            for number, (name, octets) in enumerate(mails):
                ended = octets if octets.endswith(b"\r\n") else octets + b"\r\n"
                stuffed = ended.replace(b"\r\n.", b"\r\n..")
                stuffed = b"." + stuffed if stuffed.startswith(b".") else stuffed
                reply = await client.mail(f"n{number}@example.net", octets=stuffed)
                assert reply.startswith("250 "), (name, reply)
        await postfix.emptied()
    arrived = {received.recipients[0]: Message.parse(received.raw) for received in mx.received}
    messages = {name: arrived[f"n{number}@example.net"] for number, (name, _) in enumerate(mails)}
    unsigned = [name for name, message in messages.items() if len(ours(message)) != 2]
    assert not unsigned
    refused = [name for name in messages if name not in NOT_FOR_DKIMPY and not both(messages[name], dns)]
    assert not refused
    names = [name for name in messages if name not in NOT_FOR_OPENDKIM]
    for index in (0, 1):
        copies = [alone(messages[name], index) for name in names]
        said = await asyncio.to_thread(opendkim_says, program("opendkim"), tmp_path, copies, dns)
        wrong = {name: text for name, text in zip(names, said, strict=True) if not text.endswith("succeeded")}
        assert not wrong


def ours(message: Message) -> list[str]:
    values = [field.value for field in message.all("DKIM-Signature")]
    return [value for value in values if "d=example.com; s=rsa;" in value or "d=example.com; s=ed;" in value]


def both(message: Message, dns: Mapping[str, str]) -> bool:
    return dkimpy_accepts(message, 0, dns) and dkimpy_accepts(message, 1, dns)
